// Collectives of a GPU's tensors through host memory: copies to pinned buffers, a communicator of the CPU, copies back.
//
// Every call waits for the device and returns when its results are there, so nothing of it can be recorded, and the
// time limits are the host communicator's.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "kernels/backend.h"
#include "parallel/communicator.h"

namespace switchyard {

// `host` is of the same rank, borrowed, and used by nobody else meanwhile; `backend` is borrowed. Two pinned buffers of
// `max_message_bytes` each are allocated at once: for what one call sends, all its tensors together, and for what it
// receives. They grow where a call carries more. RESOURCE_EXHAUSTED where host memory does not suffice.
absl::StatusOr<std::unique_ptr<Communicator>> CreateStagedCommunicator(Communicator& host, Backend& backend,
                                                                       size_t max_message_bytes);

}  // namespace switchyard
