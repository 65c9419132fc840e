#include "server/openai/completion_format.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace switchyard::openai {

using nlohmann::ordered_json;

ordered_json StopReason(const RequestUpdate& last, const GenerationPlan& plan) {
  if (!last.matched_stop.empty()) return last.matched_stop;
  for (int32_t id : plan.request.stop.token_ids) {
    if (id == last.matched_stop_id) return id;
  }
  return nullptr;
}

ordered_json TokenIds(const RequestUpdate& update) {
  ordered_json ids = ordered_json::array();
  for (const GeneratedToken& token : update.tokens) ids.push_back(token.id);
  return ids;
}

ordered_json ExpertIds(const RequestUpdate& update, int64_t per_layer) {
  ordered_json tokens = ordered_json::array();
  for (const GeneratedToken& token : update.tokens) {
    ordered_json layers = ordered_json::array();
    for (auto begin = token.experts.begin(); begin != token.experts.end(); begin += per_layer) {
      layers.push_back(std::vector<int16_t>(begin, begin + per_layer));
    }
    tokens.push_back(std::move(layers));
  }
  return tokens;
}

bool CompletionFormat::HasDelta(const ChoiceProgress& progress, const RequestUpdate& update) const {
  const bool opens_echo = plan_->echo && !progress.begun && (update.finish.has_value() || update.prompt_logprobs);
  return !update.tokens.empty() || !update.text.empty() || opens_echo;
}

ordered_json CompletionFormat::LogProbs(const RequestUpdate& update, bool with_prompt, ChoiceProgress* progress) const {
  if (plan_->num_logprobs < 0) return nullptr;
  CompletionLogProbs lists(plan_->tokens_as_ids ? nullptr : tokenizer_, &progress->offsets);
  if (with_prompt) {
    const std::vector<int32_t>& ids = progress->prompt->ids;
    lists.AddUnscored(ids[0]);
    for (size_t i = 1; i < ids.size(); ++i) {
      const bool scored = update.prompt_logprobs.has_value() && i - 1 < update.prompt_logprobs->size();
      if (!scored) {
        lists.AddUnscored(ids[i]);
        continue;
      }
      const PromptLogProb& entry = (*update.prompt_logprobs)[i - 1];
      // `prompt_logprobs` may have asked for more than `logprobs` did.
      const size_t num_top = std::min(entry.top.size(), static_cast<size_t>(plan_->num_logprobs));
      lists.Add(ids[i], entry.logprob, {entry.top.begin(), entry.top.begin() + static_cast<ptrdiff_t>(num_top)});
    }
  }
  for (const GeneratedToken& token : update.tokens) lists.Add(token.id, token.logprob, token.top);
  return lists.Take();
}

ordered_json CompletionFormat::Delta(const RequestUpdate& update, ChoiceProgress* progress) const {
  const bool opens = !progress->begun;
  progress->begun = true;
  const bool with_prompt = opens && plan_->echo;
  ordered_json choice = {{"index", progress->index},
                         {"text", with_prompt ? progress->prompt->text + update.text : update.text},
                         {"logprobs", LogProbs(update, with_prompt, progress)},
                         {"finish_reason", nullptr}};
  if (plan_->return_token_ids) {
    if (opens) choice["prompt_token_ids"] = progress->prompt->ids;
    choice["token_ids"] = TokenIds(update);
  }
  if (plan_->expert_ids_per_layer > 0) choice["expert_ids"] = ExpertIds(update, plan_->expert_ids_per_layer);
  return choice;
}

ordered_json CompletionFormat::Finish(const RequestUpdate& last, ChoiceProgress* progress) const {
  return {{"index", progress->index},
          {"text", ""},
          {"logprobs", nullptr},
          {"finish_reason", Name(*last.finish)},
          {"stop_reason", StopReason(last, *plan_)}};
}

ordered_json CompletionFormat::Whole(const RequestUpdate& all, ChoiceProgress* progress) const {
  ordered_json choice = Delta(all, progress);
  choice["finish_reason"] = Name(*all.finish);
  choice["stop_reason"] = StopReason(all, *plan_);
  return choice;
}

}  // namespace switchyard::openai
