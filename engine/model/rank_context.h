// What one rank computes with: passed by reference, owned by the rank's worker.
#pragma once

#include <cstdint>
#include <span>

#include "engine/model/decoder_spec.h"
#include "kernels/backend.h"
#include "parallel/communicator.h"
#include "parallel/expert_exchange.h"

namespace switchyard {

struct RankContext {
  Backend& backend;
  Communicator& communicator;
  ExpertExchange& exchange;
  const DecoderSpec& spec;
  AttentionSpec attention;             // this rank's heads
  bool heads_are_split = false;        // tensor-parallel: attention outputs are partial sums
  int64_t first_slot = 0;              // of this rank's experts (parallel/expert_placement.h)
  std::span<const int> local_experts;  // global ids in slot order

  int64_t num_local_experts() const { return static_cast<int64_t>(local_experts.size()); }
  RouterSpec router() const {
    return {.num_experts = spec.num_experts,
            .top_k = spec.experts_per_token,
            .renormalize = spec.renormalize_router_weights};
  }
};

}  // namespace switchyard
