#include "bench/gpu_limits.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "kernels/cuda/dense_gemm.h"
#include "kernels/cuda/memory_layout.h"
#include "kernels/cuda/status.h"

namespace switchyard {
namespace {

constexpr int kRounds = 5;
constexpr int kLaunchesPerRound = 10;
constexpr size_t kMaxCopyBytes = size_t{1} << 30;

// [rows, in] by [in, out]: whole waves of tiles, and long sums.
struct Product {
  int64_t rows, out, in;
};
constexpr Product kProducts[] = {{4096, 4096, 4096}, {8192, 8192, 4096}, {4096, 8192, 8192}, {8192, 8192, 8192}};
constexpr int64_t kMaxExtent = 8192;

void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "measuring the limits of the GPU: %s\n", status.ToString().c_str());
  std::exit(1);
}
void Must(cudaError_t error, const char* what) { Must(cuda::ToStatus(error, what)); }

class DeviceMemory {
 public:
  explicit DeviceMemory(size_t bytes) { Must(cudaMalloc(&data_, bytes), "cudaMalloc"); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  ~DeviceMemory() { (void)cudaFree(data_); }
  void* data() const { return data_; }

 private:
  void* data_ = nullptr;
};

// A stream of its own and two events on it.
class Timer {
 public:
  Timer() {
    Must(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    Must(cudaEventCreate(&begin_), "cudaEventCreate");
    Must(cudaEventCreate(&end_), "cudaEventCreate");
  }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() {
    (void)cudaEventDestroy(begin_);
    (void)cudaEventDestroy(end_);
    (void)cudaStreamDestroy(stream_);
  }
  cudaStream_t stream() const { return stream_; }

  // Seconds of one launch: the median of kRounds rounds, after one more that warms up.
  double Seconds(const std::function<void()>& launch) {
    std::vector<float> milliseconds(kRounds + 1);
    for (float& round : milliseconds) {
      Must(cudaEventRecord(begin_, stream_), "cudaEventRecord");
      for (int i = 0; i < kLaunchesPerRound; ++i) launch();
      Must(cudaEventRecord(end_, stream_), "cudaEventRecord");
      Must(cudaEventSynchronize(end_), "cudaEventSynchronize");
      Must(cudaEventElapsedTime(&round, begin_, end_), "cudaEventElapsedTime");
    }
    std::sort(milliseconds.begin() + 1, milliseconds.end());
    return milliseconds[1 + kRounds / 2] * 1e-3 / kLaunchesPerRound;
  }

 private:
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr;
  cudaEvent_t end_ = nullptr;
};

double MeasureCopy(Timer& timer) {
  size_t free_bytes = 0, total_bytes = 0;
  Must(cudaMemGetInfo(&free_bytes, &total_bytes), "cudaMemGetInfo");
  const size_t bytes = std::min(kMaxCopyBytes, free_bytes / 4);
  const DeviceMemory from(bytes), to(bytes);
  Must(cudaMemsetAsync(from.data(), 0x5A, bytes, timer.stream()), "cudaMemsetAsync");
  const double seconds = timer.Seconds([&] {
    Must(cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice, timer.stream()), "cudaMemcpyAsync");
  });
  return 2.0 * static_cast<double>(bytes) / seconds;
}

// Elements of both signs, of magnitudes in [2^-4, 1): a card runs faster on zeros than on data.
std::vector<uint16_t> RandomElements(DType dtype, size_t count) {
  std::mt19937_64 random(29);
  // Exponents -4..-1: the lowest two bits of the exponent field vary, the rest of it is fixed.
  const bool is_bfloat16 = dtype == DType::kBFloat16;
  const int mantissa_bits = is_bfloat16 ? 7 : 10;
  const auto lowest = static_cast<uint16_t>(((is_bfloat16 ? 127 : 15) - 4) << mantissa_bits);
  const auto mantissa_mask = static_cast<uint16_t>((1 << mantissa_bits) - 1);
  std::vector<uint16_t> elements(count);
  for (uint16_t& element : elements) {
    const uint64_t bits = random();
    element = static_cast<uint16_t>(((bits >> 32 & 1) << 15) | (lowest + ((bits >> 16 & 3) << mantissa_bits)) |
                                    (bits & mantissa_mask));
  }
  return elements;
}

double MeasureMatrixRate(Timer& timer, DType dtype) {
  constexpr size_t kElements = size_t{kMaxExtent} * kMaxExtent;
  const std::vector<uint16_t> elements = RandomElements(dtype, kElements);
  const DeviceMemory x(2 * kElements), weight(2 * kElements), y(2 * kElements), workspace(cuda::kGemmWorkspaceBytes);
  Must(cudaMemcpy(x.data(), elements.data(), 2 * kElements, cudaMemcpyHostToDevice), "cudaMemcpy");
  // Other numbers in the same places: the halves change places.
  Must(cudaMemcpy(weight.data(), elements.data() + kElements / 2, kElements, cudaMemcpyHostToDevice), "cudaMemcpy");
  Must(cudaMemcpy(static_cast<char*>(weight.data()) + kElements, elements.data(), kElements, cudaMemcpyHostToDevice),
       "cudaMemcpy");
  absl::StatusOr<std::unique_ptr<cuda::DenseGemm>> gemm =
      cuda::CreateDenseGemm(timer.stream(), workspace.data(), cuda::kGemmWorkspaceBytes);
  Must(gemm.status());
  double best = 0;
  for (const auto& [rows, out, in] : kProducts) {
    const double seconds = timer.Seconds([&] {
      Must((*gemm)->Multiply({.dtype = dtype,
                              .y_dtype = dtype,
                              .rows = rows,
                              .out_features = out,
                              .in_features = in,
                              .x = x.data(),
                              .weight = weight.data(),
                              .y = y.data()}));
    });
    best = std::max(best, 2.0 * static_cast<double>(rows * out) * static_cast<double>(in) / seconds);
  }
  return best;
}

}  // namespace

GpuLimits MeasureGpuLimits(int device, DType dtype) {
  Must(cudaSetDevice(device), "cudaSetDevice");
  Timer timer;
  return {.copy_bytes_per_second = MeasureCopy(timer), .matrix_flops_per_second = MeasureMatrixRate(timer, dtype)};
}

}  // namespace switchyard
