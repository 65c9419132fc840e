// Ranks as threads of any number of processes and hosts, exchanging through Gloo over TCP.
//
// Gloo moves the bytes between every two ranks; collectives are those of communicators/mesh.h. Gloo itself closes no
// connection and names no rank when a peer stops in the middle of a message, and it ends the process where a message is
// longer than its receiver expects. Therefore:
//  - every exchange begins with an envelope from each rank to each other, of bounded size, which says what was called
//    and carries the data where they are small; only envelopes that agree let longer data follow;
//  - a watching thread per communicator looks for lost peers and for the time limit, some 20 times a second;
//  - a rank that fails tells the others why and closes its connections, so that nobody waits for it.
// A thread that calls a collective or Abort has SIGPIPE blocked from then on.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "parallel/communicator.h"
#include "parallel/key_value_store.h"

namespace switchyard {

struct GlooOptions {
  int rank = 0;
  int size = 1;
  std::string group;               // prefix of this communicator's keys in the store; another for each communicator
  std::string bind_address;        // of this process, as the peers reach it
  std::vector<std::string> names;  // of the members, in errors, [size]; none: "rank 0", "rank 1", ...
  absl::Duration connect_timeout = absl::Minutes(5);
  absl::Duration collective_timeout = absl::Seconds(60);
};

// Blocks until all ranks of the group have called it; `store` is used during the call only. DEADLINE_EXCEEDED or
// UNAVAILABLE where they do not all come or cannot be reached.
absl::StatusOr<std::unique_ptr<Communicator>> CreateGlooCommunicator(const GlooOptions& options, KeyValueStore& store);

}  // namespace switchyard
