#include "engine/rank_group.h"

#include <utility>

#include "engine/exchange_choice.h"
#include "engine/rank_worker.h"

namespace switchyard {

absl::StatusOr<std::unique_ptr<RankGroup>> RankGroup::Start(Startup startup, const Tokenizer* tokenizer, uint64_t seed,
                                                            const StartupCallback& progress) {
  std::unique_ptr<RankGroup> group(new RankGroup(std::move(startup)));
  const Startup& parts = group->startup_;
  const EnginePlan& plan = parts.plan;
  group->loop_ = std::make_unique<EngineLoop>(plan, parts.checkpoint->spec(), parts.checkpoint->generation_defaults(),
                                              tokenizer, seed);
  group->links_ = CreateStepLinks(parts.ranks, plan);
  group->meter_ = std::make_unique<LoadMeter>(plan, *parts.checkpoint, parts.ranks, progress);
  group->followers_ =
      std::make_unique<FollowerThreads>(plan, *parts.checkpoint, parts.ranks, group->links_, *group->meter_);
  std::promise<absl::StatusOr<std::string>> ready;
  std::future<absl::StatusOr<std::string>> outcome = ready.get_future();
  // The promise is the thread's own: this function may return while set_value is still at work.
  group->leader_ = std::thread([&group = *group, ready = std::move(ready)]() mutable { group.Lead(ready); });
  absl::StatusOr<std::string> device = outcome.get();
  if (!device.ok()) return device.status();
  group->device_ = *std::move(device);
  return group;
}

RankGroup::~RankGroup() {
  loop_->Stop();
  if (leader_.joinable()) leader_.join();
  followers_.reset();
}

absl::Status RankGroup::WaitForEnd() {
  if (leader_.joinable()) leader_.join();
  return loop_->failure();
}

bool RankGroup::Release(absl::Duration limit) {
  if (!followers_->WaitFor(limit)) return false;
  followers_.reset();
  startup_.heart.reset();
  return true;
}

void RankGroup::Lead(std::promise<absl::StatusOr<std::string>>& ready) {
  StepLink& link = *links_.front();
  Communicator& data = *startup_.ranks.data.front();
  absl::StatusOr<std::unique_ptr<RankWorker>> worker =
      RankWorker::Create(startup_.plan, *startup_.checkpoint, data, 0, meter_->ForRank(0));
  // The first, empty step tells whether every rank could be made.
  absl::Status status = link.Publish(std::make_shared<const Batch>());
  if (status.ok()) {
    status = link.Collect(worker.ok() ? absl::StatusOr<StepOutput>(StepOutput()) : worker.status()).status();
  }
  ExchangeCosts costs;
  if (status.ok()) {
    absl::StatusOr<ExchangeCosts> measured = (*worker)->WarmUp();
    status = measured.status();
    if (status.ok()) costs = *measured;
  }
  if (!status.ok()) {
    data.Abort(status);
    link.Publish(nullptr).IgnoreError();
    ready.set_value(status);
    return;
  }
  ready.set_value((*worker)->Description());

  const EnginePlan& plan = startup_.plan;
  const DecoderSpec& spec = startup_.checkpoint->spec();
  loop_->Run(**worker, link, [&](const Batch& batch) { return ChooseStepExchange(costs, plan, spec, batch); });
}

}  // namespace switchyard
