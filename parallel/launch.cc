#include "parallel/launch.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "parallel/communicators/gloo.h"
#include "parallel/communicators/in_process.h"
#include "parallel/rendezvous.h"

namespace switchyard {
namespace {

// How long process 0 keeps the store for the others once it needs it no more itself.
constexpr absl::Duration kFarewell = absl::Seconds(5);

absl::Status CheckSpec(const LaunchSpec& spec) {
  if (spec.num_processes < 1) {
    return absl::InvalidArgumentError(absl::StrCat("WORLD_SIZE is ", spec.num_processes, "; at least 1 is needed"));
  }
  if (spec.process_idx < 0 || spec.process_idx >= spec.num_processes) {
    return absl::InvalidArgumentError(absl::StrCat("RANK is ", spec.process_idx, "; with WORLD_SIZE ",
                                                   spec.num_processes, " it must be 0 to ", spec.num_processes - 1));
  }
  if (spec.num_local_ranks < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the number of ranks of a process is ", spec.num_local_ranks, "; at least 1 is needed"));
  }
  return absl::OkStatus();
}

// What a process tells the others about itself.
struct ProcessRecord {
  int num_processes = 0;
  int num_local_ranks = 0;
  std::string job;
};

std::string ProcessKey(int process) { return absl::StrCat("process/", process); }
std::string FarewellKey(int process) { return absl::StrCat("farewell/", process); }

std::string Encode(const ProcessRecord& record) {
  return absl::StrCat(record.num_processes, " ", record.num_local_ranks, " ", record.job);
}

absl::StatusOr<ProcessRecord> Decode(int process, const std::string& text) {
  ProcessRecord record;
  const size_t first = std::min(text.find(' '), text.size());
  const size_t second = std::min(text.find(' ', first + 1), text.size());
  if (second == text.size() || !absl::SimpleAtoi(text.substr(0, first), &record.num_processes) ||
      !absl::SimpleAtoi(text.substr(first + 1, second - first - 1), &record.num_local_ranks) ||
      record.num_local_ranks < 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("process ", process,
                     " announced itself in a form that this version does not know; run the same "
                     "build of switchyard everywhere"));
  }
  record.job = text.substr(second + 1);
  return record;
}

absl::Status Announce(const LaunchSpec& spec, KeyValueStore& store) {
  absl::Status status =
      store.Set(ProcessKey(spec.process_idx), Encode({spec.num_processes, spec.num_local_ranks, spec.job}));
  if (absl::IsAlreadyExists(status)) {
    return absl::FailedPreconditionError(absl::StrCat("two processes have RANK ", spec.process_idx,
                                                      "; each needs its own, 0 to ", spec.num_processes - 1));
  }
  return status;
}

// Reads every process's record, waiting for those that are not there yet.
absl::StatusOr<std::vector<ProcessRecord>> Collect(const LaunchSpec& spec, KeyValueStore& store, absl::Time deadline) {
  std::vector<ProcessRecord> records;
  std::vector<int> missing;
  for (int process = 0; process < spec.num_processes; ++process) {
    const absl::StatusOr<std::string> text = store.Get(ProcessKey(process), deadline);
    if (absl::IsDeadlineExceeded(text.status())) {
      missing.push_back(process);
      continue;
    }
    if (!text.ok()) return text.status();
    absl::StatusOr<ProcessRecord> record = Decode(process, *text);
    if (!record.ok()) return record.status();
    records.push_back(*std::move(record));
  }
  if (missing.empty()) return records;
  return absl::DeadlineExceededError(absl::StrCat(
      "after ", absl::FormatDuration(spec.connect_timeout), " ", missing.size(), " of ", spec.num_processes,
      " processes have not come to ", spec.master_addr, ":", spec.master_port, ": RANK ",
      absl::StrJoin(missing, ", RANK "), "; look at their logs, and that they reach this address"));
}

absl::Status CheckAgreement(const LaunchSpec& spec, const std::vector<ProcessRecord>& records) {
  for (size_t process = 0; process < records.size(); ++process) {
    if (records[process].num_processes != spec.num_processes) {
      return absl::FailedPreconditionError(absl::StrCat("processes disagree: process ", spec.process_idx,
                                                        " has WORLD_SIZE ", spec.num_processes, ", process ", process,
                                                        " has ", records[process].num_processes));
    }
    if (records[process].job != records[0].job) {
      return absl::FailedPreconditionError(absl::StrCat("processes disagree about what to serve: process 0 has \"",
                                                        records[0].job, "\", process ", process, " has \"",
                                                        records[process].job, "\""));
    }
  }
  return absl::OkStatus();
}

// Both communicators of every local rank, one thread per rank, since each waits for all ranks of the world.
absl::Status ConnectLocalRanks(const LaunchSpec& spec, const std::string& bind_address, absl::Time deadline,
                               KeyValueStore& store, LocalRanks& ranks) {
  ranks.data.resize(spec.num_local_ranks);
  ranks.control.resize(spec.num_local_ranks);
  std::vector<absl::Status> statuses(spec.num_local_ranks);
  const auto connect = [&](int local) -> absl::Status {
    GlooOptions options{.rank = ranks.first_rank + local,
                        .size = ranks.world_size,
                        .bind_address = bind_address,
                        .connect_timeout = std::max(deadline - absl::Now(), absl::Seconds(1))};
    for (auto [group, communicators] : {std::pair("data", &ranks.data), std::pair("control", &ranks.control)}) {
      options.group = group;
      options.collective_timeout = communicators == &ranks.data ? spec.collective_timeout : spec.control_timeout;
      absl::StatusOr<std::unique_ptr<Communicator>> communicator = CreateGlooCommunicator(options, store);
      if (!communicator.ok()) return communicator.status();
      (*communicators)[local] = *std::move(communicator);
    }
    return ranks.control[local]->Barrier();
  };
  std::vector<std::thread> threads;
  for (int local = 0; local < spec.num_local_ranks; ++local) {
    threads.emplace_back([&, local] { statuses[local] = connect(local); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& status : statuses) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<LocalRanks> ConnectThrough(const LaunchSpec& spec, RendezvousClient& client, absl::Time deadline) {
  absl::Status status = Announce(spec, client);
  if (!status.ok()) return status;
  const absl::StatusOr<std::vector<ProcessRecord>> records = Collect(spec, client, deadline);
  if (!records.ok()) return records.status();
  status = CheckAgreement(spec, *records);
  if (!status.ok()) return status;
  LocalRanks ranks{.first_rank = 0, .world_size = 0, .data = {}, .control = {}};
  for (int process = 0; process < spec.num_processes; ++process) {
    if (process < spec.process_idx) ranks.first_rank += (*records)[process].num_local_ranks;
    ranks.world_size += (*records)[process].num_local_ranks;
  }
  status = ConnectLocalRanks(spec, client.local_address(), deadline, client, ranks);
  if (!status.ok()) return status;
  return ranks;
}

// The others may still be reading from the store of process 0, whatever became of the connection.
void Part(const LaunchSpec& spec, KeyValueStore& store) {
  store.Set(FarewellKey(spec.process_idx), "").IgnoreError();
  if (spec.process_idx != 0) return;
  const absl::Time deadline = absl::Now() + kFarewell;
  for (int process = 1; process < spec.num_processes; ++process) {
    // Only those that came can leave.
    const absl::StatusOr<std::optional<std::string>> came = store.TryGet(ProcessKey(process));
    if (came.ok() && came->has_value()) store.Get(FarewellKey(process), deadline).IgnoreError();
  }
}

}  // namespace

absl::StatusOr<LocalRanks> ConnectRanks(const LaunchSpec& spec) {
  absl::Status status = CheckSpec(spec);
  if (!status.ok()) return status;
  if (spec.num_processes == 1) {
    return LocalRanks{
        .first_rank = 0,
        .world_size = spec.num_local_ranks,
        .data = CreateInProcessCommunicators(spec.num_local_ranks, spec.collective_timeout, spec.meanwhile),
        .control = CreateInProcessCommunicators(spec.num_local_ranks, spec.collective_timeout)};
  }
  const absl::Time deadline = absl::Now() + spec.connect_timeout;
  std::unique_ptr<RendezvousServer> server;
  if (spec.process_idx == 0) {
    absl::StatusOr<std::unique_ptr<RendezvousServer>> started =
        StartRendezvousServer(spec.master_addr, spec.master_port);
    if (!started.ok()) return started.status();
    server = *std::move(started);
  }
  const absl::StatusOr<std::unique_ptr<RendezvousClient>> client =
      ConnectRendezvous(spec.master_addr, spec.master_port, deadline);
  if (!client.ok()) return client.status();
  absl::StatusOr<LocalRanks> ranks = ConnectThrough(spec, **client, deadline);
  Part(spec, **client);
  return ranks;
}

}  // namespace switchyard
