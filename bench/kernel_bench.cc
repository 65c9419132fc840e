// Times the CPU kernels at the sizes of real models and prints each beside the limit that binds it, measured in the
// same process: memory bandwidth for few rows, float32 FMA rate for many.
//
//   kernel_bench [threads [linear|activations|experts|quantized|attention|sampling]]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bench/attention_cases.h"
#include "bench/kernel_timing.h"
#include "bench/limits.h"
#include "bench/quantized_cases.h"
#include "kernels/backend.h"

namespace switchyard {
namespace {

void FillWeights(Matrix& matrix) {
  const MatrixSpec& spec = matrix.spec();
  std::vector<uint16_t> row(spec.in_features, 0x3C00);  // small in BF16, one in F16
  for (int64_t r = 0; r < spec.out_features; ++r) {
    const ConstTensorView view(row.data(), spec.dtype, {1, spec.in_features});
    if (!matrix.Fill(r, view).ok()) std::abort();
  }
}

void BenchLinear(Backend& backend, const KernelLimits& limits, int64_t out, int64_t in) {
  // Several copies, so that no cache holds the weights from one call to the next.
  const int64_t copies = std::max<int64_t>(1, (int64_t{160} << 20) / (out * in * 2));
  std::vector<std::unique_ptr<Matrix>> weights;
  for (int64_t i = 0; i < copies; ++i) {
    weights.push_back(*backend.CreateMatrix({out, in, DType::kBFloat16}));
    FillWeights(*weights.back());
  }
  for (const int64_t rows : {1, 2, 4, 8, 16, 64, 256}) {
    Tensor x = FilledTensor(backend, {rows, in});
    Tensor y = FilledTensor(backend, {rows, out});
    size_t next = 0;
    const double seconds = BestSeconds([&] { backend.Linear(x.view(), *weights[next++ % copies], y.view()); });
    PrintKernel("linear bf16 [" + std::to_string(rows) + ", " + std::to_string(in) + "] -> " + std::to_string(out),
                seconds, static_cast<double>(weights[0]->bytes()), 2.0 * rows * out * in, limits);
  }
}

// One weight of a model, many rows: what the option of bfloat16 activations brings.
void BenchActivations(int threads, const KernelLimits& limits, int64_t out, int64_t in) {
  for (const bool bf16 : {false, true}) {
    const std::unique_ptr<Backend> backend = CreateCpuBackend({.num_threads = threads, .bf16_activations = bf16});
    std::printf("%s\n", backend->Description().c_str());
    const std::unique_ptr<Matrix> weight = *backend->CreateMatrix({out, in, DType::kBFloat16});
    FillWeights(*weight);
    for (const int64_t rows : {16, 32, 128, 512}) {
      Tensor x = FilledTensor(*backend, {rows, in});
      Tensor y = FilledTensor(*backend, {rows, out});
      const double seconds = BestSeconds([&] { backend->Linear(x.view(), *weight, y.view()); });
      PrintKernel("linear bf16 [" + std::to_string(rows) + ", " + std::to_string(in) + "] -> " + std::to_string(out),
                  seconds, static_cast<double>(weight->bytes()), 2.0 * rows * out * in, limits);
    }
  }
}

void BenchExperts(Backend& backend, const KernelLimits& limits, int64_t hidden, int64_t intermediate,
                  int64_t num_experts) {
  const auto experts = *backend.CreateExperts({num_experts, hidden, intermediate, DType::kBFloat16});
  double expert_bytes = 0;
  for (int64_t e = 0; e < num_experts; ++e) {
    FillWeights(experts->gate_up(e));
    FillWeights(experts->down(e));
    expert_bytes = static_cast<double>(experts->gate_up(e).bytes() + experts->down(e).bytes());
  }
  constexpr int64_t kTopK = 2;
  for (const int64_t rows : {1, 4, 16, 128, 512}) {
    Tensor x = FilledTensor(backend, {rows, hidden});
    Tensor out = FilledTensor(backend, {rows, hidden});
    Tensor weights = FilledTensor(backend, {rows, kTopK});
    Tensor slots = *backend.AllocateTensor(DType::kInt32, {rows, kTopK});
    int32_t next = 0;
    const double seconds = BestSeconds([&] {
      for (int32_t& slot : slots.view().As<int32_t>()) slot = next++ % static_cast<int32_t>(num_experts);
      backend.RunExperts(*experts, {x.view(), slots.view(), weights.view(), 0, out.view()});
    });
    const double active = static_cast<double>(std::min(num_experts, rows * kTopK));
    PrintKernel(std::to_string(num_experts) + " experts bf16 " + std::to_string(hidden) + "/" +
                    std::to_string(intermediate) + ", " + std::to_string(rows) + " rows",
                seconds, active * expert_bytes, 2.0 * rows * kTopK * 3 * hidden * intermediate, limits);
  }
}

void BenchSampling(Backend& backend, const KernelLimits& limits) {
  constexpr int64_t kRows = 16, kVocab = 32000;
  Tensor logits = FilledTensor(backend, {kRows, kVocab});
  for (float& logit : logits.view().As<float>()) logit *= 20;
  const std::pair<const char*, SamplingRow> settings[] = {
      {"greedy", {.temperature = 0}},
      {"temperature", {.temperature = 0.8f}},
      {"top-k 50, top-p 0.9", {.temperature = 0.8f, .top_k = 50, .top_p = 0.9f}},
      {"top-p 0.9, 5 log-probs", {.temperature = 0.8f, .top_p = 0.9f, .num_top_logprobs = 5}}};
  for (const auto& [name, row] : settings) {
    const std::vector<SamplingRow> rows(kRows, row);
    const double seconds = BestSeconds([&] { backend.Sample(logits.view(), rows); });
    PrintKernel(std::string("sampling 16 x 32000, ") + name, seconds, kRows * kVocab * sizeof(float), 0, limits);
  }
}

int Main(int threads, const std::string& part) {
  const std::unique_ptr<Backend> backend = CreateCpuBackend({.num_threads = threads});
  const KernelLimits limits{MeasureReadBandwidth(threads), MeasureFmaRate(threads)};
  std::printf("%s; limits: %.1f GB/s, %.1f GFLOP/s\n", backend->Description().c_str(), limits.bytes_per_second * 1e-9,
              limits.flops_per_second * 1e-9);
  std::printf("%-44s %12s %18s %21s\n", "", "best time", "weights or cache", "arithmetic");
  const auto is_wanted = [&](const char* name) { return part.empty() || part == name; };
  if (is_wanted("linear")) {
    BenchLinear(*backend, limits, 1536, 1024);
    BenchLinear(*backend, limits, 32000, 1024);
    BenchLinear(*backend, limits, 4096, 14336);
  }
  if (is_wanted("activations")) {
    BenchActivations(threads, limits, 1536, 1024);
    BenchActivations(threads, limits, 4096, 14336);
  }
  if (is_wanted("experts")) {
    BenchExperts(*backend, limits, 1024, 3584, 8);
    BenchExperts(*backend, limits, 4096, 14336, 2);
  }
  if (is_wanted("quantized")) BenchQuantized(threads, limits);
  if (is_wanted("attention")) BenchAttention(*backend, limits);
  if (is_wanted("sampling")) BenchSampling(*backend, limits);
  return 0;
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : static_cast<int>(std::thread::hardware_concurrency());
  if (threads < 1) {
    std::fprintf(stderr, "usage: kernel_bench [threads [part]]\n");
    return 2;
  }
  return switchyard::Main(threads, argc > 2 ? argv[2] : "");
}
