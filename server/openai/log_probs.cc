#include "server/openai/log_probs.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/text/utf8_assembler.h"

namespace switchyard::openai {
namespace {

using nlohmann::ordered_json;

// JSON has no infinity; clients of other servers know this value as "never".
constexpr float kLowest = -9999.0f;

double Finite(float logprob) { return std::isfinite(logprob) ? std::max(logprob, kLowest) : kLowest; }

std::string IdText(int32_t id) { return absl::StrCat("token_id:", id); }

ordered_json ChatToken(const Tokenizer* tokenizer, int32_t id, float logprob, bool as_ids) {
  ordered_json bytes = ordered_json::array();
  if (tokenizer != nullptr) {
    for (unsigned char byte : tokenizer->Bytes(id)) bytes.push_back(byte);
  }
  return {{"token", as_ids ? IdText(id) : TokenText(tokenizer, id)},
          {"logprob", Finite(logprob)},
          {"bytes", std::move(bytes)}};
}

}  // namespace

std::string TokenText(const Tokenizer* tokenizer, int32_t id) {
  if (tokenizer == nullptr) return IdText(id);
  const std::string bytes(tokenizer->Bytes(id));
  if (ToValidUtf8(bytes) == bytes) return bytes;
  std::string text = "bytes:";
  for (unsigned char byte : bytes) absl::StrAppendFormat(&text, "\\x%02x", byte);
  return text;
}

int64_t TextOffsets::Advance(int32_t id) {
  const int64_t start = offset_;
  if (tokenizer_ == nullptr || (skip_special_tokens_ && tokenizer_->IsSpecial(id))) return start;
  const std::string_view bytes = tokenizer_->Bytes(id);
  if (bytes.empty()) return start;
  for (unsigned char byte : bytes) offset_ += (byte & 0xC0) != 0x80 ? 1 : 0;
  if (drop_space_ && tokenizer_->drops_leading_space() && bytes.front() == ' ') --offset_;
  drop_space_ = false;
  return start;
}

void CompletionLogProbs::AddUnscored(int32_t id) {
  lists_["tokens"].push_back(TokenText(tokenizer_, id));
  lists_["token_logprobs"].push_back(nullptr);
  lists_["top_logprobs"].push_back(nullptr);
  lists_["text_offset"].push_back(offsets_->Advance(id));
}

void CompletionLogProbs::Add(int32_t id, float logprob, const std::vector<TokenLogProb>& top) {
  const std::string text = TokenText(tokenizer_, id);
  ordered_json map = ordered_json::object();
  map[text] = Finite(logprob);
  for (const TokenLogProb& entry : top) {
    if (entry.id == id) continue;
    // Two ids may read alike (the byte 0x41 and "A"); neither may hide the other.
    std::string key = TokenText(tokenizer_, entry.id);
    if (map.contains(key)) key = IdText(entry.id);
    map[key] = Finite(entry.logprob);
  }
  lists_["tokens"].push_back(text);
  lists_["token_logprobs"].push_back(Finite(logprob));
  lists_["top_logprobs"].push_back(std::move(map));
  lists_["text_offset"].push_back(offsets_->Advance(id));
}

ordered_json ChatLogProbs(const Tokenizer* tokenizer, const std::vector<GeneratedToken>& tokens, bool as_ids) {
  ordered_json content = ordered_json::array();
  for (const GeneratedToken& token : tokens) {
    ordered_json entry = ChatToken(tokenizer, token.id, token.logprob, as_ids);
    ordered_json top = ordered_json::array();
    for (const TokenLogProb& candidate : token.top)
      top.push_back(ChatToken(tokenizer, candidate.id, candidate.logprob, as_ids));
    entry["top_logprobs"] = std::move(top);
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

ordered_json PromptLogProbs(const Tokenizer* tokenizer, const std::vector<int32_t>& ids,
                            const std::optional<std::vector<PromptLogProb>>& scores, int32_t num_top) {
  ordered_json list = ordered_json::array({nullptr});
  for (size_t i = 1; i < ids.size() && scores.has_value() && i <= scores->size(); ++i) {
    const PromptLogProb& score = (*scores)[i - 1];
    ordered_json map = ordered_json::object();
    const auto add = [&](int32_t id, float logprob, const ordered_json& rank) {
      map[absl::StrCat(id)] = {
          {"logprob", Finite(logprob)}, {"rank", rank}, {"decoded_token", TokenText(tokenizer, id)}};
    };
    for (size_t rank = 0; rank < score.top.size() && rank < static_cast<size_t>(num_top); ++rank) {
      add(score.top[rank].id, score.top[rank].logprob, rank + 1);
    }
    if (!map.contains(absl::StrCat(ids[i]))) {
      add(ids[i], score.logprob, ids[i] == score.top1 ? ordered_json(1) : ordered_json(nullptr));
    }
    list.push_back(std::move(map));
  }
  return list;
}

}  // namespace switchyard::openai
