// How one endpoint writes choices: the shape of completions, or of chat.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "engine/request.h"
#include "engine/text/tokenizer.h"
#include "engine/text/tool_call_parser.h"
#include "server/openai/generation_plan.h"
#include "server/openai/log_probs.h"

namespace switchyard::openai {

// One choice on its way to the client.
struct ChoiceProgress {
  int32_t index = 0;
  const Prompt* prompt = nullptr;  // borrowed
  bool begun = false;              // a delta was written
  TextOffsets offsets;
  Usage usage;
  bool finished = false;
  std::optional<ToolCallParser> calls;  // what the text so far has of them; absent: no tools
};

// Thread safety: immutable; `progress` belongs to the caller.
class ResponseFormat {
 public:
  virtual ~ResponseFormat() = default;

  virtual const char* object_name() const = 0;
  virtual const char* chunk_object_name() const = 0;
  // Whether `update` is worth a chunk: it has tokens or text, or opens an echoed text.
  virtual bool HasDelta(const ChoiceProgress& progress, const RequestUpdate& update) const = 0;
  virtual nlohmann::ordered_json Delta(const RequestUpdate& update, ChoiceProgress* progress) const = 0;
  virtual nlohmann::ordered_json Finish(const RequestUpdate& last, ChoiceProgress* progress) const = 0;
  // `all`: every update of the choice, merged.
  virtual nlohmann::ordered_json Whole(const RequestUpdate& all, ChoiceProgress* progress) const = 0;
};

// What the formats share: the stop string that ended the text, or the id among `stop_token_ids`, else null.
nlohmann::ordered_json StopReason(const RequestUpdate& last, const GenerationPlan& plan);
// Ids of the update's tokens.
nlohmann::ordered_json TokenIds(const RequestUpdate& update);
// [tokens][layers][per_layer]: whom the routers chose.
nlohmann::ordered_json ExpertIds(const RequestUpdate& update, int64_t per_layer);

}  // namespace switchyard::openai
