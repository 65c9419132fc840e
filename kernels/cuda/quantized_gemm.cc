#include "kernels/cuda/quantized_gemm.h"

namespace switchyard::cuda {
namespace {

// Entries of an expert on average up to which the streaming form is the faster one. Measured on an H200
// (docs/GPU_RESULTS.md): at 16 it wins in every format, at 32 the tiled one; but where experts are sharded and each
// rank has all entries, twice as many are counted as a rank's experts have.
constexpr int64_t kMaxStreamingEntries = 24;
constexpr int64_t kMaxStreamingEntriesOfInt8 = 16;
// Of a dense layer, whose rows are few: there the parts of 16 entries run side by side.
constexpr int64_t kMaxDenseStreamingEntries = 64;

}  // namespace

QuantizedForm ChooseQuantizedForm(WeightFormat format, int64_t num_pairs, int64_t num_experts) {
  const int64_t of_experts = format == WeightFormat::kInt8 ? kMaxStreamingEntriesOfInt8 : kMaxStreamingEntries;
  const int64_t limit = num_experts == 1 ? kMaxDenseStreamingEntries : of_experts * num_experts;
  return num_pairs <= limit ? QuantizedForm::kStreaming : QuantizedForm::kTiled;
}

}  // namespace switchyard::cuda
