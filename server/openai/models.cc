#include "server/openai/models.h"

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "server/openai/errors.h"
#include "server/openai/json_text.h"

namespace switchyard::openai {
namespace {

using nlohmann::ordered_json;

ordered_json ModelObject(const EngineSlot& slot) {
  ordered_json model = {{"id", slot.served_model_name()},
                        {"object", "model"},
                        {"created", slot.created_unix_seconds()},
                        {"owned_by", "switchyard"},
                        {"root", slot.served_model_name()}};
  if (const Engine* engine = slot.snapshot().engine; engine != nullptr) {
    model["max_model_len"] = engine->model_info().max_model_len;
  }
  return model;
}

}  // namespace

http::Response ListModels(const EngineSlot& slot) {
  return {.body = Dump({{"object", "list"}, {"data", ordered_json::array({ModelObject(slot)})}})};
}

http::Response RetrieveModel(const EngineSlot& slot, const std::string& id) {
  if (id == slot.served_model_name()) return {.body = Dump(ModelObject(slot))};
  return ErrorResponse(
      {.status = 404,
       .message = absl::StrCat("model \"", id.substr(0, 200), "\" is not served here; this server has \"",
                               slot.served_model_name(), "\""),
       .param = "model",
       .code = "model_not_found"});
}

}  // namespace switchyard::openai
