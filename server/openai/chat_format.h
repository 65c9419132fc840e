// chat.completion and chat.completion.chunk objects.
#pragma once

#include <string>

#include "server/openai/response_format.h"

namespace switchyard::openai {

// The first delta carries the role and the first token's text, so that it exists only once token 1 does and every
// token has exactly one chunk. Where the request has tools, calls in the text become `tool_calls`.
class ChatFormat : public ResponseFormat {
 public:
  // Both borrowed.
  ChatFormat(const GenerationPlan* plan, const Tokenizer* tokenizer) : plan_(plan), tokenizer_(tokenizer) {}

  const char* object_name() const override { return "chat.completion"; }
  const char* chunk_object_name() const override { return "chat.completion.chunk"; }
  bool HasDelta(const ChoiceProgress& progress, const RequestUpdate& update) const override;
  nlohmann::ordered_json Delta(const RequestUpdate& update, ChoiceProgress* progress) const override;
  nlohmann::ordered_json Finish(const RequestUpdate& last, ChoiceProgress* progress) const override;
  nlohmann::ordered_json Whole(const RequestUpdate& all, ChoiceProgress* progress) const override;

 private:
  nlohmann::ordered_json LogProbs(const RequestUpdate& update) const;
  // The update's text without the names of special tokens, where they belong into no answer.
  std::string TextOf(const RequestUpdate& update) const;
  // The choice's parser, told of the start that the answer was made to have.
  ToolCallParser& Parser(ChoiceProgress* progress, bool incremental) const;
  // Adds what the parser gave out to a delta.
  void AddCalls(const ToolCallText& parsed, int32_t choice, nlohmann::ordered_json* delta) const;
  std::string CallId(int32_t choice, size_t call) const;
  const char* FinishName(const RequestUpdate& last, const ChoiceProgress& progress) const;

  const GenerationPlan* plan_;
  const Tokenizer* tokenizer_;
};

}  // namespace switchyard::openai
