#include "server/access/key_account.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace switchyard {

void KeyAccount::SetLimits(const KeyLimits& limits) {
  absl::MutexLock lock(&mu_);
  if (limits.tokens_per_minute != limits_.tokens_per_minute) refilled_.reset();
  limits_ = limits;
}

void KeyAccount::Refill(absl::Time now) {
  const double capacity = static_cast<double>(limits_.tokens_per_minute);
  if (!refilled_.has_value()) {
    tokens_ = capacity;
  } else {
    // The wall clock may be set back.
    const double minutes = std::max(0.0, absl::ToDoubleMinutes(now - *refilled_));
    tokens_ = std::min(capacity, tokens_ + minutes * capacity);
  }
  refilled_ = now;
}

std::unique_ptr<KeyTicket> KeyAccount::Admit(int64_t prompt_tokens, KeyRefusal* refusal, absl::Time now) {
  absl::MutexLock lock(&mu_);
  if (limits_.max_concurrent > 0 && usage_.running >= limits_.max_concurrent) {
    ++usage_.refused_concurrency;
    *refusal = {.message = absl::StrCat("the API key \"", name_, "\" has ", usage_.running, " requests in flight, and ",
                                        limits_.max_concurrent,
                                        " is its limit (max-concurrent): wait for one of them to end")};
    return nullptr;
  }
  if (limits_.tokens_per_minute > 0) {
    Refill(now);
    const double rate = static_cast<double>(limits_.tokens_per_minute);
    const double needed = std::min(static_cast<double>(prompt_tokens), rate);
    if (tokens_ < needed || tokens_ <= 0) {
      ++usage_.refused_tokens;
      const double missing = std::max(1.0, needed - tokens_);
      const int seconds = static_cast<int>(std::min(std::ceil(missing / rate * 60), 86'400.0));
      *refusal = {
          .message = absl::StrCat("the API key \"", name_, "\" may use ", limits_.tokens_per_minute,
                                  " tokens a minute (tokens-per-minute); ", static_cast<int64_t>(std::floor(tokens_)),
                                  " are left, and the prompt has ", prompt_tokens, ": retry in ", seconds, " s"),
          .retry_after_seconds = seconds};
      return nullptr;
    }
    tokens_ -= static_cast<double>(prompt_tokens);
  }
  ++usage_.running;
  ++usage_.requests;
  usage_.prompt_tokens += static_cast<uint64_t>(prompt_tokens);
  return std::make_unique<KeyTicket>(shared_from_this());
}

void KeyAccount::Charge(int64_t tokens, absl::Time now) {
  absl::MutexLock lock(&mu_);
  usage_.generation_tokens += static_cast<uint64_t>(tokens);
  if (limits_.tokens_per_minute == 0) return;
  Refill(now);
  tokens_ -= static_cast<double>(tokens);
}

void KeyAccount::Release() {
  absl::MutexLock lock(&mu_);
  --usage_.running;
}

KeyUsage KeyAccount::usage() const {
  absl::MutexLock lock(&mu_);
  KeyUsage usage = usage_;
  usage.name = name_;
  return usage;
}

}  // namespace switchyard
