#include "engine/engine.h"

#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/load_warnings.h"
#include "engine/rank_group.h"
#include "engine/restart_budget.h"
#include "engine/retry_after.h"

namespace switchyard {
namespace {

// A rank's thread that does not come back by then, after its communicators were aborted, never will.
constexpr absl::Duration kReleaseLimit = absl::Seconds(10);
// Between two tries, where the first fails at once.
constexpr absl::Duration kRestartPause = absl::Seconds(1);
constexpr int64_t kRestartRetrySeconds = 5;

// The text side of a model and one life of its ranks after another.
class EngineImpl : public Engine {
 public:
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineConfig& config, const StartupCallback& progress);

  ~EngineImpl() override {
    std::shared_ptr<RankGroup> group;
    {
      const std::lock_guard lock(mu_);
      stopping_ = true;
      group = group_;
    }
    wake_.notify_all();
    if (group != nullptr) group->loop().Stop();
    group.reset();
    if (supervisor_.joinable()) supervisor_.join();
  }

  const ModelInfo& model_info() const override { return info_; }
  const Tokenizer* tokenizer() const override { return tokenizer_.get(); }
  ConstraintCompiler* constraints() const override { return constraints_.get(); }
  const ChatTemplate* chat_template() const override { return chat_template_.ok() ? chat_template_->get() : nullptr; }
  absl::Status chat_template_status() const override { return chat_template_.status(); }

  absl::Status Submit(GenerationRequest request, UpdateCallback on_update) override {
    const std::shared_ptr<RankGroup> group = CurrentGroup();
    if (absl::Status broken = Broken(); !broken.ok()) return WithRetryAfter(broken, kRestartRetrySeconds);
    return group->loop().Submit(std::move(request), std::move(on_update));
  }
  void Abort(const std::string& request_id) override { CurrentGroup()->loop().Abort(request_id); }
  absl::Status Drain(absl::Duration limit) override {
    {
      const std::lock_guard lock(mu_);
      draining_ = true;
    }
    wake_.notify_all();
    return CurrentGroup()->loop().Drain(limit);
  }
  absl::Status Health() const override {
    if (absl::Status broken = Broken(); !broken.ok()) return broken;
    return CurrentGroup()->loop().Health();
  }
  absl::Status Failure() const override {
    const std::lock_guard lock(mu_);
    return failure_;
  }
  EngineStats Stats() const override {
    EngineStats stats = CurrentGroup()->loop().Stats();
    const std::lock_guard lock(mu_);
    stats.num_rank_restarts = num_restarts_;
    return stats;
  }

 private:
  EngineImpl(const EngineConfig& config, StartupCallback progress)
      : config_(config),
        progress_(std::move(progress)),
        seed_(config.seed != 0 ? config.seed : static_cast<uint64_t>(absl::GetCurrentTimeNanos())) {}

  absl::Status OpenText(const Checkpoint& checkpoint);
  void DescribeModel(const RankGroup& group);

  std::shared_ptr<RankGroup> CurrentGroup() const {
    const std::lock_guard lock(mu_);
    return group_;
  }
  // Why no request can be served now; OK while one can, and while the loop itself says why not.
  absl::Status Broken() const {
    const std::lock_guard lock(mu_);
    return failure_.ok() ? rebuilding_ : failure_;
  }

  // The life of the supervising thread: waits for the ranks' end, and builds them anew if they were lost.
  void Supervise();
  // False: given up.
  bool Rebuild(absl::Status loss, absl::Duration served, RestartBudget& budget);
  absl::StatusOr<std::unique_ptr<RankGroup>> StartRanks(absl::StatusOr<Startup> startup);
  void GiveUp(absl::Status failure) {
    const std::lock_guard lock(mu_);
    failure_ = std::move(failure);
  }

  const EngineConfig config_;
  const StartupCallback progress_;
  const uint64_t seed_;

  // Constant after Create.
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ConstraintCompiler> constraints_;
  absl::StatusOr<std::unique_ptr<ChatTemplate>> chat_template_ = absl::NotFoundError("the model has no tokenizer");
  ModelInfo info_;

  mutable std::mutex mu_;
  std::condition_variable wake_;  // draining or stopping
  // Guarded by mu_.
  std::shared_ptr<RankGroup> group_;  // set by Create; its loop has ended while the ranks are rebuilt
  absl::Status rebuilding_;           // why, while they are
  absl::Status failure_;              // for good
  uint64_t num_restarts_ = 0;
  bool draining_ = false;
  bool stopping_ = false;

  std::thread supervisor_;
};

absl::Status EngineImpl::OpenText(const Checkpoint& checkpoint) {
  const std::string& directory = checkpoint.directory();
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Open(directory);
  if (absl::IsNotFound(tokenizer.status())) return absl::OkStatus();
  if (!tokenizer.ok()) return tokenizer.status();
  tokenizer_ = *std::move(tokenizer);
  if (tokenizer_->vocab_size() > checkpoint.spec().vocab_size) {
    return absl::InvalidArgumentError(absl::StrCat(directory, ": the tokenizer has ", tokenizer_->vocab_size(),
                                                   " tokens, config.json's vocab_size is ",
                                                   checkpoint.spec().vocab_size));
  }
  constraints_ = std::make_unique<ConstraintCompiler>(tokenizer_.get(), checkpoint.spec().vocab_size);
  chat_template_ = ChatTemplate::Open(directory, *tokenizer_);
  return absl::OkStatus();
}

void EngineImpl::DescribeModel(const RankGroup& group) {
  const Startup& parts = group.startup();
  const EnginePlan& plan = parts.plan;
  info_ = {.spec = parts.checkpoint->spec(),
           .defaults = parts.checkpoint->generation_defaults(),
           .max_model_len = plan.config.max_model_len,
           .world_size = plan.world_size,
           .attention = Name(plan.config.attention),
           .exchange = plan.DescribeExchange(),
           .placement = plan.placement.ToString(),
           .device = group.device(),
           .warnings = LoadWarnings(plan, *parts.checkpoint)};
}

absl::StatusOr<std::unique_ptr<RankGroup>> EngineImpl::StartRanks(absl::StatusOr<Startup> startup) {
  if (!startup.ok()) return startup.status();
  return RankGroup::Start(*std::move(startup), tokenizer_.get(), seed_, progress_);
}

void EngineImpl::Supervise() {
  RestartBudget budget(config_.restart_ranks);
  while (true) {
    const absl::Time begin = absl::Now();
    absl::Status loss = CurrentGroup()->WaitForEnd();
    if (loss.ok() || !Rebuild(std::move(loss), absl::Now() - begin, budget)) return;
  }
}

bool EngineImpl::Rebuild(absl::Status loss, absl::Duration served, RestartBudget& budget) {
  if (config_.restart_ranks > 0 && !CurrentGroup()->Release(kReleaseLimit)) {
    GiveUp(absl::UnavailableError(absl::StrCat(
        loss.message(), "; a rank's thread hangs, so that the process must be started anew instead of the ranks")));
    return false;
  }
  while (budget.Take(std::exchange(served, absl::ZeroDuration()))) {
    const std::string attempt =
        absl::StrCat("restart ", budget.num_taken(), " of ", budget.max_tries(), " after: ", loss.message());
    {
      std::unique_lock lock(mu_);
      rebuilding_ = absl::UnavailableError(absl::StrCat("the ranks are being built anew, ", attempt));
      const auto pause = absl::ToChronoNanoseconds(kRestartPause);
      if (wake_.wait_for(lock, pause, [this] { return stopping_ || draining_; })) return false;
    }
    progress_({.phase = attempt});
    absl::StatusOr<std::unique_ptr<RankGroup>> group = StartRanks(PrepareRanks(config_, progress_));
    if (group.ok()) {
      progress_({.phase = "ready"});
      const std::lock_guard lock(mu_);
      group_ = *std::move(group);
      rebuilding_ = absl::OkStatus();
      ++num_restarts_;
      if (stopping_ || draining_) group_->loop().Stop();
      return true;
    }
    loss = absl::UnavailableError(absl::StrCat(loss.message(), "; then: ", group.status().message()));
  }
  GiveUp(std::move(loss));
  return false;
}

absl::StatusOr<std::unique_ptr<Engine>> EngineImpl::Create(const EngineConfig& config,
                                                           const StartupCallback& progress) {
  absl::StatusOr<Startup> startup = PrepareRanks(config, progress);
  if (!startup.ok()) return startup.status();
  auto engine = std::unique_ptr<EngineImpl>(new EngineImpl(config, progress));
  absl::Status status = engine->OpenText(*startup->checkpoint);
  if (!status.ok()) return status;
  absl::StatusOr<std::unique_ptr<RankGroup>> group = engine->StartRanks(std::move(startup));
  if (!group.ok()) return group.status();
  engine->DescribeModel(**group);
  engine->group_ = *std::move(group);
  engine->supervisor_ = std::thread([&engine = *engine] { engine.Supervise(); });
  progress({.phase = "ready"});
  return engine;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(const EngineConfig& config, const StartupCallback& progress) {
  return EngineImpl::Create(config, progress);
}

}  // namespace switchyard
