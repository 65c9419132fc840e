// Capturing streams into graphs, and launching those.
#include <atomic>
#include <set>

#include "tests/emulation/runtime_state.h"

namespace switchyard::emulation {
namespace {

std::vector<std::weak_ptr<Capture>>& AllCaptures() {
  static std::vector<std::weak_ptr<Capture>> captures;
  return captures;
}

template <typename Predicate>
cudaError_t InvalidateCapturesIf(Predicate forbidden) {
  std::lock_guard lock(CaptureMutex());
  bool found = false;
  for (const std::weak_ptr<Capture>& weak : AllCaptures()) {
    const std::shared_ptr<Capture> capture = weak.lock();
    if (capture == nullptr || capture->ended || !forbidden(*capture)) continue;
    capture->invalidated = true;
    found = true;
  }
  return found ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

void Merge(const Clock& from, Clock& into) {
  for (const auto& [stream, count] : from) into[stream] = std::max(into[stream], count);
}

}  // namespace

std::recursive_mutex& CaptureMutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

std::shared_ptr<Capture> CaptureOf(cudaStream_t stream) {
  std::lock_guard lock(CaptureMutex());
  if (stream == nullptr || stream->capture == nullptr || stream->capture->ended) return nullptr;
  return stream->capture;
}

cudaError_t Enqueue(cudaStream_t stream, std::function<void()> work) {
  {
    std::lock_guard lock(CaptureMutex());
    if (const std::shared_ptr<Capture> capture = CaptureOf(stream)) {
      if (capture->invalidated) return cudaErrorStreamCaptureInvalidated;
      capture->work.push_back(std::move(work));
      ++capture->clocks[stream][stream];
      return cudaSuccess;
    }
    if (stream == nullptr && CheckUnsafeCall() != cudaSuccess) return cudaErrorStreamCaptureImplicit;
  }
  work();
  return cudaSuccess;
}

cudaError_t CheckUnsafeCall() {
  return InvalidateCapturesIf([](const Capture& capture) {
    return capture.mode == cudaStreamCaptureModeGlobal ||
           (capture.mode == cudaStreamCaptureModeThreadLocal && capture.thread == std::this_thread::get_id());
  });
}

cudaError_t CheckNothingCaptured() {
  return InvalidateCapturesIf([](const Capture& capture) { return capture.origin->device == CurrentDevice(); });
}

cudaError_t RecordHostFunction(cudaStream_t stream, std::function<void()> function) {
  return SetLastError(Enqueue(stream, std::move(function)));
}

}  // namespace switchyard::emulation

namespace emulation = switchyard::emulation;
using emulation::Capture;
using emulation::CaptureMutex;
using emulation::CaptureOf;
using emulation::SetLastError;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  std::lock_guard lock(CaptureMutex());
  if (stream == nullptr) return SetLastError(cudaErrorStreamCaptureUnsupported);
  if (CaptureOf(stream) != nullptr) return SetLastError(cudaErrorIllegalState);
  auto capture = std::make_shared<Capture>();
  capture->origin = stream;
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->clocks[stream][stream] = 0;
  stream->capture = capture;
  std::erase_if(emulation::AllCaptures(), [](const auto& weak) { return weak.expired(); });
  emulation::AllCaptures().push_back(capture);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  std::lock_guard lock(CaptureMutex());
  *graph = nullptr;
  const std::shared_ptr<Capture> capture = CaptureOf(stream);
  if (capture == nullptr) return SetLastError(cudaErrorIllegalState);
  if (capture->origin != stream) return SetLastError(cudaErrorStreamCaptureUnmatched);
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != std::this_thread::get_id()) {
    return SetLastError(cudaErrorStreamCaptureWrongThread);
  }
  capture->ended = true;
  if (capture->invalidated) return SetLastError(cudaErrorStreamCaptureInvalidated);
  emulation::Clock& seen = capture->clocks[stream];
  for (auto& [other, clock] : capture->clocks) {
    if (seen[other] < clock[other]) return SetLastError(cudaErrorStreamCaptureUnjoined);
  }
  *graph = new CUgraph_st{std::move(capture->work)};
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  std::lock_guard lock(CaptureMutex());
  const std::shared_ptr<Capture> capture = CaptureOf(stream);
  *status = capture == nullptr     ? cudaStreamCaptureStatusNone
            : capture->invalidated ? cudaStreamCaptureStatusInvalidated
                                   : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  std::lock_guard lock(CaptureMutex());
  if (event == nullptr) return SetLastError(cudaErrorInvalidResourceHandle);
  event->capture = CaptureOf(stream);
  event->recorded = event->capture == nullptr;
  if (event->capture != nullptr) {
    event->clock = event->capture->clocks[stream];
    return SetLastError(event->capture->invalidated ? cudaErrorStreamCaptureInvalidated : cudaSuccess);
  }
  event->milliseconds = emulation::NowMilliseconds();
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int) {
  std::lock_guard lock(CaptureMutex());
  if (event == nullptr) return SetLastError(cudaErrorInvalidResourceHandle);
  const std::shared_ptr<Capture> own = CaptureOf(stream);
  const std::shared_ptr<Capture> from = event->capture;
  if (from == nullptr || from->ended) {
    if (own == nullptr) return SetLastError(from == nullptr ? cudaSuccess : cudaErrorCapturedEvent);
    own->invalidated = true;
    return SetLastError(cudaErrorStreamCaptureIsolation);
  }
  if (stream == nullptr) return SetLastError(cudaErrorStreamCaptureImplicit);
  if (own != nullptr && own != from) {
    own->invalidated = from->invalidated = true;
    return SetLastError(cudaErrorStreamCaptureMerge);
  }
  if (own == nullptr) {
    stream->capture = from;
    from->clocks[stream][stream] = 1;  // to be seen by the origin stream before the capture ends
  }
  emulation::Merge(event->clock, from->clocks[stream]);
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  if (graph == nullptr) return SetLastError(cudaErrorInvalidValue);
  *executable = new CUgraphExec_st{graph->work};
  return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t) {
  return SetLastError(executable == nullptr ? cudaErrorInvalidValue : cudaSuccess);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (executable == nullptr) return SetLastError(cudaErrorInvalidValue);
  return SetLastError(emulation::Enqueue(stream, [work = executable->work] {
    for (const std::function<void()>& item : work) item();
  }));
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
