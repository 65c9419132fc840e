#include "server/openai/tokenization.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/openai/errors.h"
#include "server/openai/field_reader.h"
#include "server/openai/json_text.h"
#include "server/openai/message_fields.h"
#include "server/openai/prompt_fields.h"
#include "server/openai/request_fields.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

http::Response NoTokenizer() {
  return ErrorResponse({.status = 400, .message = "this model has no tokenizer; it takes and gives token ids only"});
}

}  // namespace

http::Response Tokenize(const json& body, const ModelContext& model) {
  if (model.tokenizer() == nullptr) return NoTokenizer();
  FieldReader fields(body);
  CheckModelName(fields, *model.served_name);
  const bool with_strings = fields.Bool("return_token_strs").value_or(false);
  std::vector<Prompt> prompts;
  if (fields.Find("messages") != nullptr) {
    RefuseUnsupported(fields, Endpoint::kChat);
    prompts = ReadMessages(fields, model, {});
  } else if (fields.String("prompt") == "") {
    // Nothing to generate from, but a fine thing to count.
    const bool add_special_tokens = fields.Bool("add_special_tokens").value_or(true);
    prompts.push_back({.ids = model.tokenizer()->Encode("", {.add_special_tokens = add_special_tokens})});
  } else if (fields.String("prompt").has_value()) {
    prompts = ReadPrompts(fields, model, /*with_text=*/false, /*skip_special_tokens=*/false);
  } else {
    fields.Fail("prompt", "is missing; send the text to encode, or messages");
  }
  if (!fields.ok()) return ErrorResponse(*fields.error());

  const std::vector<int32_t>& ids = prompts.front().ids;
  ordered_json strings = nullptr;
  if (with_strings) {
    strings = ordered_json::array();
    for (int32_t id : ids) strings.push_back(model.tokenizer()->Piece(id));
  }
  return {.body = Dump({{"count", ids.size()},
                        {"max_model_len", model.info().max_model_len},
                        {"tokens", ids},
                        {"token_strs", std::move(strings)}})};
}

http::Response Detokenize(const json& body, const ModelContext& model) {
  if (model.tokenizer() == nullptr) return NoTokenizer();
  FieldReader fields(body);
  CheckModelName(fields, *model.served_name);
  const bool skip_special_tokens = fields.Bool("skip_special_tokens").value_or(false);
  std::vector<int32_t> ids;
  if (const json* tokens = fields.Find("tokens"); tokens != nullptr) {
    ids = fields.Ints("tokens", *tokens, 0, model.info().spec.vocab_size - 1);
  } else {
    fields.Fail("tokens", "is missing; send the ids to decode");
  }
  if (!fields.ok()) return ErrorResponse(*fields.error());
  return {.body = Dump({{"prompt", model.tokenizer()->Decode(ids, skip_special_tokens)}})};
}

http::Response TokenizerInfo(const ModelContext& model) {
  const Tokenizer* tokenizer = model.tokenizer();
  if (tokenizer == nullptr) return NoTokenizer();
  ordered_json info = {{"vocab_size", tokenizer->vocab_size()},
                       {"model_max_length", model.info().max_model_len},
                       {"bos_token_id", nullptr},
                       {"bos_token", nullptr},
                       {"eos_token_id", nullptr},
                       {"eos_token", nullptr}};
  if (const auto bos = tokenizer->bos_id(); bos.has_value()) {
    info["bos_token_id"] = *bos;
    info["bos_token"] = tokenizer->Piece(*bos);
  }
  if (const auto eos = tokenizer->eos_id(); eos.has_value()) {
    info["eos_token_id"] = *eos;
    info["eos_token"] = tokenizer->Piece(*eos);
  }
  info["chat"] = model.engine->chat_template() != nullptr;
  return {.body = Dump(info)};
}

}  // namespace switchyard::openai
