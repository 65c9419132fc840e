// A device's communicator as one of host memory, so that the conformance test runs over it: every call uploads its
// tensors, waits for the device, and downloads the results.
#pragma once

#include <memory>

#include "kernels/backend.h"
#include "parallel/communicator.h"

namespace switchyard {

// Both are borrowed.
std::unique_ptr<Communicator> ThroughDevice(Communicator& communicator, Backend& backend);

}  // namespace switchyard
