#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/engine.h"
#include "engine/local_ranks.h"
#include "engine/restart_budget.h"
#include "engine/startup.h"

namespace switchyard {
namespace {

// One life of this process's ranks.
absl::Status Follow(Startup startup, const StartupCallback& progress) {
  const std::vector<std::unique_ptr<StepLink>> links = CreateStepLinks(startup.ranks, startup.plan);
  LoadMeter meter(startup.plan, *startup.checkpoint, startup.ranks, progress);
  FollowerThreads followers(startup.plan, *startup.checkpoint, startup.ranks, links, meter);
  return followers.Join();
}

}  // namespace

absl::Status ServeFollower(const EngineConfig& config, const StartupCallback& progress) {
  RestartBudget budget(config.restart_ranks);
  absl::StatusOr<Startup> startup = PrepareRanks(config, progress);
  if (!startup.ok()) return startup.status();
  while (true) {
    const absl::Time begin = absl::Now();
    const bool has_met = startup.ok();
    const absl::Status status = has_met ? Follow(*std::move(startup), progress) : startup.status();
    if (status.ok() || !budget.Take(has_met ? absl::Now() - begin : absl::ZeroDuration())) return status;
    progress({.phase = absl::StrCat("restart ", budget.num_taken(), " of ", budget.max_tries(),
                                    " after: ", status.message())});
    startup = PrepareRanks(config, progress);
  }
}

}  // namespace switchyard
