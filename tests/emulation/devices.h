// What tests may change about the emulated devices.
#pragma once

#include <cstddef>
#include <functional>

#include "tests/emulation/include/cuda_runtime_api.h"

namespace switchyard::emulation {

struct DeviceSettings {
  int count = 2;
  size_t memory_bytes = size_t{1} << 30;  // of each device
  bool peer_access = false;
};
// For the whole process; not while other threads use devices.
void SetDevices(const DeviceSettings& settings);
// Device memory in use on `device`.
size_t DeviceBytesInUse(int device);

// Queues `function` as if it were a kernel: a library's collective, for example. In a capture it becomes part of the
// graph and runs at every launch.
cudaError_t RecordHostFunction(cudaStream_t stream, std::function<void()> function);

}  // namespace switchyard::emulation
