#include "kernels/cuda/quantized_gemm.h"

namespace switchyard::cuda {
namespace {

// The streaming form reads codes again for every 16 entries, from the second time on from the L2 cache. By the
// model of both kernels' bounds, not measured.
constexpr int64_t kMaxStreamingEntries = 16;

}  // namespace

QuantizedForm ChooseQuantizedForm(int64_t num_pairs, int64_t num_experts) {
  return num_pairs <= kMaxStreamingEntries * num_experts ? QuantizedForm::kStreaming : QuantizedForm::kTiled;
}

}  // namespace switchyard::cuda
