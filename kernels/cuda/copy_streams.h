// Streams on which loading threads copy weights, beside the rank's own.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <mutex>
#include <vector>

#include "absl/status/status.h"

namespace switchyard::cuda {

// Thread-safe. Each copy has a stream for itself, so that as many copies overlap as threads load.
class CopyStreams {
 public:
  explicit CopyStreams(int device) : device_(device) {}
  ~CopyStreams();

  // Returns when `host` may be reused.
  absl::Status Copy(const void* host, size_t bytes, void* device_data);

 private:
  absl::Status Acquire(cudaStream_t* stream);

  const int device_;
  std::mutex mu_;
  std::vector<cudaStream_t> idle_;  // guarded by mu_
};

}  // namespace switchyard::cuda
