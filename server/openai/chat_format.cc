#include "server/openai/chat_format.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace switchyard::openai {

using nlohmann::ordered_json;

bool ChatFormat::HasDelta(const ChoiceProgress& progress, const RequestUpdate& update) const {
  return !update.tokens.empty() || !update.text.empty();
}

ordered_json ChatFormat::LogProbs(const RequestUpdate& update) const {
  return plan_->num_logprobs < 0 ? ordered_json(nullptr)
                                 : ChatLogProbs(tokenizer_, update.tokens, plan_->tokens_as_ids);
}

ordered_json ChatFormat::Delta(const RequestUpdate& update, ChoiceProgress* progress) const {
  ordered_json delta = ordered_json::object();
  if (!progress->begun) delta["role"] = "assistant";
  delta["content"] = update.text;
  ordered_json choice = {{"index", progress->index},
                         {"delta", std::move(delta)},
                         {"logprobs", LogProbs(update)},
                         {"finish_reason", nullptr}};
  if (plan_->return_token_ids) {
    if (!progress->begun) choice["prompt_token_ids"] = progress->prompt->ids;
    choice["token_ids"] = TokenIds(update);
  }
  progress->begun = true;
  return choice;
}

ordered_json ChatFormat::Finish(const RequestUpdate& last, ChoiceProgress* progress) const {
  ordered_json delta = ordered_json::object();
  if (!progress->begun) delta["role"] = "assistant";
  return {{"index", progress->index},
          {"delta", std::move(delta)},
          {"logprobs", nullptr},
          {"finish_reason", Name(*last.finish)},
          {"stop_reason", StopReason(last, *plan_)}};
}

ordered_json ChatFormat::Whole(const RequestUpdate& all, ChoiceProgress* progress) const {
  ordered_json choice = {{"index", progress->index},
                         {"message", {{"role", "assistant"}, {"content", all.text}, {"refusal", nullptr}}},
                         {"logprobs", LogProbs(all)},
                         {"finish_reason", Name(*all.finish)},
                         {"stop_reason", StopReason(all, *plan_)}};
  if (plan_->return_token_ids) {
    choice["prompt_token_ids"] = progress->prompt->ids;
    choice["token_ids"] = TokenIds(all);
  }
  return choice;
}

}  // namespace switchyard::openai
