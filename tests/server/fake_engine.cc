#include "tests/server/fake_engine.h"

#include <algorithm>
#include <utility>

namespace switchyard {
namespace {

constexpr int kUnlimited = 1 << 30;

std::vector<TokenLogProb> TopOf(int32_t id, float logprob, int count, bool with_own) {
  std::vector<TokenLogProb> top;
  if (with_own && count > 0) top.push_back({id, logprob});
  for (int i = 0; static_cast<int>(top.size()) < count; ++i) {
    const int32_t other = FakeTokenizer::kFirstByte + 'a' + i;
    if (other != id) top.push_back({other, with_own ? logprob - 1 - static_cast<float>(i) : logprob / 2});
  }
  return top;
}

}  // namespace

FakeEngine::FakeEngine(Options options)
    : options_(std::move(options)),
      tokenizer_(options_.special_tokens),
      constraints_(options_.has_tokenizer ? std::make_unique<ConstraintCompiler>(&tokenizer_, tokenizer_.vocab_size())
                                          : nullptr),
      template_(options_.tool_call_format) {
  info_.spec.model_type = "fake";
  info_.spec.vocab_size = tokenizer_.vocab_size();
  info_.spec.num_experts = 8;
  info_.spec.eos_token_ids = {FakeTokenizer::kEos};
  info_.defaults = options_.defaults;
  info_.max_model_len = options_.max_model_len;
  granted_ = options_.hold ? 0 : kUnlimited;
  thread_ = std::thread([this] { Run(); });
}

FakeEngine::~FakeEngine() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.join();
}

void FakeEngine::Step(int tokens) {
  absl::MutexLock lock(&mu_);
  granted_ += tokens;
  for (auto& [id, active] : active_) active->allowed += tokens;
}

void FakeEngine::Release() { Step(kUnlimited / 2); }

void FakeEngine::WaitForSubmitted(size_t count) {
  absl::MutexLock lock(&mu_);
  const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return submitted_.size() >= count; };
  mu_.Await(absl::Condition(&enough));
}

void FakeEngine::WaitForInFlight(size_t count) {
  absl::MutexLock lock(&mu_);
  const auto reached = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return active_.size() == count; };
  mu_.Await(absl::Condition(&reached));
}

std::vector<GenerationRequest> FakeEngine::submitted() const {
  absl::MutexLock lock(&mu_);
  return submitted_;
}

size_t FakeEngine::num_aborted() const {
  absl::MutexLock lock(&mu_);
  return num_aborted_;
}

void FakeEngine::SetStats(EngineStats stats) {
  absl::MutexLock lock(&mu_);
  stats_ = std::move(stats);
}

void FakeEngine::SetHealth(absl::Status health) {
  absl::MutexLock lock(&mu_);
  health_ = std::move(health);
}

absl::Status FakeEngine::chat_template_status() const {
  return options_.has_chat_template ? absl::OkStatus() : absl::NotFoundError("the directory has no chat_template");
}

absl::Status FakeEngine::Submit(GenerationRequest request, UpdateCallback on_update) {
  absl::MutexLock lock(&mu_);
  if (!options_.submit_status.ok()) return options_.submit_status;
  if (active_.count(request.id) > 0) return absl::InvalidArgumentError("the id is in use");
  const bool is_known = std::any_of(submitted_.begin(), submitted_.end(), [&](const GenerationRequest& earlier) {
    return earlier.prompt == request.prompt && earlier.cache_salt == request.cache_salt;
  });
  const int32_t cached_tokens = is_known ? static_cast<int32_t>(request.prompt.size()) - 1 : 0;
  submitted_.push_back(request);
  auto active = std::make_unique<Active>(Active{.request = request,
                                                .on_update = std::move(on_update),
                                                .cached_tokens = cached_tokens,
                                                .allowed = granted_,
                                                .assembler = Utf8Assembler(),
                                                .stops = StopMatcher(request.stop.strings)});
  active_[request.id] = std::move(active);
  return absl::OkStatus();
}

void FakeEngine::Abort(const std::string& request_id) {
  absl::MutexLock lock(&mu_);
  const auto found = active_.find(request_id);
  if (found != active_.end()) found->second->aborted = true;
}

void FakeEngine::SetRecovers(bool recovers) {
  absl::MutexLock lock(&mu_);
  recovers_ = recovers;
}

absl::Status FakeEngine::Failure() const {
  absl::MutexLock lock(&mu_);
  return recovers_ ? absl::OkStatus() : health_;
}

absl::Status FakeEngine::Health() const {
  absl::MutexLock lock(&mu_);
  return health_;
}

EngineStats FakeEngine::Stats() const {
  absl::MutexLock lock(&mu_);
  return stats_;
}

bool FakeEngine::HasWork() const {
  for (const auto& [id, active] : active_) {
    if (Ready(*active)) return true;
  }
  return stopping_;
}

void FakeEngine::Run() {
  while (true) {
    std::vector<std::pair<UpdateCallback, RequestUpdate>> updates;
    {
      absl::MutexLock lock(&mu_);
      mu_.Await(absl::Condition(this, &FakeEngine::HasWork));
      if (stopping_) return;
      for (auto it = active_.begin(); it != active_.end();) {
        Active& active = *it->second;
        if (!Ready(active)) {
          ++it;
          continue;
        }
        updates.emplace_back(active.on_update, NextUpdate(active));
        const std::optional<FinishReason> finish = updates.back().second.finish;
        if (finish == FinishReason::kAborted) ++num_aborted_;
        it = finish.has_value() ? active_.erase(it) : std::next(it);
      }
    }
    for (auto& [on_update, update] : updates) on_update(std::move(update));
  }
}

RequestUpdate FakeEngine::NextUpdate(Active& active) const {
  const GenerationRequest& request = active.request;
  RequestUpdate update;
  update.usage = {.prompt_tokens = static_cast<int32_t>(request.prompt.size()),
                  .completion_tokens = active.produced,
                  .cached_tokens = active.cached_tokens};
  if (active.aborted) {
    update.finish = FinishReason::kAborted;
    return update;
  }
  if (active.produced == options_.fail_after_tokens) {
    update.finish = FinishReason::kError;
    update.status = absl::InternalError("the logits of the request held NaN");
    return update;
  }
  if (active.produced == 0 && request.num_prompt_logprobs >= 0) {
    update.prompt_logprobs.emplace();
    for (size_t i = 1; i < request.prompt.size(); ++i) {
      const float logprob = PromptLogProbOf(static_cast<int>(i));
      update.prompt_logprobs->push_back(
          {.logprob = logprob,
           .top1 = request.prompt[i],
           .top = TopOf(request.prompt[i], logprob, request.num_prompt_logprobs, i % 2 == 0)});
    }
  }
  if (Scores(active)) {
    update.finish = FinishReason::kLength;
    return update;
  }

  const int idx = active.produced++;
  const bool ends = idx >= static_cast<int>(options_.output.size());
  const int32_t id =
      ends ? FakeTokenizer::kEos : FakeTokenizer::kFirstByte + static_cast<unsigned char>(options_.output[idx]);
  GeneratedToken token{.id = id, .logprob = LogProbOf(idx)};
  if (request.num_logprobs > 0) token.top = TopOf(id, token.logprob, request.num_logprobs, idx % 2 == 0);
  if (request.return_experts) token.experts = ExpertsOf(idx);
  update.tokens.push_back(std::move(token));
  update.usage.completion_tokens = active.produced;
  std::string text;
  if (!ends && request.detokenize) active.assembler.Append(tokenizer_.Bytes(id), &text);
  StopMatcher::Result result = active.stops.Append(text);
  update.text = std::move(result.text);
  if (result.matched.has_value()) {
    update.finish = FinishReason::kStop;
    update.matched_stop = *result.matched;
  } else if (ends) {
    update.finish = FinishReason::kStop;
    update.matched_stop_id = id;
    update.text += active.stops.Finish();
  } else if (active.produced >= request.stop.max_tokens) {
    update.finish = FinishReason::kLength;
    update.text += active.stops.Finish();
  }
  if (update.finish.has_value()) {
    update.timings = {
        .queue = absl::Milliseconds(1), .prefill = absl::Milliseconds(2), .decode = absl::Milliseconds(3)};
  }
  return update;
}

}  // namespace switchyard
