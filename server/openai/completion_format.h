// text_completion objects.
#pragma once

#include "server/openai/response_format.h"

namespace switchyard::openai {

class CompletionFormat : public ResponseFormat {
 public:
  // Both borrowed; `tokenizer` may be null.
  CompletionFormat(const GenerationPlan* plan, const Tokenizer* tokenizer) : plan_(plan), tokenizer_(tokenizer) {}

  const char* object_name() const override { return "text_completion"; }
  const char* chunk_object_name() const override { return "text_completion"; }
  bool HasDelta(const ChoiceProgress& progress, const RequestUpdate& update) const override;
  nlohmann::ordered_json Delta(const RequestUpdate& update, ChoiceProgress* progress) const override;
  nlohmann::ordered_json Finish(const RequestUpdate& last, ChoiceProgress* progress) const override;
  nlohmann::ordered_json Whole(const RequestUpdate& all, ChoiceProgress* progress) const override;

 private:
  nlohmann::ordered_json LogProbs(const RequestUpdate& update, bool with_prompt, ChoiceProgress* progress) const;

  const GenerationPlan* plan_;
  const Tokenizer* tokenizer_;
};

}  // namespace switchyard::openai
