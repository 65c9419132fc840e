// Dense projections through cuBLASLt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard::cuda {

// y [rows, out] = x [rows, in] W^T, W [out, in], summed in float32.
struct DenseGemmArgs {
  DType dtype = DType::kBFloat16;    // of x and W
  DType y_dtype = DType::kBFloat16;  // the same, or kFloat32
  int64_t rows = 0;
  int64_t out_features = 0;
  int64_t in_features = 0;  // a multiple of 8
  const void* x = nullptr;
  const void* weight = nullptr;
  void* y = nullptr;
};

// Used by the rank's thread only.
class DenseGemm {
 public:
  virtual ~DenseGemm() = default;
  // Queued on the stream of creation. The algorithm that cuBLASLt's heuristics choose is kept per shape.
  virtual absl::Status Multiply(const DenseGemmArgs& args) = 0;
};

// `workspace` of `workspace_bytes` device bytes is borrowed.
absl::StatusOr<std::unique_ptr<DenseGemm>> CreateDenseGemm(Stream stream, void* workspace, size_t workspace_bytes);

}  // namespace switchyard::cuda
