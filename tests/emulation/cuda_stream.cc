// Streams and events outside of captures: all work has happened when a call returns.
#include <chrono>

#include "tests/emulation/runtime_state.h"

namespace switchyard::emulation {

double NowMilliseconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(now).count();
}

namespace {

// A call that waits for a captured stream, or asks about one, invalidates the capture.
cudaError_t CheckNotCaptured(cudaStream_t stream) {
  std::lock_guard lock(CaptureMutex());
  const std::shared_ptr<Capture> capture = CaptureOf(stream);
  if (capture == nullptr) return stream == nullptr ? CheckUnsafeCall() : cudaSuccess;
  capture->invalidated = true;
  return cudaErrorStreamCaptureUnsupported;
}

cudaError_t CheckNotCaptured(cudaEvent_t event) {
  std::lock_guard lock(CaptureMutex());
  if (event == nullptr) return cudaErrorInvalidResourceHandle;
  if (event->capture == nullptr) return cudaSuccess;
  event->capture->invalidated = true;
  return cudaErrorCapturedEvent;
}

}  // namespace
}  // namespace switchyard::emulation

namespace emulation = switchyard::emulation;
using emulation::SetLastError;

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int) {
  *stream = new CUstream_st{emulation::CurrentDevice(), nullptr};
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == nullptr) return SetLastError(cudaErrorInvalidResourceHandle);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return SetLastError(emulation::CheckNotCaptured(stream)); }
cudaError_t cudaStreamQuery(cudaStream_t stream) { return SetLastError(emulation::CheckNotCaptured(stream)); }
cudaError_t cudaDeviceSynchronize() { return SetLastError(emulation::CheckNothingCaptured()); }

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int flags) {
  *event = new CUevent_st;
  (*event)->timing = (flags & cudaEventDisableTiming) == 0;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event == nullptr) return SetLastError(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) { return SetLastError(emulation::CheckNotCaptured(event)); }
cudaError_t cudaEventQuery(cudaEvent_t event) { return SetLastError(emulation::CheckNotCaptured(event)); }

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin, cudaEvent_t end) {
  if (begin == nullptr || end == nullptr || !begin->timing || !end->timing || !begin->recorded || !end->recorded) {
    return SetLastError(cudaErrorInvalidResourceHandle);
  }
  *milliseconds = static_cast<float>(end->milliseconds - begin->milliseconds);
  return cudaSuccess;
}
