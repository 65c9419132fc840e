#include "engine/model/decoder.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/model/attention_layer.h"

namespace switchyard {
namespace {

constexpr int64_t kMaxOutputRows = 256;

}  // namespace

Decoder::Decoder(const RankContext& rank, const DecoderLimits& limits, ModelWeights weights, KvCache cache)
    : rank_(rank),
      weights_(std::move(weights)),
      cache_(std::move(cache)),
      recorded_(std::min({limits.max_sequences, limits.max_batch_tokens, kMaxOutputRows}), rank.communicator.size()),
      max_rows_(limits.max_batch_tokens + rank.communicator.size()),
      max_output_rows_(std::min(kMaxOutputRows, limits.max_batch_tokens)) {}

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Create(const RankContext& rank, const DecoderLimits& limits,
                                                         ModelWeights weights, KvCache cache) {
  std::unique_ptr<Decoder> decoder(new Decoder(rank, limits, std::move(weights), std::move(cache)));
  absl::StatusOr<Workspace> workspace = Workspace::Create({.max_tokens = decoder->max_rows_,
                                                           .has_slices = limits.has_slices,
                                                           .num_heads = rank.attention.num_heads,
                                                           .num_kv_heads = rank.attention.num_kv_heads,
                                                           .max_output_rows = decoder->max_output_rows_},
                                                          rank.spec, rank.backend);
  if (!workspace.ok()) return workspace.status();
  decoder->workspace_ = *std::move(workspace);
  const auto is_offloaded = [](const LayerWeights& layer) { return layer.experts->is_offloaded(); };
  if (std::any_of(decoder->weights_.layers.begin(), decoder->weights_.layers.end(), is_offloaded)) {
    absl::StatusOr<ExpertForecaster> forecaster = ExpertForecaster::Create(decoder->rank_, decoder->max_rows_);
    if (!forecaster.ok()) return forecaster.status();
    decoder->forecaster_ = *std::move(forecaster);
  }
  // A padded step has as many sequences as rows.
  const int64_t max_sequences = limits.max_sequences + rank.communicator.size();
  absl::StatusOr<StepIndex> index = StepIndex::Create({.max_tokens = decoder->max_rows_,
                                                       .max_sequences = max_sequences,
                                                       .max_pages_per_sequence = limits.max_pages_per_sequence,
                                                       .max_output_rows = decoder->max_output_rows_,
                                                       .max_context = limits.max_context},
                                                      rank.backend);
  if (!index.ok()) return index.status();
  decoder->index_ = *std::move(index);
  absl::Status status = rank.backend.Reserve({.max_tokens = decoder->max_rows_,
                                              .max_sequences = max_sequences,
                                              .max_expert_rows = rank.exchange.max_rows(),
                                              .max_output_rows = decoder->max_output_rows_,
                                              .max_context = limits.max_context,
                                              .attention = rank.attention,
                                              .hidden_size = rank.spec.hidden_size,
                                              .expert_intermediate_size = rank.spec.expert_intermediate_size,
                                              .top_k = rank.spec.experts_per_token,
                                              .num_local_experts = rank.num_local_experts(),
                                              .vocab_size = rank.spec.vocab_size});
  if (!status.ok()) return status;
  return decoder;
}

TokenLayout Decoder::LayoutOfStep(ExchangeStrategy exchange) const {
  return LayoutOf(rank_.heads_are_split ? AttentionParallelism::kTensorParallel : AttentionParallelism::kReplicated,
                  exchange);
}

int64_t Decoder::PaddedOutputRows(const StepLayout& layout) const {
  if (layout.layout != TokenLayout::kReplicated) return layout.residual_rows;
  return (layout.residual_rows + rank_.communicator.size() - 1) / rank_.communicator.size();
}

std::vector<Decoder::RecordableStep> Decoder::RecordableSteps(std::span<const ExchangeStrategy> exchanges) const {
  const bool alone = rank_.communicator.size() == 1;
  std::vector<RecordableStep> steps;
  if (!rank_.backend.can_record() || !(alone || rank_.communicator.can_record())) return steps;
  for (const ExchangeStrategy exchange : exchanges) {
    if (exchange == ExchangeStrategy::kAllToAll && !alone) continue;
    // The largest first, so that smaller ones find every kernel loaded and every size allocated.
    for (auto size = recorded_.sizes().rbegin(); size != recorded_.sizes().rend(); ++size) {
      steps.push_back({exchange, recorded_.PaddedTokens(LayoutOfStep(exchange), *size)});
    }
  }
  return steps;
}

absl::Status Decoder::RecordSteps(std::span<const ExchangeStrategy> exchanges) {
  for (const auto& [exchange, padded_tokens] : RecordableSteps(exchanges)) {
    absl::Status status = RecordStep(exchange, padded_tokens);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Decoder::RecordStep(ExchangeStrategy exchange, int64_t padded_tokens) {
  if (recorded_.Find(exchange, padded_tokens) != nullptr) return absl::OkStatus();
  const StepLayout layout = MakeStepLayout(Batch{}, LayoutOfStep(exchange), rank_.communicator.rank(),
                                           rank_.communicator.size(), padded_tokens);
  absl::Status status = index_.Fill(Batch{}, layout, PaddedOutputRows(layout), rank_.backend);
  if (!status.ok()) return status;
  // Once for real, of padding only: libraries choose their algorithms now.
  rank_.communicator.BeginStep();
  status = RunPadded(exchange, layout);
  if (status.ok()) status = rank_.backend.Synchronize();
  status.Update(rank_.communicator.EndStep());
  if (!status.ok()) return status;
  const uint64_t bytes_before = rank_.exchange.bytes_sent();
  absl::StatusOr<std::unique_ptr<RecordedWork>> work =
      rank_.backend.Record([&] { return RunPadded(exchange, layout); });
  if (!work.ok()) return work.status();
  recorded_.Add(exchange, padded_tokens,
                {.work = *std::move(work), .exchange_bytes = rank_.exchange.bytes_sent() - bytes_before});
  return absl::OkStatus();
}

absl::StatusOr<StepOutput> Decoder::Step(const Batch& batch) {
  const TokenLayout kind = LayoutOfStep(batch.exchange);
  int64_t padded_tokens = recorded_.size() == 0 ? 0 : recorded_.PaddedTokens(kind, batch);
  const RecordedSteps::Step* const recorded = recorded_.Find(batch.exchange, padded_tokens);
  if (recorded == nullptr) padded_tokens = 0;
  const StepLayout layout =
      MakeStepLayout(batch, kind, rank_.communicator.rank(), rank_.communicator.size(), padded_tokens);
  StepOutput output;
  MoeTimes times;
  const uint64_t bytes_before = rank_.exchange.bytes_sent();
  rank_.communicator.BeginStep();
  absl::Status status = index_.Fill(batch, layout, recorded == nullptr ? 0 : PaddedOutputRows(layout), rank_.backend);
  if (status.ok() && recorded != nullptr) {
    status = rank_.backend.Replay(*recorded->work);
    output.exchange_bytes = recorded->exchange_bytes;
    if (status.ok()) SamplePadded(batch, layout, output);
  } else if (status.ok()) {
    status = RunLayers(batch.exchange, layout, times);
    if (status.ok()) status = RunOutputs(batch, layout, output);
  }
  if (status.ok()) status = CountExperts(layout, output);
  if (status.ok()) status = CollectExperts(batch, layout, output);
  if (status.ok()) status = rank_.backend.Synchronize();
  // What the communicator knows of a failure says more than what the device saw of it.
  absl::Status exchanged = rank_.communicator.EndStep();
  if (!exchanged.ok()) return exchanged;
  if (!status.ok()) return status;
  if (rank_.backend.device() == DeviceKind::kCpu) {
    output.dispatch_seconds = times.dispatch;
    output.expert_seconds = times.experts;
    output.combine_seconds = times.combine;
  }
  output.exchange_bytes += rank_.exchange.bytes_sent() - bytes_before;
  if (forecaster_.has_value()) output.offload = NewOffloadStats();
  return output;
}

ExpertCacheStats Decoder::NewOffloadStats() {
  ExpertCacheStats total;
  for (const LayerWeights& layer : weights_.layers) total += layer.experts->offload_stats();
  ExpertCacheStats news = total;
  news -= std::exchange(offload_stats_, total);
  return news;
}

absl::Status Decoder::RunLayers(ExchangeStrategy exchange, const StepLayout& layout, MoeTimes& times) {
  Backend& backend = rank_.backend;
  const float eps = rank_.spec.rms_norm_eps;
  const int64_t rows = layout.residual_rows;
  const TensorView residual = workspace_.residual.Top(rows);
  const TensorView normed = workspace_.normed.Top(rows);
  backend.Clear(workspace_.expert_counts.view());
  backend.EmbedTokens(*weights_.embedding, index_.residual_ids(), residual);
  backend.RmsNorm(residual, weights_.layers.front().input_norm.view(), eps, normed);
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    LayerWeights& layer = weights_.layers[i];
    const auto l = static_cast<int64_t>(i);
    absl::StatusOr<TensorView> attended =
        RunAttentionLayer(rank_, layer, layout, index_.attention(), cache_.layer(l), workspace_);
    if (!attended.ok()) return attended.status();
    backend.AddRmsNorm(*attended, layer.post_attention_norm.view(), eps, residual, normed);

    const TensorView counts = workspace_.expert_counts.view().Rows(l, l + 1).Reshape(Shape{rank_.spec.num_experts});
    const bool is_last = i + 1 == weights_.layers.size();
    absl::StatusOr<TensorView> mixed = RunMoeLayer(rank_,
                                                   {.layer = l,
                                                    .weights = layer,
                                                    .next = is_last ? nullptr : &weights_.layers[i + 1],
                                                    .layout = layout,
                                                    .exchange = exchange,
                                                    .num_valid = index_.num_valid(),
                                                    .counts = counts},
                                                   workspace_, forecaster_ ? &*forecaster_ : nullptr, times);
    if (!mixed.ok()) return mixed.status();
    const Tensor& next_norm = is_last ? weights_.final_norm : weights_.layers[i + 1].input_norm;
    backend.AddRmsNorm(*mixed, next_norm.view(), eps, residual, normed);
  }
  return absl::OkStatus();
}

absl::Status Decoder::RunPadded(ExchangeStrategy exchange, const StepLayout& layout) {
  MoeTimes times;
  absl::Status status = RunLayers(exchange, layout, times);
  if (!status.ok()) return status;
  LogitsOfRows(index_.output_rows(), layout.residual_rows);
  return absl::OkStatus();
}

TensorView Decoder::LogitsOfRows(ConstTensorView index, int64_t residual_rows) {
  const int64_t count = index.dim(0);
  const TensorView hidden = workspace_.output_hidden.Top(count);
  rank_.backend.GatherRows(workspace_.normed.Top(residual_rows), index, hidden);
  const TensorView logits = workspace_.logits.Top(count);
  rank_.backend.Linear(hidden, *weights_.lm_head, logits);
  return logits;
}

void Decoder::SamplePadded(const Batch& batch, const StepLayout& layout, StepOutput& output) {
  std::vector<SamplingRow> rows;
  rows.reserve(layout.samples.size());
  for (const int32_t i : layout.samples) rows.push_back(batch.samples[static_cast<size_t>(i)].row);
  std::vector<SampledToken> tokens =
      rank_.backend.Sample(workspace_.logits.Top(static_cast<int64_t>(rows.size())), rows);
  for (size_t i = 0; i < rows.size(); ++i) output.samples.push_back({layout.samples[i], std::move(tokens[i]), {}});
}

absl::StatusOr<TensorView> Decoder::Logits(std::span<const int32_t> tokens, const StepLayout& layout) {
  std::vector<int32_t> rows;
  rows.reserve(tokens.size());
  for (const int32_t token : tokens) rows.push_back(token - static_cast<int32_t>(layout.residual.begin));
  const int64_t count = static_cast<int64_t>(rows.size());
  const TensorView index = workspace_.output_index.Top(count);
  absl::Status status = rank_.backend.CopyFromHost(ConstTensorView::Of(std::span<const int32_t>(rows)), index);
  if (!status.ok()) return status;
  return LogitsOfRows(index, layout.residual_rows);
}

absl::Status Decoder::RunOutputs(const Batch& batch, const StepLayout& layout, StepOutput& output) {
  // Calls `run(indices, logits)` for blocks of this rank's rows of `requests`.
  const auto for_each_block = [&](const auto& requests, const std::vector<int32_t>& mine, auto run) -> absl::Status {
    for (size_t begin = 0; begin < mine.size(); begin += static_cast<size_t>(max_output_rows_)) {
      const size_t size = std::min(mine.size() - begin, static_cast<size_t>(max_output_rows_));
      const std::span<const int32_t> block(mine.data() + begin, size);
      std::vector<int32_t> tokens;
      tokens.reserve(size);
      for (const int32_t i : block) tokens.push_back(requests[i].token);
      absl::StatusOr<TensorView> logits = Logits(tokens, layout);
      if (!logits.ok()) return logits.status();
      run(block, *logits);
    }
    return absl::OkStatus();
  };

  absl::Status status = for_each_block(batch.samples, layout.samples, [&](auto block, TensorView logits) {
    std::vector<SamplingRow> rows;
    for (const int32_t i : block) rows.push_back(batch.samples[i].row);
    std::vector<SampledToken> tokens = rank_.backend.Sample(logits, rows);
    for (size_t i = 0; i < block.size(); ++i) output.samples.push_back({block[i], std::move(tokens[i]), {}});
  });
  if (!status.ok()) return status;
  return for_each_block(batch.scores, layout.scores, [&](auto block, TensorView logits) {
    std::vector<ScoringRow> rows;
    for (const int32_t i : block) rows.push_back(batch.scores[i].row);
    std::vector<ScoredToken> tokens = rank_.backend.Score(logits, rows);
    for (size_t i = 0; i < block.size(); ++i) output.scores.push_back({block[i], std::move(tokens[i])});
  });
}

absl::Status Decoder::CollectExperts(const Batch& batch, const StepLayout& layout, StepOutput& output) {
  const auto request_of = [&batch](const StepOutput::Sampled& sampled) -> const SampleRequest& {
    return batch.samples[static_cast<size_t>(sampled.index)];
  };
  const bool is_asked = std::any_of(output.samples.begin(), output.samples.end(),
                                    [&](const auto& sampled) { return request_of(sampled).with_experts; });
  if (!is_asked) return absl::OkStatus();
  const auto top_k = static_cast<size_t>(rank_.spec.experts_per_token);
  std::vector<int32_t> chosen(static_cast<size_t>(layout.residual_rows) * top_k);
  for (int64_t layer = 0; layer < rank_.spec.num_layers; ++layer) {
    const ConstTensorView device = workspace_.RouterExperts(layer, layout.residual_rows);
    absl::Status status = rank_.backend.CopyToHost(device, TensorView::Of(std::span<int32_t>(chosen), device.shape()));
    if (!status.ok()) return status;
    for (StepOutput::Sampled& sampled : output.samples) {
      const SampleRequest& request = request_of(sampled);
      if (!request.with_experts) continue;
      const auto row = chosen.begin() + (request.token - layout.residual.begin) * static_cast<int64_t>(top_k);
      sampled.experts.insert(sampled.experts.end(), row, row + static_cast<int64_t>(top_k));
    }
  }
  return absl::OkStatus();
}

absl::Status Decoder::CountExperts(const StepLayout& layout, StepOutput& output) {
  output.expert_tokens.assign(static_cast<size_t>(rank_.spec.num_layers * rank_.spec.num_experts), 0);
  // Where every rank holds every token, rank 0 counts.
  if (layout.layout == TokenLayout::kReplicated && rank_.communicator.rank() != 0) return absl::OkStatus();
  const ConstTensorView counts = workspace_.expert_counts.view();
  return rank_.backend.CopyToHost(counts, TensorView(output.expert_tokens.data(), DType::kInt32, counts.shape()));
}

}  // namespace switchyard
