// /v1/experts: where the router has sent tokens since the start, and what that cost the ranks.
#pragma once

#include "server/engine_slot.h"
#include "server/http/message.h"

namespace switchyard::openai {

// One object per layer, in order; 503 while there is no engine. `rank_load_max_over_mean` is 1 at perfect balance;
// `routing_entropy` is in bits.
http::Response ExpertStatistics(const EngineSlot& slot);

}  // namespace switchyard::openai
