// Ranks as threads of one process, exchanging through shared memory.
//
// A collective is one arrival of all ranks, a copy or sum straight from the senders' buffers into the receivers', and
// a second arrival after which every buffer is its owner's again. No memory is allocated. A time limit or an Abort
// ends the first wait only: once all ranks have arrived nothing is left to wait for, so no rank returns while another
// still reads its buffers.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "parallel/communicator.h"

namespace switchyard {

// One communicator per rank, in rank order; they share their state and may be destroyed in any order. `timeout` is for
// one collective. Threads that wait spin briefly and then sleep (communicators/arrival_gate.h); while they spin they
// call `meanwhile`, unless it is null, which returns whether it found something to do. It may take long.
std::vector<std::unique_ptr<Communicator>> CreateInProcessCommunicators(int size, absl::Duration timeout,
                                                                        const std::function<bool()>& meanwhile = {});

}  // namespace switchyard
