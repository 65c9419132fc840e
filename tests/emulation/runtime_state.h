// What the parts of the emulated runtime share: the thread's last error, streams, and captures.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tests/emulation/devices.h"
#include "tests/emulation/include/cuda_runtime_api.h"

namespace switchyard::emulation {

// Returns `error`; keeps it as the calling thread's last error unless it is cudaSuccess.
cudaError_t SetLastError(cudaError_t error);
int CurrentDevice();
const DeviceSettings& Devices();
double NowMilliseconds();

// Events of each stream that happened before: a vector clock.
using Clock = std::map<const CUstream_st*, size_t>;

// One capture, from cudaStreamBeginCapture to cudaStreamEndCapture. Guarded by CaptureMutex().
struct Capture {
  const CUstream_st* origin = nullptr;
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  std::thread::id thread;
  bool ended = false;
  bool invalidated = false;
  std::vector<std::function<void()>> work;     // in call order, which respects every dependency
  std::map<const CUstream_st*, Clock> clocks;  // of every stream that takes part
};
std::recursive_mutex& CaptureMutex();

// What the stream is captured for; null if it is not.
std::shared_ptr<Capture> CaptureOf(cudaStream_t stream);
// Runs `work` now, or records it if the stream is being captured.
cudaError_t Enqueue(cudaStream_t stream, std::function<void()> work);
// For calls that may not happen while the calling thread captures in a mode that forbids it, nor while any thread
// captures globally: invalidates those captures.
cudaError_t CheckUnsafeCall();
// For calls that wait for all streams.
cudaError_t CheckNothingCaptured();

}  // namespace switchyard::emulation

struct CUstream_st {
  int device = 0;
  std::shared_ptr<switchyard::emulation::Capture> capture;
};

struct CUevent_st {
  bool timing = true;
  bool recorded = false;
  double milliseconds = 0;
  // If it was last recorded in a capture: which, and what had happened by then.
  std::shared_ptr<switchyard::emulation::Capture> capture;
  switchyard::emulation::Clock clock;
};

struct CUgraph_st {
  std::vector<std::function<void()>> work;
};

struct CUgraphExec_st {
  std::vector<std::function<void()>> work;
};
