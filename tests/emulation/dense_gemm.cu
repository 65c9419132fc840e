// In the place of cuBLASLt: the same products by plain loops, queued on the stream like a kernel.
#include "kernels/cpu/float_convert.h"
#include "kernels/cuda/dense_gemm.h"
#include "kernels/cuda/half.cuh"
#include "kernels/cuda/launch.cuh"

namespace switchyard::cuda {
namespace {

template <typename T>
__global__ void MultiplyKernel(DenseGemmArgs args) {
  WaitForPrevious();
  const auto* x = static_cast<const T*>(args.x);
  const auto* weight = static_cast<const T*>(args.weight);
  for (int64_t i = threadIdx.x; i < args.rows * args.out_features; i += blockDim.x) {
    const T* row = x + i / args.out_features * args.in_features;
    const T* column = weight + i % args.out_features * args.in_features;
    float sum = 0;
    for (int64_t k = 0; k < args.in_features; ++k) sum += ToFloat(row[k]) * ToFloat(column[k]);
    if (args.y_dtype == DType::kFloat32) {
      static_cast<float*>(args.y)[i] = sum;
    } else {
      static_cast<T*>(args.y)[i] = FromFloat<T>(sum);
    }
  }
}

class PlainGemm final : public DenseGemm {
 public:
  explicit PlainGemm(Stream stream) : stream_(stream) {}

  absl::Status Multiply(const DenseGemmArgs& args) override {
    if (args.rows == 0 || args.out_features == 0) return absl::OkStatus();
    DispatchHalf(args.dtype, [&](auto type) {
      Launch(MultiplyKernel<decltype(type)>, LaunchShape{.grid = dim3(1), .block = dim3(1)}, stream_, args);
    });
    return absl::OkStatus();
  }

 private:
  const Stream stream_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<DenseGemm>> CreateDenseGemm(Stream stream, void* /*workspace*/,
                                                           size_t /*workspace_bytes*/) {
  return std::make_unique<PlainGemm>(stream);
}

}  // namespace switchyard::cuda
