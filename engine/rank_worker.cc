#include "engine/rank_worker.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

absl::StatusOr<std::unique_ptr<Backend>> MakeBackend(const EngineConfig& config, const EnginePlan& plan,
                                                     int local_rank) {
  if (config.device == DeviceKind::kCuda) return CreateCudaBackend(config.gpus[static_cast<size_t>(local_rank)]);
  return CreateCpuBackend({.num_threads = plan.threads_per_rank,
                           .reference = config.reference_kernels,
                           .bf16_activations = config.bf16_activations});
}

}  // namespace

absl::StatusOr<std::unique_ptr<RankWorker>> RankWorker::Create(const EnginePlan& plan, const Checkpoint& checkpoint,
                                                               Communicator& data, int local_rank,
                                                               const LoadProgressCallback& progress) {
  const DecoderSpec& spec = checkpoint.spec();
  const int rank = data.rank();
  std::unique_ptr<RankWorker> worker(new RankWorker(data));
  absl::StatusOr<std::unique_ptr<Backend>> backend = MakeBackend(plan.config, plan, local_rank);
  if (!backend.ok()) return backend.status();
  worker->backend_ = *std::move(backend);

  absl::StatusOr<ModelWeights> weights = checkpoint.Load(plan.ShardOf(rank), *worker->backend_, progress);
  if (!weights.ok()) return weights.status();
  absl::StatusOr<KvCache> cache = KvCache::Create(plan.kv_shape, *worker->backend_);
  if (!cache.ok()) return cache.status();
  absl::StatusOr<std::unique_ptr<ExpertExchange>> exchange =
      CreateExpertExchange({.hidden_size = spec.hidden_size,
                            .top_k = spec.experts_per_token,
                            .max_tokens = plan.config.max_batch_tokens + data.size(),
                            .max_rank_tokens = plan.max_divided_tokens()},
                           *worker->backend_, data, plan.placement);
  if (!exchange.ok()) return exchange.status();
  worker->exchange_ = *std::move(exchange);

  const RankContext context = {.backend = *worker->backend_,
                               .communicator = data,
                               .exchange = *worker->exchange_,
                               .spec = spec,
                               .attention = plan.attention,
                               .heads_are_split = plan.heads_are_split(),
                               .first_slot = plan.placement.first_slot(rank)};
  absl::StatusOr<std::unique_ptr<Decoder>> decoder =
      Decoder::Create(context, plan.decoder_limits(), *std::move(weights), *std::move(cache));
  if (!decoder.ok()) return decoder.status();
  worker->decoder_ = *std::move(decoder);
  return worker;
}

absl::StatusOr<StepOutput> RankWorker::Step(const Batch& batch) {
  absl::StatusOr<StepOutput> output = StepOutput();
  if (batch.tokens.empty()) {
    // Nothing to compute: a sign of life, under the data plane's time limit.
    const absl::Status status = data_.Barrier();
    if (!status.ok()) output = status;
  } else {
    output = decoder_->Step(batch);
  }
  if (!output.ok()) {
    data_.Abort(absl::UnavailableError(absl::StrCat("rank ", data_.rank(), ": ", output.status().message())));
  }
  return output;
}

absl::Status RankWorker::Serve(StepLink& link) {
  while (true) {
    absl::StatusOr<std::shared_ptr<const Batch>> batch = link.Next();
    if (!batch.ok()) {
      data_.Abort(batch.status());
      return batch.status();
    }
    if (*batch == nullptr) return absl::OkStatus();
    absl::StatusOr<StepOutput> output = Step(**batch);
    const absl::Status step_status = output.status();
    absl::Status status = link.Return(std::move(output));
    if (!step_status.ok()) return step_status;
    if (!status.ok()) return status;
  }
}

}  // namespace switchyard
