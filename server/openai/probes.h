// GET /health, /ready and /version: what orchestrators ask.
#pragma once

#include "server/engine_slot.h"
#include "server/http/message.h"

namespace switchyard::openai {

// 200 while a restart would not help: loading, serving, draining. 503 with the reason once the engine has failed.
http::Response Health(const EngineSlot& slot);
// 200 while requests are taken; else 503 with the state and, while loading, the progress.
http::Response Ready(const EngineSlot& slot);
http::Response Version();

}  // namespace switchyard::openai
