#include "bench/gpu_output_check.h"

#include <cuda_runtime_api.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "kernels/cuda/status.h"

namespace switchyard {
namespace {

int64_t Stride(const KernelOutput& output) { return output.row_stride > 0 ? output.row_stride : output.row_elements; }

size_t Extent(const KernelOutput& output) {
  const int64_t elements = output.rows > 0 ? (output.rows - 1) * Stride(output) + output.row_elements : 0;
  return static_cast<size_t>(elements) * SizeOf(output.dtype);
}

// A half is finite if its exponent is not all ones.
bool IsUsable(const KernelOutput& output, const std::byte* element) {
  uint16_t bits = 0;
  int32_t integer = 0;
  float value = 0;
  switch (output.dtype) {
    case DType::kBFloat16:
      std::memcpy(&bits, element, sizeof(bits));
      return (bits & 0x7F80) != 0x7F80;
    case DType::kFloat16:
      std::memcpy(&bits, element, sizeof(bits));
      return (bits & 0x7C00) != 0x7C00;
    case DType::kInt32:
      std::memcpy(&integer, element, sizeof(integer));
      return integer >= 0 && integer < output.int_limit;
    default:
      std::memcpy(&value, element, sizeof(value));
      return std::isfinite(value);
  }
}

}  // namespace

absl::Status PoisonOutputs(const std::vector<KernelOutput>& outputs, cuda::Stream stream) {
  absl::Status status;
  for (const KernelOutput& output : outputs) {
    if (output.is_input_too) continue;
    status.Update(cuda::ToStatus(cudaMemsetAsync(output.data, 0xFF, Extent(output), stream), "cudaMemsetAsync"));
  }
  return status;
}

absl::Status CheckOutputs(const std::vector<KernelOutput>& outputs, cuda::Stream stream) {
  for (const KernelOutput& output : outputs) {
    const auto host = std::make_unique_for_overwrite<std::byte[]>(Extent(output));
    absl::Status status = cuda::ToStatus(
        cudaMemcpyAsync(host.get(), output.data, Extent(output), cudaMemcpyDeviceToHost, stream), "cudaMemcpyAsync");
    status.Update(cuda::ToStatus(cudaStreamSynchronize(stream), "outputs"));
    if (!status.ok()) return status;
    const auto element_bytes = static_cast<int64_t>(SizeOf(output.dtype));
    for (int64_t row = 0; row < output.rows; ++row) {
      for (int64_t i = 0; i < output.row_elements; ++i) {
        if (IsUsable(output, host.get() + (row * Stride(output) + i) * element_bytes)) continue;
        return absl::InternalError(absl::StrCat(output.name, "[", row, ", ", i, "] of [", output.rows, ", ",
                                                output.row_elements, "] is not written, not finite or out of range"));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace switchyard
