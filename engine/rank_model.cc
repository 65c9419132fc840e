#include "engine/rank_model.h"

#include <utility>
#include <vector>

namespace switchyard {

absl::StatusOr<RankModel> CreateRankModel(const EnginePlan& plan, const Checkpoint& checkpoint, Backend& backend,
                                          Communicator& communicator) {
  const DecoderSpec& spec = checkpoint.spec();
  const int rank = communicator.rank();
  absl::StatusOr<ModelWeights> weights = checkpoint.CreateWeights(plan.ShardOf(rank), backend);
  if (!weights.ok()) return weights.status();
  absl::StatusOr<KvCache> cache = KvCache::Create(plan.kv_shape, backend);
  if (!cache.ok()) return cache.status();
  absl::StatusOr<std::unique_ptr<ExpertExchange>> exchange =
      CreateExpertExchange({.hidden_size = spec.hidden_size,
                            .top_k = spec.experts_per_token,
                            .max_tokens = plan.config.max_batch_tokens + communicator.size(),
                            .max_rank_tokens = plan.max_divided_tokens(),
                            .all_reduce_only = plan.exchanges == std::vector{ExchangeStrategy::kAllReduce}},
                           backend, communicator, plan.placement);
  if (!exchange.ok()) return exchange.status();
  const RankContext context = {.backend = backend,
                               .communicator = communicator,
                               .exchange = **exchange,
                               .spec = spec,
                               .attention = plan.attention,
                               .heads_are_split = plan.heads_are_split(),
                               .first_slot = plan.placement.first_slot(rank),
                               .local_experts = plan.placement.ExpertsOf(rank)};
  absl::StatusOr<std::unique_ptr<Decoder>> decoder =
      Decoder::Create(context, plan.decoder_limits(), *std::move(weights), *std::move(cache));
  if (!decoder.ok()) return decoder.status();
  return RankModel{.exchange = *std::move(exchange), .decoder = *std::move(decoder)};
}

}  // namespace switchyard
