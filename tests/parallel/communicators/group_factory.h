// The transports that the communicator tests run over, with ranks as threads of this process.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "parallel/communicator.h"

namespace switchyard {

enum class Transport { kInProcess, kGlooThreads };

std::string TransportName(Transport transport);

// One communicator per rank; fails the test where that is impossible.
std::vector<std::unique_ptr<Communicator>> MakeGroup(Transport transport, int size, absl::Duration timeout);

// Joins a Gloo group of ranks in any processes whose store listens at 127.0.0.1:`port`.
std::unique_ptr<Communicator> JoinGlooGroup(int port, int rank, int size, absl::Duration timeout);

}  // namespace switchyard
