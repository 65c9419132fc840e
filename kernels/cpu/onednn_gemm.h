// Blocks of bfloat16 products by oneDNN, where the CPU multiplies bfloat16 (AVX512_BF16 or AMX).
//
// y [rows, 64] = x [rows, depth] panel: x and the panel are bfloat16, y and the sums float32, all dense. Rows come in
// blocks of one of two sizes, so that a model needs two kernels per depth however many rows a step has.
// oneDNN's own OpenMP threads are never used: every calling thread is told to stay alone.
// Thread safety: Create and Prepare from one thread while no Multiply runs; Multiply from any thread, each worker index
// from one thread at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace switchyard {

class OneDnnGemm {
 public:
  static constexpr int64_t kPanelColumns = 64;
  static constexpr int64_t kDepthMultiple = 32;
  static constexpr int64_t kSmallBlock = 16;  // rows
  static constexpr int64_t kLargeBlock = 64;

  // UNIMPLEMENTED where the CPU, or oneDNN on it, has no fast bfloat16 product.
  static absl::StatusOr<std::unique_ptr<OneDnnGemm>> Create(int num_workers);
  ~OneDnnGemm();

  // Makes the kernels for a depth, a multiple of kDepthMultiple; those made last are kept.
  absl::Status Prepare(int64_t depth);

  // Depth prepared last or lately; rows kSmallBlock or kLargeBlock; worker in [0, num_workers).
  // panel: element (k, column) at ((k / 2) * 64 + column) * 2 + k % 2.
  absl::Status Multiply(int worker, int64_t depth, int64_t rows, const uint16_t* x, const uint16_t* panel, float* y);

 private:
  struct Kernels;
  explicit OneDnnGemm(int num_workers);

  const std::unique_ptr<Kernels> kernels_;
};

}  // namespace switchyard
