#include "engine/engine.h"

#include <future>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/engine_loop.h"
#include "engine/engine_plan.h"
#include "engine/exchange_choice.h"
#include "engine/local_ranks.h"
#include "engine/rank_worker.h"
#include "engine/startup.h"
#include "engine/step_link.h"

namespace switchyard {
namespace {

class EngineImpl : public Engine {
 public:
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineConfig& config, const StartupCallback& progress);

  ~EngineImpl() override {
    if (loop_ != nullptr) loop_->Stop();
    if (leader_.joinable()) leader_.join();
    followers_.reset();
  }

  const ModelInfo& model_info() const override { return info_; }
  const Tokenizer* tokenizer() const override { return tokenizer_.get(); }
  const ChatTemplate* chat_template() const override { return chat_template_.ok() ? chat_template_->get() : nullptr; }
  absl::Status chat_template_status() const override { return chat_template_.status(); }

  absl::Status Submit(GenerationRequest request, UpdateCallback on_update) override {
    return loop_->Submit(std::move(request), std::move(on_update));
  }
  void Abort(const std::string& request_id) override { loop_->Abort(request_id); }
  absl::Status Drain(absl::Duration limit) override { return loop_->Drain(limit); }
  absl::Status Health() const override { return loop_->Health(); }
  EngineStats Stats() const override { return loop_->Stats(); }

 private:
  explicit EngineImpl(Startup startup) : startup_(std::move(startup)) {}

  absl::Status OpenText();
  // The life of rank 0's thread; `ready` receives the outcome of the start.
  void Lead(std::promise<absl::StatusOr<std::string>>& ready);

  Startup startup_;
  std::unique_ptr<Tokenizer> tokenizer_;
  absl::StatusOr<std::unique_ptr<ChatTemplate>> chat_template_ = absl::NotFoundError("the model has no tokenizer");
  ModelInfo info_;
  std::vector<std::unique_ptr<StepLink>> links_;
  std::unique_ptr<EngineLoop> loop_;
  std::unique_ptr<LoadMeter> meter_;
  std::unique_ptr<FollowerThreads> followers_;
  std::thread leader_;
};

absl::Status EngineImpl::OpenText() {
  const std::string& directory = startup_.checkpoint->directory();
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Open(directory);
  if (absl::IsNotFound(tokenizer.status())) return absl::OkStatus();
  if (!tokenizer.ok()) return tokenizer.status();
  tokenizer_ = *std::move(tokenizer);
  if (tokenizer_->vocab_size() > startup_.checkpoint->spec().vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat(directory, ": the tokenizer has ", tokenizer_->vocab_size(),
                                                   " tokens, config.json's vocab_size is ",
                                                   startup_.checkpoint->spec().vocab_size));
  }
  chat_template_ = ChatTemplate::Open(directory, *tokenizer_);
  return absl::OkStatus();
}

void EngineImpl::Lead(std::promise<absl::StatusOr<std::string>>& ready) {
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

absl::StatusOr<std::unique_ptr<Engine>> EngineImpl::Create(const EngineConfig& config,
                                                           const StartupCallback& progress) {
  absl::StatusOr<Startup> startup = PrepareRanks(config, progress);
  if (!startup.ok()) return startup.status();
  std::unique_ptr<EngineImpl> engine(new EngineImpl(*std::move(startup)));
  absl::Status status = engine->OpenText();
  if (!status.ok()) return status;

  Startup& parts = engine->startup_;
  const EnginePlan& plan = parts.plan;
  const DecoderSpec& spec = parts.checkpoint->spec();
  const uint64_t seed = config.seed != 0 ? config.seed : static_cast<uint64_t>(absl::GetCurrentTimeNanos());
  engine->loop_ =
      std::make_unique<EngineLoop>(plan, spec, parts.checkpoint->generation_defaults(), engine->tokenizer_.get(), seed);
  engine->links_ = CreateStepLinks(parts.ranks, plan.config);
  engine->meter_ = std::make_unique<LoadMeter>(plan, *parts.checkpoint, parts.ranks, progress);
  engine->followers_ =
      std::make_unique<FollowerThreads>(plan, *parts.checkpoint, parts.ranks, engine->links_, *engine->meter_);
  std::promise<absl::StatusOr<std::string>> ready;
  std::future<absl::StatusOr<std::string>> outcome = ready.get_future();
  // The promise is the thread's own: this function may return while set_value is still at work.
  engine->leader_ = std::thread([&engine = *engine, ready = std::move(ready)]() mutable { engine.Lead(ready); });
  absl::StatusOr<std::string> device = outcome.get();
  if (!device.ok()) return device.status();

  engine->info_ = {.spec = spec,
                   .defaults = parts.checkpoint->generation_defaults(),
                   .max_model_len = plan.config.max_model_len,
                   .world_size = plan.world_size,
                   .attention = Name(plan.config.attention),
                   .exchange = plan.DescribeExchange(),
                   .placement = plan.placement.ToString(),
                   .device = *device,
                   .warnings = parts.checkpoint->warnings()};
  progress({.phase = "ready"});
  return engine;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineConfig& config, const StartupCallback& progress) {
  return EngineImpl::Create(config, progress);
}

absl::Status ServeFollower(const EngineConfig& config, const StartupCallback& progress) {
  absl::StatusOr<Startup> startup = PrepareRanks(config, progress);
  if (!startup.ok()) return startup.status();
  std::vector<std::unique_ptr<StepLink>> links = CreateStepLinks(startup->ranks, startup->plan.config);
  LoadMeter meter(startup->plan, *startup->checkpoint, startup->ranks, progress);
  FollowerThreads followers(startup->plan, *startup->checkpoint, startup->ranks, links, meter);
  return followers.Join();
}

}  // namespace switchyard
