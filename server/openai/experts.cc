#include "server/openai/experts.h"

#include <nlohmann/json.hpp>

#include "parallel/exchange_strategy.h"
#include "server/openai/errors.h"
#include "server/openai/json_text.h"

namespace switchyard::openai {

http::Response ExpertStatistics(const EngineSlot& slot) {
  using nlohmann::ordered_json;
  Engine* const engine = slot.snapshot().engine;
  if (engine == nullptr) return ErrorResponse(FromStatus(slot.Admit().status()));
  const ModelInfo& info = engine->model_info();
  const EngineStats stats = engine->Stats();
  ordered_json layers = ordered_json::array();
  int64_t num_dead = 0;
  for (size_t layer = 0; layer < stats.expert_tokens.size(); ++layer) {
    const std::vector<uint64_t>& tokens = stats.expert_tokens[layer];
    const int64_t num_dead_here = NumDeadExperts(tokens);
    num_dead += num_dead_here;
    layers.push_back({{"layer", layer},
                      {"expert_tokens", tokens},
                      {"dead_experts", num_dead_here},
                      {"routing_entropy", RoutingEntropy(tokens)},
                      {"rank_load_max_over_mean", stats.rank_load_max_over_mean[layer]}});
  }
  ordered_json exchange_bytes = ordered_json::object();
  for (size_t i = 0; i < stats.exchange_bytes.size(); ++i) {
    exchange_bytes[Name(static_cast<ExchangeStrategy>(i))] = stats.exchange_bytes[i];
  }
  const ordered_json body = {{"object", "expert_statistics"},
                             {"model", slot.served_model_name()},
                             {"num_experts", info.spec.num_experts},
                             {"experts_per_token", info.spec.experts_per_token},
                             {"placement", info.placement},
                             {"dead_experts", num_dead},
                             {"straggler_wait_seconds", stats.straggler_wait_seconds},
                             {"dispatch_seconds", stats.dispatch_seconds},
                             {"expert_seconds", stats.expert_seconds},
                             {"combine_seconds", stats.combine_seconds},
                             {"exchange_bytes", std::move(exchange_bytes)},
                             {"layers", std::move(layers)}};
  return {.body = Dump(body)};
}

}  // namespace switchyard::openai
