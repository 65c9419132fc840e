#include "engine/local_ranks.h"

#include <algorithm>
#include <utility>

#include "engine/rank_worker.h"

namespace switchyard {
namespace {

absl::Status ServeRank(const EnginePlan& plan, const Checkpoint& checkpoint, Communicator& data, int local_rank,
                       StepLink& link, const LoadProgressCallback& progress) {
  absl::StatusOr<std::unique_ptr<RankWorker>> worker = RankWorker::Create(plan, checkpoint, data, local_rank, progress);
  // The first, empty step answers whether this rank could be made.
  absl::StatusOr<std::shared_ptr<const Batch>> hello = link.Next();
  if (!hello.ok()) return hello.status();
  if (*hello == nullptr) return worker.status();
  absl::Status status = link.Return(worker.ok() ? absl::StatusOr<StepOutput>(StepOutput()) : worker.status());
  if (!worker.ok()) return worker.status();
  if (!status.ok()) return status;
  status = (*worker)->WarmUp().status();
  if (!status.ok()) return status;
  return (*worker)->Serve(link);
}

}  // namespace

LoadMeter::LoadMeter(const EnginePlan& plan, const Checkpoint& checkpoint, const LocalRanks& ranks,
                     const StartupCallback& progress)
    : progress_(progress), loads_(ranks.data.size()) {
  for (size_t i = 0; i < ranks.data.size(); ++i) {
    loads_[i].bytes_total = checkpoint.BytesOf(plan.ShardOf(ranks.first_rank + static_cast<int>(i)));
    bytes_total_ += loads_[i].bytes_total;
  }
}

LoadProgressCallback LoadMeter::ForRank(int local_rank) {
  return [this, local_rank](const LoadProgress& load) {
    const std::lock_guard lock(mu_);
    loads_[static_cast<size_t>(local_rank)] = load;
    StartupProgress sum{.phase = "load", .bytes_total = bytes_total_};
    const LoadProgress* last = nullptr;  // of those that are reading
    for (const LoadProgress& each : loads_) {
      sum.bytes_read += each.bytes_read;
      const bool is_reading = each.bytes_read < each.bytes_total && !each.shard_path.empty();
      if (is_reading && (last == nullptr || each.shard < last->shard)) last = &each;
    }
    const LoadProgress& shown = last == nullptr ? load : *last;
    sum.shard = shown.shard;
    sum.num_shards = load.num_shards;
    sum.shard_path = shown.shard_path;
    progress_(sum);
  };
}

std::vector<std::unique_ptr<StepLink>> CreateStepLinks(const LocalRanks& ranks, const EnginePlan& plan) {
  if (plan.config.launch.num_processes == 1) return CreateSharedStepLinks(ranks.world_size, plan.shared_loops);
  std::vector<std::unique_ptr<StepLink>> links;
  // An idle rank 0 learns of a loss when it next says something.
  const absl::Duration max_silence = std::min(plan.config.collective_timeout, plan.config.rank_timeout) / 4;
  for (const std::unique_ptr<Communicator>& control : ranks.control) {
    links.push_back(CreateRemoteStepLink(*control, max_silence));
  }
  return links;
}

FollowerThreads::FollowerThreads(const EnginePlan& plan, const Checkpoint& checkpoint, const LocalRanks& ranks,
                                 const std::vector<std::unique_ptr<StepLink>>& links, LoadMeter& meter)
    : statuses_(ranks.data.size()) {
  for (int i = 0; i < static_cast<int>(ranks.data.size()); ++i) {
    if (ranks.first_rank + i == 0) continue;
    const size_t slot = static_cast<size_t>(i);
    threads_.emplace_back([this, &plan, &checkpoint, &data = *ranks.data[slot], &link = *links[slot], i, slot,
                           progress = meter.ForRank(i)] {
      statuses_[slot] = ServeRank(plan, checkpoint, data, i, link, progress);
      const std::lock_guard lock(mu_);
      ++num_ended_;
      ended_.notify_all();
    });
  }
}

bool FollowerThreads::WaitFor(absl::Duration limit) {
  std::unique_lock lock(mu_);
  return ended_.wait_for(lock, absl::ToChronoNanoseconds(limit), [this] { return num_ended_ == threads_.size(); });
}

absl::Status FollowerThreads::Join() {
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  for (const absl::Status& status : statuses_) {
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace switchyard
