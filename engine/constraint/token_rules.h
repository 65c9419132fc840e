// Which tokens a request may generate: a grammar, forbidden texts and a list of ids, each if there is one, together.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "engine/constraint/forbidden_texts.h"
#include "engine/constraint/grammar.h"
#include "kernels/sampling.h"

namespace switchyard {

// What a request asks for. A value; the parts are shared.
struct TokenRules {
  std::vector<int32_t> first_tokens;  // generated first, as they are: a control token such as "[TOOL_CALLS]"
  std::shared_ptr<Grammar> grammar;   // of the text behind them
  std::shared_ptr<ForbiddenTexts> forbidden;
  std::vector<int32_t> allowed_ids;  // no others, the end of sequence included; empty: all
  int64_t vocab_size = 0;            // the engine's to set

  bool empty() const {
    return first_tokens.empty() && grammar == nullptr && forbidden == nullptr && allowed_ids.empty();
  }
};

// One sequence's place in its rules. Not thread-safe.
class TokenRuleState {
 public:
  // `end_ids` end the text: they are allowed where the grammar's text may end, and whatever texts are forbidden.
  TokenRuleState(TokenRules rules, std::vector<int32_t> end_ids);

  // The tokens that may come next; null: all, or finished(). An error means that the request cannot go on.
  absl::Status Prepare();
  const std::shared_ptr<const TokenMask>& allowed() const { return allowed_; }
  // Takes in a token that is no end id, and prepares what follows.
  absl::Status Accept(int32_t token);
  // The grammar's text is complete and nothing can be added to it.
  bool finished() const { return finished_; }

 private:
  TokenMask AllTokens() const;

  const TokenRules rules_;
  const std::vector<int32_t> end_ids_;
  size_t num_accepted_ = 0;
  std::optional<GrammarMatcher> matcher_;
  int32_t forbidden_state_ = ForbiddenTexts::kStart;
  std::shared_ptr<const TokenMask> allowed_;
  bool finished_ = false;
};

}  // namespace switchyard
