// y = x W^T with x rounded to bfloat16, on all threads of a pool; sums are float32.
//
// Twice the rate of the float32 kernel where there are rows enough to pay for laying a weight out anew: each thread
// takes panels of 64 output features, unpacks the weight's panel once, and multiplies all rows by it. So no second copy
// of a weight is kept.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/cpu/onednn_gemm.h"
#include "kernels/cpu/packed_matrix.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard {

// One caller at a time.
class Bf16Gemm {
 public:
  // From here on faster than float32 (kernel_bench on a Zen 4 core).
  static constexpr int64_t kMinRows = 16;
  static constexpr int64_t kBlockRows = OneDnnGemm::kSmallBlock;
  static bool Suits(int64_t rows, const MatrixSpec& weight) {
    return rows >= kMinRows && weight.dtype == DType::kBFloat16 && weight.in_features > 0;
  }

  // `pool` outlives this. UNIMPLEMENTED as OneDnnGemm::Create.
  static absl::StatusOr<std::unique_ptr<Bf16Gemm>> Create(ThreadPool& pool);

  // Rounded rows are [rows up to a whole block][depth]; what is beyond `rows` or `columns` is zero.
  static int64_t Depth(int64_t columns) { return RoundUp(columns, OneDnnGemm::kDepthMultiple); }
  static int64_t NumBlocks(int64_t rows) { return RoundUp(rows, kBlockRows) / kBlockRows; }
  static int64_t RoundedSize(int64_t rows, int64_t columns) { return NumBlocks(rows) * kBlockRows * Depth(columns); }
  // Rounds block `block` of `rows` rows; source(r) is row r's data, float [columns].
  template <typename Source>
  static void RoundBlock(int64_t rows, int64_t block, int64_t columns, Source source, uint16_t* rounded) {
    const int64_t depth = Depth(columns);
    for (int64_t row = block * kBlockRows; row < (block + 1) * kBlockRows; ++row) {
      const bool exists = row < rows;
      RoundRow(exists ? source(row) : nullptr, exists ? columns : 0, depth, rounded + row * depth);
    }
  }

  struct Product {
    const uint16_t* x = nullptr;  // rounded rows
    int64_t rows = 0;
    const PackedMatrix* weight = nullptr;  // BF16
    float* y = nullptr;                    // [rows, out_features]
  };
  // All weights have the same shape.
  void Multiply(std::span<const Product> products);

 private:
  // What one thread of a Multiply needs for itself.
  struct Workspace {
    Scratch<uint16_t> panel;
    Scratch<float> block;
  };

  Bf16Gemm(ThreadPool& pool, std::unique_ptr<OneDnnGemm> gemm)
      : pool_(pool), gemm_(std::move(gemm)), workspaces_(pool.max_workers()) {}
  static int64_t RoundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
  static void RoundRow(const float* row, int64_t columns, int64_t depth, uint16_t* out);
  void MultiplyPanel(const Product& product, int64_t panel, int worker);

  ThreadPool& pool_;
  const std::unique_ptr<OneDnnGemm> gemm_;
  std::vector<Workspace> workspaces_;
};

}  // namespace switchyard
