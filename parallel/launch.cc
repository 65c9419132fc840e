#include "parallel/launch.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
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
  std::vector<std::pair<std::string, std::string>> job;
};

std::string ProcessKey(int process) { return absl::StrCat("process/", process); }
std::string FarewellKey(int process) { return absl::StrCat("farewell/", process); }

// A line with both numbers, then two lines for each entry of the job.
std::string Encode(const ProcessRecord& record) {
  std::string text = absl::StrCat(record.num_processes, " ", record.num_local_ranks);
  for (const auto& [name, value] : record.job) absl::StrAppend(&text, "\n", name, "\n", value);
  return text;
}

absl::StatusOr<ProcessRecord> Decode(int process, const std::string& text) {
  ProcessRecord record;
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  const std::vector<std::string> counts = absl::StrSplit(lines[0], ' ');
  if (counts.size() != 2 || !absl::SimpleAtoi(counts[0], &record.num_processes) ||
      !absl::SimpleAtoi(counts[1], &record.num_local_ranks) || record.num_local_ranks < 1 || lines.size() % 2 == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("process ", process,
                     " announced itself in a form that this version does not know; run the same "
                     "build of switchyard everywhere"));
  }
  for (size_t i = 1; i < lines.size(); i += 2) record.job.emplace_back(lines[i], lines[i + 1]);
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

// "--page-size is 16 in process 0 and 32 in process 1; ...", of all that differs. Versions differ in what they list.
std::string DescribeDifferences(const ProcessRecord& first, const ProcessRecord& other, size_t other_process) {
  const auto value_in = [](const ProcessRecord& record, const std::string& name) -> std::string {
    for (const auto& [key, value] : record.job) {
      if (key == name) return absl::StrCat("\"", value, "\"");
    }
    return "unknown";
  };
  std::vector<std::string> differences;
  const auto compare = [&](const std::string& name) {
    const std::string theirs = value_in(first, name);
    const std::string ours = value_in(other, name);
    if (theirs == ours) return;
    differences.push_back(
        absl::StrCat(name, " is ", theirs, " in process 0 and ", ours, " in process ", other_process));
  };
  for (const auto& [name, value] : first.job) compare(name);
  for (const auto& [name, value] : other.job) {
    if (value_in(first, name) == "unknown") compare(name);
  }
  return absl::StrJoin(differences, "; ");
}

absl::Status CheckAgreement(const LaunchSpec& spec, const std::vector<ProcessRecord>& records) {
  for (size_t process = 0; process < records.size(); ++process) {
    if (records[process].num_processes != spec.num_processes) {
      return absl::FailedPreconditionError(absl::StrCat("processes disagree: process ", spec.process_idx,
                                                        " has WORLD_SIZE ", spec.num_processes, ", process ", process,
                                                        " has ", records[process].num_processes));
    }
    if (records[process].job != records[0].job) {
      return absl::FailedPreconditionError(absl::StrCat("processes disagree about what to serve: ",
                                                        DescribeDifferences(records[0], records[process], process)));
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

// "process 1 (rank 1)", "process 1 (ranks 2 to 3)".
std::vector<std::string> NamesOfProcesses(const std::vector<ProcessRecord>& records) {
  std::vector<std::string> names;
  int first_rank = 0;
  for (size_t process = 0; process < records.size(); ++process) {
    const int end = first_rank + records[process].num_local_ranks;
    names.push_back(absl::StrCat("process ", process, end - first_rank == 1 ? " (rank " : " (ranks ", first_rank,
                                 end - first_rank == 1 ? "" : absl::StrCat(" to ", end - 1), ")"));
    first_rank = end;
  }
  return names;
}

absl::StatusOr<LocalRanks> ConnectThrough(const LaunchSpec& spec, RendezvousClient& client, absl::Time deadline) {
  absl::Status status = Announce(spec, client);
  if (!status.ok()) return status;
  const absl::StatusOr<std::vector<ProcessRecord>> records = Collect(spec, client, deadline);
  if (!records.ok()) return records.status();
  status = CheckAgreement(spec, *records);
  if (!status.ok()) return status;
  LocalRanks ranks{.first_rank = 0, .world_size = 0, .data = {}, .control = {}, .processes = nullptr};
  for (int process = 0; process < spec.num_processes; ++process) {
    if (process < spec.process_idx) ranks.first_rank += (*records)[process].num_local_ranks;
    ranks.world_size += (*records)[process].num_local_ranks;
  }
  status = ConnectLocalRanks(spec, client.local_address(), deadline, client, ranks);
  if (!status.ok()) return status;
  absl::StatusOr<std::unique_ptr<Communicator>> processes =
      CreateGlooCommunicator({.rank = spec.process_idx,
                              .size = spec.num_processes,
                              .group = "processes",
                              .bind_address = client.local_address(),
                              .names = NamesOfProcesses(*records),
                              .connect_timeout = std::max(deadline - absl::Now(), absl::Seconds(1)),
                              .collective_timeout = spec.process_timeout},
                             client);
  if (!processes.ok()) return processes.status();
  ranks.processes = *std::move(processes);
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
        .control = CreateInProcessCommunicators(spec.num_local_ranks, spec.collective_timeout),
        .processes = nullptr};
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
