// What one rank allocates: its weights, pages, activations and exchange, made in one place so that a memory plan, which
// makes them on a backend that only counts, is what a server then takes.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/engine_plan.h"
#include "engine/model/decoder.h"
#include "parallel/communicator.h"
#include "parallel/expert_exchange.h"

namespace switchyard {

// The decoder borrows the exchange.
struct RankModel {
  std::unique_ptr<ExpertExchange> exchange;
  std::unique_ptr<Decoder> decoder;
};

// Weights are empty yet: Checkpoint::FillWeights(decoder->weights()). Everything is borrowed and must outlive the
// result. RESOURCE_EXHAUSTED says what did not fit.
absl::StatusOr<RankModel> CreateRankModel(const EnginePlan& plan, const Checkpoint& checkpoint, Backend& backend,
                                          Communicator& communicator);

}  // namespace switchyard
