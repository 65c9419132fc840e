#include "engine/exchange_choice.h"

#include <algorithm>
#include <vector>

#include "engine/model/recorded_steps.h"
#include "engine/step_layout.h"
#include "kernels/check.h"

namespace switchyard {

double LayerExchangeSeconds(const ExchangeCosts& costs, ExchangeStrategy strategy, const ExchangeLoad& load,
                            bool heads_are_split) {
  double seconds = EstimateSeconds(costs, strategy, load);
  if (heads_are_split) {
    const double bytes = static_cast<double>(load.num_tokens * load.hidden_size * load.activation_bytes);
    seconds += strategy == ExchangeStrategy::kAllReduce
                   ? costs.all_reduce.Seconds(bytes)
                   : costs.all_gather.Seconds(bytes) + costs.reduce_scatter.Seconds(bytes);
  }
  return seconds;
}

ExchangeStrategy ChooseStepExchange(const ExchangeCosts& costs, const EnginePlan& plan, const DecoderSpec& spec,
                                    const Batch& batch) {
  CHECK(!plan.exchanges.empty());
  std::vector<ExchangeStrategy> allowed = plan.exchanges;
  if (plan.config.device == DeviceKind::kCuda && plan.config.cuda_graphs && IsDecodeStep(batch)) {
    // Sizes that follow from the routing cannot be recorded, and waiting for them on the host costs more than they
    // save.
    std::erase(allowed, ExchangeStrategy::kAllToAll);
    if (allowed.empty()) allowed = plan.exchanges;
  }
  if (allowed.size() == 1) return allowed.front();
  const auto seconds = [&](ExchangeStrategy strategy) {
    const TokenLayout layout = LayoutOf(plan.config.attention, strategy);
    const ExchangeLoad load = {.num_ranks = plan.world_size,
                               .num_tokens = static_cast<int64_t>(batch.tokens.size()),
                               .max_rank_tokens = MakeStepLayout(batch, layout, 0, plan.world_size).max_residual_rows,
                               .hidden_size = spec.hidden_size,
                               .top_k = spec.experts_per_token,
                               .activation_bytes = static_cast<int64_t>(SizeOf(ActivationDType(plan.config, spec)))};
    return LayerExchangeSeconds(costs, strategy, load, plan.heads_are_split());
  };
  return *std::min_element(allowed.begin(), allowed.end(),
                           [&](ExchangeStrategy a, ExchangeStrategy b) { return seconds(a) < seconds(b); });
}

}  // namespace switchyard
