#include "kernels/cpu/scratch_bound.h"

#include <algorithm>

#include "kernels/cpu/bf16_gemm.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/paged_attention.h"
#include "kernels/cpu/quantized_activations.h"

namespace switchyard {
namespace {

constexpr int64_t kFloat = sizeof(float);
constexpr int64_t kMaxExperts = 512;
constexpr int64_t kBf16PanelColumns = 64;

// Threads that need scratch of their own.
int64_t MaxWorkers(const CpuBackendOptions& options) { return options.num_threads + options.num_guests; }

// Bytes of rows on their way into products, by the kind of product (kernels/cpu/row_products.h): each kind keeps the
// most that it ever packed.
class PackedRows {
 public:
  explicit PackedRows(const CpuBackendOptions& options) : options_(options) {}

  // `rows` in all, with `num_matrices` of this form.
  void Add(int64_t rows, int64_t num_matrices, const MatrixSpec& weight) {
    const int64_t columns = weight.in_features;
    const int64_t floats = PackedRowsSize(rows, columns) * kFloat;
    if (weight.quantization.is_dense()) {
      dense_ = std::max(dense_, floats);
      if (!options_.bf16_activations || weight.dtype != DType::kBFloat16) return;
      const int64_t blocks = rows + num_matrices * Bf16Gemm::kBlockRows;  // a matrix's rows fill whole blocks
      bf16_ = std::max(bf16_, Bf16Gemm::RoundedSize(blocks, columns) * int64_t{sizeof(uint16_t)});
      const int64_t panel = Bf16Gemm::Depth(columns) * int64_t{sizeof(uint16_t)} + OneDnnGemm::kLargeBlock * kFloat;
      of_thread_ = std::max(of_thread_, kBf16PanelColumns * panel);
      return;
    }
    if (options_.int8_activations) {
      int8_ = std::max(int8_, rows * NumActivationGroups(columns) * int64_t{sizeof(ActivationGroup)});
    } else {
      quantized_ = std::max(quantized_, floats);
    }
    if (weight.quantization.reordered) of_thread_ = std::max(of_thread_, columns * kFloat);
  }

  int64_t bytes() const { return dense_ + bf16_ + quantized_ + int8_ + MaxWorkers(options_) * of_thread_; }

 private:
  const CpuBackendOptions options_;
  int64_t dense_ = 0;
  int64_t bf16_ = 0;
  int64_t quantized_ = 0;
  int64_t int8_ = 0;
  int64_t of_thread_ = 0;
};

}  // namespace

size_t CpuScratchBound(const BackendLimits& limits, std::span<const MatrixSpec> layers,
                       std::span<const MatrixSpec> experts, const CpuBackendOptions& options) {
  if (options.reference) return 0;
  PackedRows packed(options);
  for (const MatrixSpec& layer : layers) packed.Add(std::max(limits.max_tokens, limits.max_output_rows), 1, layer);
  const int64_t routed = limits.max_expert_rows * std::min(limits.top_k, limits.num_local_experts);
  for (const MatrixSpec& expert : experts) packed.Add(routed, limits.num_local_experts, expert);

  const int64_t router_logits = limits.max_tokens * kMaxExperts * kFloat;
  const int64_t products = routed * (2 * limits.expert_intermediate_size + limits.hidden_size) * kFloat;
  const int64_t attention =
      PagedAttentionRunner::MaxScratch(limits.attention, limits.max_context, MaxWorkers(options)) * kFloat;
  const int64_t bytes = packed.bytes() + router_logits + products + attention;
  return static_cast<size_t>(bytes + bytes / 4);  // Scratch grows by a quarter more than it is asked for
}

}  // namespace switchyard
