#include "engine/constraint/token_rules.h"

#include <algorithm>
#include <utility>

namespace switchyard {
namespace {

void Allow(int32_t token, TokenMask* mask) {
  (*mask)[static_cast<size_t>(token) / 32] |= 1u << (static_cast<uint32_t>(token) % 32);
}

bool IsEmpty(const TokenMask& mask) {
  return std::all_of(mask.begin(), mask.end(), [](uint32_t word) { return word == 0; });
}

}  // namespace

TokenRuleState::TokenRuleState(TokenRules rules, std::vector<int32_t> end_ids)
    : rules_(std::move(rules)), end_ids_(std::move(end_ids)) {
  if (rules_.grammar != nullptr) matcher_.emplace(rules_.grammar);
}

TokenMask TokenRuleState::AllTokens() const {
  return TokenMask((static_cast<size_t>(rules_.vocab_size) + 31) / 32, ~0u);
}

absl::Status TokenRuleState::Prepare() {
  if (rules_.empty()) return absl::OkStatus();
  TokenMask mask = AllTokens();
  if (num_accepted_ < rules_.first_tokens.size()) {
    std::fill(mask.begin(), mask.end(), 0u);
    Allow(rules_.first_tokens[num_accepted_], &mask);
  } else {
    if (matcher_.has_value()) {
      absl::StatusOr<TokenMask> allowed = matcher_->Allowed();
      if (!allowed.ok()) return allowed.status();
      const bool may_end = matcher_->MayEnd();
      finished_ = may_end && IsEmpty(*allowed);
      if (finished_) allowed_ = nullptr;
      if (finished_) return absl::OkStatus();
      mask = *std::move(allowed);
    }
    if (rules_.forbidden != nullptr) rules_.forbidden->Remove(forbidden_state_, &mask);
    if (!matcher_.has_value() || matcher_->MayEnd()) {
      for (const int32_t id : end_ids_) Allow(id, &mask);
    }
  }
  if (!rules_.allowed_ids.empty()) {
    TokenMask listed(mask.size());
    for (const int32_t id : rules_.allowed_ids) Allow(id, &listed);
    for (size_t i = 0; i < mask.size(); ++i) mask[i] &= listed[i];
  }
  if (IsEmpty(mask)) {
    return absl::InvalidArgumentError(
        "response_format, bad_words and allowed_token_ids together leave no token that could come next; loosen one");
  }
  allowed_ = std::make_shared<const TokenMask>(std::move(mask));
  return absl::OkStatus();
}

absl::Status TokenRuleState::Accept(int32_t token) {
  if (rules_.empty()) return absl::OkStatus();
  if (num_accepted_ >= rules_.first_tokens.size()) {
    if (matcher_.has_value()) {
      absl::Status status = matcher_->Accept(token);
      if (!status.ok()) return status;
    }
    if (rules_.forbidden != nullptr) forbidden_state_ = rules_.forbidden->Next(forbidden_state_, token);
  }
  ++num_accepted_;
  return Prepare();
}

}  // namespace switchyard
