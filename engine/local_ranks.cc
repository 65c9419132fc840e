#include "engine/local_ranks.h"

#include <numeric>
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
    : progress_(progress), bytes_read_(ranks.data.size(), 0) {
  for (size_t i = 0; i < ranks.data.size(); ++i) {
    bytes_total_ += checkpoint.BytesOf(plan.ShardOf(ranks.first_rank + static_cast<int>(i)));
  }
}

LoadProgressCallback LoadMeter::ForRank(int local_rank) {
  return [this, local_rank](const LoadProgress& load) {
    const std::lock_guard lock(mu_);
    bytes_read_[static_cast<size_t>(local_rank)] = load.bytes_read;
    progress_({.phase = "load",
               .bytes_read = std::accumulate(bytes_read_.begin(), bytes_read_.end(), int64_t{0}),
               .bytes_total = bytes_total_});
  };
}

std::vector<std::unique_ptr<StepLink>> CreateStepLinks(const LocalRanks& ranks, const EngineConfig& config) {
  if (config.launch.num_processes == 1) return CreateSharedStepLinks(ranks.world_size);
  std::vector<std::unique_ptr<StepLink>> links;
  for (const std::unique_ptr<Communicator>& control : ranks.control) {
    links.push_back(CreateRemoteStepLink(*control, config.collective_timeout / 4));
  }
  return links;
}

FollowerThreads::FollowerThreads(const EnginePlan& plan, const Checkpoint& checkpoint, const LocalRanks& ranks,
                                 const std::vector<std::unique_ptr<StepLink>>& links, LoadMeter& meter)
    : statuses_(ranks.data.size()) {
  for (int i = 0; i < static_cast<int>(ranks.data.size()); ++i) {
    if (ranks.first_rank + i == 0) continue;
    const size_t slot = static_cast<size_t>(i);
    threads_.emplace_back(
        [this, &plan, &checkpoint, &data = *ranks.data[slot], &link = *links[slot], i, slot,
         progress = meter.ForRank(i)] { statuses_[slot] = ServeRank(plan, checkpoint, data, i, link, progress); });
  }
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
