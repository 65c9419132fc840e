#include "server/openai/chat_format.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard::openai {

using nlohmann::ordered_json;

bool ChatFormat::HasDelta(const ChoiceProgress& progress, const RequestUpdate& update) const {
  return !update.tokens.empty() || !update.text.empty();
}

ordered_json ChatFormat::LogProbs(const RequestUpdate& update) const {
  return plan_->num_logprobs < 0 ? ordered_json(nullptr)
                                 : ChatLogProbs(tokenizer_, update.tokens, plan_->tokens_as_ids);
}

std::string ChatFormat::TextOf(const RequestUpdate& update) const {
  std::string text = update.text;
  if (!plan_->drops_special_names) return text;
  for (const GeneratedToken& token : update.tokens) {
    if (!tokenizer_->IsSpecial(token.id)) continue;
    const std::string name = tokenizer_->Piece(token.id);
    const bool is_mark = name == MarkerOf(plan_->tools.format) || name == ToolCallParser::kArguments ||
                         name == ToolCallParser::kCallId || name == ToolCallParser::kHermesEnd;
    const size_t found = is_mark ? std::string::npos : text.find(name);
    if (found != std::string::npos) text.erase(found, name.size());
  }
  return text;
}

ToolCallParser& ChatFormat::Parser(ChoiceProgress* progress, bool incremental) const {
  if (!progress->calls) {
    progress->calls.emplace(ToolCallParser::Options{
        .format = plan_->tools.format, .incremental = incremental, .max_calls = plan_->tools.max_calls});
    // It ends before the arguments' "{", so that nothing comes out yet.
    progress->calls->Append(plan_->tools.forced_start);
  }
  return *progress->calls;
}

// Nine letters and digits, as Mistral's templates demand; the same for a call in all its chunks.
std::string ChatFormat::CallId(int32_t choice, size_t call) const {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const char c : absl::StrCat(plan_->response_id, "/", choice, "/", call)) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  }
  constexpr std::string_view kDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string id;
  for (int i = 0; i < 9; ++i) {
    id.push_back(kDigits[hash % kDigits.size()]);
    hash /= kDigits.size();
  }
  return id;
}

void ChatFormat::AddCalls(const ToolCallText& parsed, int32_t choice, ordered_json* delta) const {
  for (const ToolCallText::Call& call : parsed.calls) {
    ordered_json entry = {{"index", call.index}};
    if (!call.name.empty()) {
      entry["id"] = CallId(choice, call.index);
      entry["type"] = "function";
      entry["function"]["name"] = call.name;
    }
    entry["function"]["arguments"] = call.arguments;
    (*delta)["tool_calls"].push_back(std::move(entry));
  }
}

const char* ChatFormat::FinishName(const RequestUpdate& last, const ChoiceProgress& progress) const {
  const bool called = progress.calls.has_value() && progress.calls->num_calls() > 0;
  return called && last.finish == FinishReason::kStop ? "tool_calls" : Name(*last.finish);
}

ordered_json ChatFormat::Delta(const RequestUpdate& update, ChoiceProgress* progress) const {
  ordered_json delta = ordered_json::object();
  if (!progress->begun) delta["role"] = "assistant";
  if (plan_->tools.parses_calls) {
    const ToolCallText parsed = Parser(progress, /*incremental=*/true).Append(TextOf(update));
    if (!parsed.content.empty() || parsed.calls.empty()) delta["content"] = parsed.content;
    AddCalls(parsed, progress->index, &delta);
  } else {
    delta["content"] = update.text;
  }
  ordered_json choice = {{"index", progress->index},
                         {"delta", std::move(delta)},
                         {"logprobs", LogProbs(update)},
                         {"finish_reason", nullptr}};
  if (plan_->return_token_ids) {
    if (!progress->begun) choice["prompt_token_ids"] = progress->prompt->ids;
    choice["token_ids"] = TokenIds(update);
  }
  if (plan_->expert_ids_per_layer > 0) choice["expert_ids"] = ExpertIds(update, plan_->expert_ids_per_layer);
  progress->begun = true;
  return choice;
}

ordered_json ChatFormat::Finish(const RequestUpdate& last, ChoiceProgress* progress) const {
  ordered_json delta = ordered_json::object();
  if (!progress->begun) delta["role"] = "assistant";
  if (plan_->tools.parses_calls) {
    const ToolCallText rest = Parser(progress, /*incremental=*/true).Finish();
    if (!rest.content.empty()) delta["content"] = rest.content;
    AddCalls(rest, progress->index, &delta);
  }
  return {{"index", progress->index},
          {"delta", std::move(delta)},
          {"logprobs", nullptr},
          {"finish_reason", FinishName(last, *progress)},
          {"stop_reason", StopReason(last, *plan_)}};
}

ordered_json ChatFormat::Whole(const RequestUpdate& all, ChoiceProgress* progress) const {
  ordered_json message = {{"role", "assistant"}, {"content", all.text}, {"refusal", nullptr}};
  if (plan_->tools.parses_calls) {
    ToolCallParser& parser = Parser(progress, /*incremental=*/false);
    ToolCallText parsed = parser.Append(TextOf(all));
    parsed.content += parser.Finish().content;
    AddCalls(parsed, progress->index, &message);
    message["content"] = parsed.content;
    if (parsed.content.empty() && !parsed.calls.empty()) message["content"] = nullptr;
    // Only deltas have indices.
    if (!parsed.calls.empty()) {
      for (ordered_json& call : message["tool_calls"]) call.erase("index");
    }
  }
  ordered_json choice = {{"index", progress->index},
                         {"message", std::move(message)},
                         {"logprobs", LogProbs(all)},
                         {"finish_reason", FinishName(all, *progress)},
                         {"stop_reason", StopReason(all, *plan_)}};
  if (plan_->return_token_ids) {
    choice["prompt_token_ids"] = progress->prompt->ids;
    choice["token_ids"] = TokenIds(all);
  }
  if (plan_->expert_ids_per_layer > 0) choice["expert_ids"] = ExpertIds(all, plan_->expert_ids_per_layer);
  return choice;
}

}  // namespace switchyard::openai
