#include "engine/engine_loop.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/request_validation.h"
#include "engine/retry_after.h"

namespace switchyard {
namespace {

// config.json and generation_config.json may each name some.
std::vector<int32_t> EosIds(const DecoderSpec& spec, const GenerationDefaults& defaults) {
  std::vector<int32_t> ids = spec.eos_token_ids;
  for (const int32_t id : defaults.eos_token_ids) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
  }
  return ids;
}

}  // namespace

EngineLoop::EngineLoop(const EnginePlan& plan, const DecoderSpec& spec, const GenerationDefaults& defaults,
                       const Tokenizer* tokenizer, uint64_t seed)
    : plan_(plan),
      spec_(spec),
      eos_ids_(EosIds(spec, defaults)),
      tokenizer_(tokenizer),
      next_seed_(seed),
      stats_(plan, spec),
      scheduler_(plan.scheduler),
      queue_({.max_requests = plan.config.max_queued_requests,
              .max_tokens = plan.config.max_queued_tokens,
              .max_running = std::min(plan.config.max_running_requests, plan.config.max_batch_tokens)}) {
  stats_.SetGauges(scheduler_);
}

absl::Status EngineLoop::Submit(GenerationRequest request, UpdateCallback on_update) {
  absl::Status status = ValidateRequest(
      request,
      {.vocab_size = spec_.vocab_size, .max_model_len = plan_.config.max_model_len, .has_text = tokenizer_ != nullptr});
  if (!status.ok()) return status;
  const absl::Time now = absl::Now();
  if (plan_.config.max_request_time > absl::ZeroDuration()) {
    request.deadline = std::min(request.deadline, now + plan_.config.max_request_time);
  }
  request.rules.vocab_size = spec_.vocab_size;
  const std::lock_guard lock(mu_);
  if (!failure_.ok()) return failure_;
  if (draining_ || stopping_) {
    return absl::UnavailableError("the server is shutting down and takes no new requests; retry elsewhere or later");
  }
  if (in_flight_.contains(request.id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("request id '", request.id, "' is already in flight; ids must be unique"));
  }
  RejectReason reason;
  status = queue_.Arrive(static_cast<int64_t>(request.prompt.size()), now, reason);
  if (!status.ok()) {
    stats_.RecordRejected(reason);
    return status;
  }
  in_flight_.insert(request.id);
  inbox_.push_back({std::move(request), std::move(on_update), now});
  wake_.notify_one();
  return absl::OkStatus();
}

void EngineLoop::Abort(const std::string& request_id) {
  const std::lock_guard lock(mu_);
  aborts_.push_back(request_id);
  wake_.notify_one();
}

absl::Status EngineLoop::Drain(absl::Duration limit) {
  std::unique_lock lock(mu_);
  draining_ = true;
  const auto deadline = absl::ToChronoTime(absl::Now() + limit);
  if (idle_.wait_until(lock, deadline, [this] { return in_flight_.empty() && !delivering_; })) return absl::OkStatus();
  const size_t left = in_flight_.size();
  for (const std::string& id : in_flight_) aborts_.push_back(id);
  wake_.notify_one();
  idle_.wait(lock, [this] { return in_flight_.empty() && !delivering_; });
  return absl::DeadlineExceededError(
      absl::StrCat(left, " requests were aborted after the drain limit of ", absl::FormatDuration(limit)));
}

absl::Status EngineLoop::Health() const {
  const std::lock_guard lock(mu_);
  if (!failure_.ok()) return failure_;
  if (draining_ || stopping_) return absl::UnavailableError("the server is draining");
  return absl::OkStatus();
}

absl::Status EngineLoop::failure() const {
  const std::lock_guard lock(mu_);
  return failure_;
}

void EngineLoop::Stop() {
  const std::lock_guard lock(mu_);
  stopping_ = true;
  wake_.notify_one();
}

void EngineLoop::Run(RankWorker& worker, StepLink& link, const ExchangeChooser& choose) {
  absl::Time last_step = absl::Now();
  while (true) {
    const absl::Duration limit =
        scheduler_.empty() ? last_step + link.MaxSilence() - absl::Now() : absl::ZeroDuration();
    if (!TakeIn(limit)) break;
    if (scheduler_.empty() && absl::Now() < last_step + link.MaxSilence()) continue;
    absl::Status status = RunStep(worker, link, choose);
    last_step = absl::Now();
    if (!status.ok()) {
      const absl::Status failure = absl::UnavailableError(absl::StrCat("a rank was lost: ", status.message()));
      {
        const std::lock_guard lock(mu_);
        failure_ = failure;
      }
      FailAll(FinishReason::kError, failure);
      return;
    }
  }
  FailAll(FinishReason::kAborted, absl::UnavailableError("the engine was stopped"));
  // A peer that is gone already cannot be told, and need not be.
  link.Publish(nullptr).IgnoreError();
}

bool EngineLoop::TakeIn(absl::Duration limit) {
  std::deque<Submission> submissions;
  std::vector<std::string> aborts;
  {
    std::unique_lock lock(mu_);
    const auto has_news = [this] { return stopping_ || !inbox_.empty() || !aborts_.empty(); };
    if (limit == absl::InfiniteDuration()) {
      wake_.wait(lock, has_news);
    } else if (limit > absl::ZeroDuration()) {
      wake_.wait_for(lock, absl::ToChronoNanoseconds(limit), has_news);
    }
    if (stopping_) return false;
    submissions.swap(inbox_);
    aborts.swap(aborts_);
    queue_.TakeIn();
  }
  for (Submission& submission : submissions) AddSequence(std::move(submission));
  const absl::Time now = absl::Now();
  for (const std::string& id : aborts) {
    Sequence* sequence = scheduler_.Find(id);
    if (sequence == nullptr || sequence->finished()) continue;
    sequence->Fail(FinishReason::kAborted, absl::CancelledError("the request was aborted"), now);
    stats_.RecordFinished(*sequence, now);
  }
  EndOverdue(now);
  Settle();
  return true;
}

void EngineLoop::AddSequence(Submission submission) {
  const uint64_t seed = submission.request.sampling.seed.value_or(next_seed_++);
  auto on_update = [this, id = submission.request.id,
                    on_update = std::move(submission.on_update)](RequestUpdate update) {
    if (update.finish.has_value()) {
      last_updates_.push_back({id, on_update, std::move(update)});
    } else {
      on_update(std::move(update));
    }
  };
  scheduler_.Add(std::make_unique<Sequence>(std::move(submission.request), std::move(on_update), tokenizer_, eos_ids_,
                                            plan_.config.max_model_len, seed, submission.time));
}

void EngineLoop::EndOverdue(absl::Time now) {
  const absl::Duration queue_limit = plan_.config.max_queue_time;
  const absl::Time queued_since = queue_limit > absl::ZeroDuration() ? now - queue_limit : absl::InfinitePast();
  for (Sequence* sequence : scheduler_.Overdue(now, queued_since)) {
    if (sequence->finished()) continue;
    const std::string age = absl::FormatDuration(absl::Trunc(now - sequence->submitted(), absl::Milliseconds(1)));
    absl::Status status;
    if (sequence->request().deadline <= now) {
      const absl::Duration limit = plan_.config.max_request_time;
      status = absl::DeadlineExceededError(absl::StrCat(
          "the request was ended after ", age, " with ", sequence->num_generated(), " tokens generated: ",
          limit > absl::ZeroDuration() && sequence->submitted() + limit <= now
              ? absl::StrCat("--max-request-seconds is ", absl::FormatDuration(limit), "; ask for fewer tokens")
              : "its own deadline had come"));
    } else {
      const std::lock_guard lock(mu_);
      const int64_t seconds = queue_.RetryAfterSeconds(now);
      status = WithRetryAfter(
          absl::ResourceExhaustedError(absl::StrCat(
              "the request waited for ", age, "; --max-queue-seconds is ", absl::FormatDuration(queue_limit), ", and ",
              queue_.waiting().requests, " requests wait; retry in about ", seconds, " s")),
          seconds);
      stats_.RecordRejected(RejectReason::kQueueTime);
    }
    sequence->Fail(FinishReason::kAborted, std::move(status), now);
    stats_.RecordFinished(*sequence, now);
  }
}

absl::Status EngineLoop::RunStep(RankWorker& worker, StepLink& link, const ExchangeChooser& choose) {
  const absl::Time now = absl::Now();
  ScheduledStep step = scheduler_.Schedule(now);
  CountStarts(step, now);
  // Whoever hears of a token of this step finds its request running and its pages in use.
  stats_.SetGauges(scheduler_);
  step.batch.step = next_step_++;
  step.batch.exchange = choose(step.batch);
  // Shared with the other ranks without a copy; `step` keeps the bookkeeping.
  const auto batch = std::make_shared<const Batch>(std::move(step.batch));
  step.batch = {};
  absl::Status status = link.Publish(batch);
  if (!status.ok()) return status;
  absl::StatusOr<std::vector<StepOutput>> outputs = link.Collect(worker.Step(*batch));
  if (!outputs.ok()) return outputs.status();
  if (batch->tokens.empty()) return absl::OkStatus();
  stats_.RecordStep(*batch, *outputs);
  scheduler_.Advance(step);
  HandOut(step, *std::move(outputs));
  return absl::OkStatus();
}

void EngineLoop::CountStarts(const ScheduledStep& step, absl::Time now) {
  const auto started = std::count_if(step.sequences.begin(), step.sequences.end(),
                                     [now](const Sequence* sequence) { return sequence->first_scheduled == now; });
  const std::lock_guard lock(mu_);
  if (started > 0) queue_.Start(started, now);
  queue_.Update(scheduler_);
}

void EngineLoop::HandOut(const ScheduledStep& step, std::vector<StepOutput> outputs) {
  std::vector<StepOutput::Sampled> samples(step.sequence_of_sample.size());
  std::vector<ScoredToken> scores(step.sequence_of_score.size());
  for (StepOutput& output : outputs) {
    for (StepOutput::Sampled& sampled : output.samples) {
      const auto index = static_cast<size_t>(sampled.index);
      samples[index] = std::move(sampled);
    }
    for (StepOutput::Scored& scored : output.scores) scores[scored.index] = std::move(scored.token);
  }

  const absl::Time now = absl::Now();
  for (size_t begin = 0; begin < scores.size();) {
    Sequence* sequence = step.sequence_of_score[begin];
    size_t end = begin;
    while (end < scores.size() && step.sequence_of_score[end] == sequence) ++end;
    sequence->AddScores({std::make_move_iterator(scores.begin() + static_cast<std::ptrdiff_t>(begin)),
                         std::make_move_iterator(scores.begin() + static_cast<std::ptrdiff_t>(end))},
                        now);
    begin = end;
  }
  for (size_t i = 0; i < samples.size(); ++i) {
    Sequence* sequence = step.sequence_of_sample[i];
    if (sequence->finished()) continue;
    const absl::Time previous = sequence->last_token_time();
    sequence->AddToken(std::move(samples[i].token), now, std::move(samples[i].experts));
    stats_.RecordToken(*sequence, previous, now);
  }

  for (const Sequence* sequence : step.sequences) {
    if (sequence->finished()) stats_.RecordFinished(*sequence, now);
  }
  Settle();
}

void EngineLoop::Settle() {
  if (!last_updates_.empty()) scheduler_.RemoveFinished();
  stats_.SetGauges(scheduler_);
  if (last_updates_.empty()) return;
  {
    const std::lock_guard lock(mu_);
    for (const LastUpdate& last : last_updates_) in_flight_.erase(last.request_id);
    queue_.Update(scheduler_);
    delivering_ = true;
  }
  for (LastUpdate& last : last_updates_) last.on_update(std::move(last.update));
  last_updates_.clear();
  const std::lock_guard lock(mu_);
  delivering_ = false;
  if (in_flight_.empty()) idle_.notify_all();
}

void EngineLoop::FailAll(FinishReason reason, const absl::Status& status) {
  const absl::Time now = absl::Now();
  for (Sequence* sequence : scheduler_.All()) {
    if (sequence->finished()) continue;
    sequence->Fail(reason, status, now);
    stats_.RecordFinished(*sequence, now);
  }
  Settle();
  std::deque<Submission> submissions;
  {
    const std::lock_guard lock(mu_);
    submissions.swap(inbox_);
    stopping_ = true;
  }
  for (Submission& submission : submissions) {
    submission.on_update({.finish = reason, .status = status});
    stats_.RecordReason(reason);
  }
  const std::lock_guard lock(mu_);
  in_flight_.clear();
  idle_.notify_all();
}

}  // namespace switchyard
