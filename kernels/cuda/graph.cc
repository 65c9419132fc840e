#include "kernels/cuda/graph.h"

#include "kernels/cuda/status.h"

namespace switchyard::cuda {

absl::StatusOr<std::unique_ptr<RecordedWork>> Graph::Capture(cudaStream_t stream,
                                                             const std::function<absl::Status()>& body) {
  // Other ranks are threads of this process and go on allocating and waiting: only this thread is held to the rules.
  absl::Status status = ToStatus(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture of a step");
  if (!status.ok()) return status;
  status = body();
  cudaGraph_t graph = nullptr;
  status.Update(ToStatus(cudaStreamEndCapture(stream, &graph), "capture of a step"));
  cudaGraphExec_t exec = nullptr;
  if (status.ok()) status = ToStatus(cudaGraphInstantiate(&exec, graph, 0), "cudaGraphInstantiate");
  if (graph != nullptr) (void)cudaGraphDestroy(graph);
  if (!status.ok()) return status;
  std::unique_ptr<Graph> captured(new Graph(exec));
  status = ToStatus(cudaGraphUpload(exec, stream), "cudaGraphUpload");
  if (!status.ok()) return status;
  return captured;
}

Graph::~Graph() { (void)cudaGraphExecDestroy(exec_); }

absl::Status Graph::Launch(cudaStream_t stream) { return ToStatus(cudaGraphLaunch(exec_, stream), "cudaGraphLaunch"); }

}  // namespace switchyard::cuda
