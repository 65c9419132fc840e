#include "kernels/cpu/bf16_gemm.h"

#include <algorithm>
#include <utility>

#include "kernels/check.h"
#include "kernels/cpu/bf16_layout.h"

namespace switchyard {
namespace {

constexpr int64_t kColumns = OneDnnGemm::kPanelColumns;

}  // namespace

absl::StatusOr<std::unique_ptr<Bf16Gemm>> Bf16Gemm::Create(ThreadPool& pool) {
  absl::StatusOr<std::unique_ptr<OneDnnGemm>> gemm = OneDnnGemm::Create(pool.max_workers());
  if (!gemm.ok()) return gemm.status();
  return std::unique_ptr<Bf16Gemm>(new Bf16Gemm(pool, *std::move(gemm)));
}

void Bf16Gemm::RoundRow(const float* row, int64_t columns, int64_t depth, uint16_t* out) {
  RoundToBFloat16(row, columns, depth, out);
}

void Bf16Gemm::MultiplyPanel(const Product& product, int64_t panel, int worker) {
  const int64_t out_features = product.weight->spec().out_features;
  const int64_t in_features = product.weight->spec().in_features;
  const int64_t depth = Depth(in_features);
  uint16_t* weights = workspaces_[worker].panel.Get(depth * kColumns);
  float* block = workspaces_[worker].block.Get(OneDnnGemm::kLargeBlock * kColumns);
  UnpackPanel(*product.weight, panel, depth, weights);
  const int64_t first_column = panel * kColumns;
  const int64_t columns = std::min(kColumns, out_features - first_column);
  const int64_t padded_rows = NumBlocks(product.rows) * kBlockRows;
  for (int64_t row = 0; row < product.rows;) {
    const int64_t rows = padded_rows - row >= OneDnnGemm::kLargeBlock ? OneDnnGemm::kLargeBlock : kBlockRows;
    // As with Scratch: an operation has no status to return, and only memory for a few kilobytes can be lacking here.
    CHECK(gemm_->Multiply(worker, depth, rows, product.x + row * depth, weights, block).ok());
    for (int64_t r = 0; r < std::min(rows, product.rows - row); ++r) {
      std::copy_n(block + r * kColumns, columns, product.y + (row + r) * out_features + first_column);
    }
    row += rows;
  }
}

void Bf16Gemm::Multiply(std::span<const Product> products) {
  if (products.empty()) return;
  const MatrixSpec& spec = products[0].weight->spec();
  CHECK(gemm_->Prepare(Depth(spec.in_features)).ok());
  const int64_t panels = (spec.out_features + kColumns - 1) / kColumns;
  const int64_t count = panels * static_cast<int64_t>(products.size());
  pool_.ParallelForWorkers(count, 1, [&](int worker, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) MultiplyPanel(products[i / panels], i % panels, worker);
  });
}

}  // namespace switchyard
