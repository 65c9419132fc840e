// A CUDA graph: work captured from a stream, launched again as one.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"

namespace switchyard::cuda {

class Graph final : public RecordedWork {
 public:
  // Captures what `body` queues on `stream` and on streams that join it by events. Nothing of it runs.
  static absl::StatusOr<std::unique_ptr<RecordedWork>> Capture(cudaStream_t stream,
                                                               const std::function<absl::Status()>& body);
  ~Graph() override;

  absl::Status Launch(cudaStream_t stream);

 private:
  explicit Graph(cudaGraphExec_t exec) : exec_(exec) {}

  const cudaGraphExec_t exec_;
};

}  // namespace switchyard::cuda
