// Which exchange a step uses: the measured cost of the MoE's collectives and of those that its token layout brings to
// attention.
#pragma once

#include "engine/batch.h"
#include "engine/engine_plan.h"
#include "engine/model/decoder_spec.h"
#include "parallel/exchange_cost.h"

namespace switchyard {

// Expected seconds of all collectives of one layer of a step. A pure function.
double LayerExchangeSeconds(const ExchangeCosts& costs, ExchangeStrategy strategy, const ExchangeLoad& load,
                            bool heads_are_split);

// The cheapest of plan.exchanges for `batch`; the first listed among equals.
ExchangeStrategy ChooseStepExchange(const ExchangeCosts& costs, const EnginePlan& plan, const DecoderSpec& spec,
                                    const Batch& batch);

}  // namespace switchyard
