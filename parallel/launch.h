// How the processes of one server find each other: torchrun's convention.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "parallel/communicator.h"

namespace switchyard {

// Every process brings its own number of ranks (one per local GPU or CPU share); ranks are numbered by process.
struct LaunchSpec {
  std::string master_addr = "127.0.0.1";
  int master_port = 29500;
  int num_processes = 1;  // WORLD_SIZE
  int process_idx = 0;    // RANK
  int num_local_ranks = 1;
  absl::Duration connect_timeout = absl::Minutes(5);      // for all processes to appear
  absl::Duration collective_timeout = absl::Seconds(60);  // for one collective
  // For one collective of the control communicators: their ranks may still be loading.
  absl::Duration control_timeout = absl::Hours(1);
  absl::Duration process_timeout = absl::Seconds(10);  // for a sign of life of a process; see LocalRanks::processes
  // With one process: what ranks that wait for the data plane do meanwhile, see CreateInProcessCommunicators.
  std::function<bool()> meanwhile;
  // What must agree between processes, by name: {"--page-size", "16"}. Neither holds a line break.
  std::vector<std::pair<std::string, std::string>> job;
};

// The ranks of this process: a communicator for the data plane and one for control messages, each per local rank.
struct LocalRanks {
  int first_rank = 0;
  int world_size = 1;
  std::vector<std::unique_ptr<Communicator>> data;     // [num_local_ranks]
  std::vector<std::unique_ptr<Communicator>> control;  // [num_local_ranks], across the same ranks
  // Across processes instead of ranks, for signs of life; null where there is one process.
  std::unique_ptr<Communicator> processes;
};

// Shared memory when there is one process, else Gloo over TCP after a rendezvous at master_addr:master_port, where
// process 0 listens. Blocks until all are connected. Each process receives its peers' connections at the local address
// by which it reaches the master, so a master at 127.0.0.1 keeps all traffic on the loopback interface.
// DEADLINE_EXCEEDED names the processes that are missing; FAILED_PRECONDITION shows both values of what differs, or the
// process number that two processes have; INVALID_ARGUMENT the number in `spec` that cannot be.
absl::StatusOr<LocalRanks> ConnectRanks(const LaunchSpec& spec);

}  // namespace switchyard
