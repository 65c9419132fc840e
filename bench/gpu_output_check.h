// Whether a kernel wrote every element of its output with a usable number. It proves no value right: tests do that.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard {

// Rows of device memory; elements between them belong to no output.
struct KernelOutput {
  std::string name;
  void* data = nullptr;
  DType dtype = DType::kBFloat16;  // floats are to be finite, kInt32 in [0, int_limit)
  int64_t rows = 1;
  int64_t row_elements = 0;
  int64_t row_stride = 0;  // elements from row to row; 0: row_elements
  int64_t int_limit = 0;
  bool is_input_too = false;  // added to: not poisoned
};

// Every byte of the outputs becomes 0xFF: NaN, or -1.
absl::Status PoisonOutputs(const std::vector<KernelOutput>& outputs, cuda::Stream stream);
// Waits for the stream. INTERNAL names the first element that is poison, NaN, infinite or out of range.
absl::Status CheckOutputs(const std::vector<KernelOutput>& outputs, cuda::Stream stream);

}  // namespace switchyard
