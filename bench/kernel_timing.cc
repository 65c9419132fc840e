#include "bench/kernel_timing.h"

#include <algorithm>
#include <chrono>
#include <cstdio>

namespace switchyard {

double BestSeconds(const std::function<void()>& work) {
  using Clock = std::chrono::steady_clock;
  work();  // first touch
  double best = 1e30;
  double total = 0;
  for (int i = 0; i < 50 && (total < 0.3 || i < 3); ++i) {
    const Clock::time_point start = Clock::now();
    work();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds);
    total += seconds;
  }
  return best;
}

void PrintKernel(const std::string& name, double seconds, double bytes, double flops, const KernelLimits& limits) {
  const double of_bandwidth = bytes / seconds / limits.bytes_per_second;
  const double of_fma = flops / seconds / limits.flops_per_second;
  std::printf("%-44s %9.1f us %7.1f GB/s %4.0f%% %8.1f GFLOP/s %4.0f%%\n", name.c_str(), seconds * 1e6,
              bytes / seconds * 1e-9, of_bandwidth * 100, flops / seconds * 1e-9, of_fma * 100);
  std::fflush(stdout);
}

Tensor FilledTensor(Backend& backend, Shape shape) {
  Tensor tensor = *backend.AllocateTensor(DType::kFloat32, shape);
  int64_t i = 0;
  for (float& value : tensor.view().As<float>()) value = static_cast<float>(i++ % 97) / 97 - 0.5f;
  return tensor;
}

}  // namespace switchyard
