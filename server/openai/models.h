// GET /v1/models and /v1/models/{id}.
#pragma once

#include <string>

#include "server/engine_slot.h"
#include "server/http/message.h"

namespace switchyard::openai {

// The one served model; `max_model_len` once it is loaded.
http::Response ListModels(const EngineSlot& slot);
// 404 for any other id.
http::Response RetrieveModel(const EngineSlot& slot, const std::string& id);

}  // namespace switchyard::openai
