// What one rank computes with: passed by reference, owned by the rank's worker.
#pragma once

#include <cstdint>

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
  AttentionSpec attention;       // this rank's heads
  bool heads_are_split = false;  // tensor-parallel: attention outputs are partial sums
  int64_t first_slot = 0;        // of this rank's experts (parallel/expert_placement.h)
  int64_t num_local_experts = 0;
};

}  // namespace switchyard
