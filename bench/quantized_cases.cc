#include "bench/quantized_cases.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "kernels/quantization/quantization.h"

namespace switchyard {
namespace {

constexpr int64_t kHidden = 1024;
constexpr int64_t kIntermediate = 3584;
constexpr int64_t kNumExperts = 8;
constexpr int64_t kTopK = 2;
constexpr int64_t kRows[] = {1, 4, 16, 32, 128, 512};

void FillWeights(Matrix& matrix) {
  if (!matrix.FillRandom(1, 0.05f).ok()) std::abort();
}

void BenchLinear(Backend& backend, const std::string& name, const Quantization& quantization, int64_t out,
                 const KernelLimits& limits) {
  // Several copies, so that no cache holds the weights from one call to the next.
  const int64_t copies = std::max<int64_t>(1, (int64_t{160} << 20) / (out * kHidden * quantization.bits() / 8));
  std::vector<std::unique_ptr<Matrix>> weights;
  for (int64_t i = 0; i < copies; ++i) {
    weights.push_back(*backend.CreateMatrix({out, kHidden, DType::kBFloat16, quantization}));
    FillWeights(*weights.back());
  }
  for (const int64_t rows : kRows) {
    Tensor x = FilledTensor(backend, {rows, kHidden});
    Tensor y = FilledTensor(backend, {rows, out});
    size_t next = 0;
    const double seconds = BestSeconds([&] { backend.Linear(x.view(), *weights[next++ % copies], y.view()); });
    PrintKernel("linear " + name + " [" + std::to_string(rows) + ", 1024] -> " + std::to_string(out), seconds,
                static_cast<double>(weights[0]->bytes()), 2.0 * rows * out * kHidden, limits);
  }
}

void BenchExperts(Backend& backend, const std::string& name, const Quantization& quantization,
                  const KernelLimits& limits) {
  // Two layers, so that no cache holds the weights from one call to the next.
  std::vector<std::unique_ptr<ExpertWeights>> layers;
  for (int64_t i = 0; i < 2; ++i) {
    layers.push_back(
        *backend.CreateExperts({kNumExperts, kHidden, kIntermediate, DType::kBFloat16, quantization, quantization}));
    for (int64_t e = 0; e < kNumExperts; ++e) {
      FillWeights(layers.back()->gate_up(e));
      FillWeights(layers.back()->down(e));
    }
  }
  const auto expert_bytes = static_cast<double>(layers[0]->gate_up(0).bytes() + layers[0]->down(0).bytes());
  for (const int64_t rows : kRows) {
    Tensor x = FilledTensor(backend, {rows, kHidden});
    Tensor out = FilledTensor(backend, {rows, kHidden});
    Tensor weights = FilledTensor(backend, {rows, kTopK});
    Tensor slots = *backend.AllocateTensor(DType::kInt32, {rows, kTopK});
    int32_t next = 0;
    size_t layer = 0;
    const double seconds = BestSeconds([&] {
      for (int32_t& slot : slots.view().As<int32_t>()) slot = next++ % static_cast<int32_t>(kNumExperts);
      backend.RunExperts(*layers[layer++ % layers.size()], {x.view(), slots.view(), weights.view(), 0, out.view()});
    });
    const auto active = static_cast<double>(std::min(kNumExperts, rows * kTopK));
    PrintKernel("8 experts " + name + " 1024/3584, " + std::to_string(rows) + " rows", seconds, active * expert_bytes,
                2.0 * rows * kTopK * 3 * kHidden * kIntermediate, limits);
  }
}

}  // namespace

void BenchQuantized(int threads, const KernelLimits& limits) {
  for (const bool int8 : {true, false}) {
    const std::unique_ptr<Backend> backend = CreateCpuBackend({.num_threads = threads, .int8_activations = int8});
    std::printf("%s\n", backend->Description().c_str());
    for (const char* name : {"int4", "int4-asym", "nf4", "int8"}) {
      const Quantization quantization = ParseQuantizationRecipe(name)->stored;
      BenchLinear(*backend, name, quantization, 1536, limits);
      BenchExperts(*backend, name, quantization, limits);
    }
  }
}

}  // namespace switchyard
