#include "engine/model/decoder.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/model/attention_layer.h"
#include "engine/model/moe_layer.h"

namespace switchyard {
namespace {

constexpr int64_t kMaxOutputRows = 256;

}  // namespace

absl::StatusOr<std::unique_ptr<Decoder>> Decoder::Create(const RankContext& rank, const DecoderLimits& limits,
                                                         ModelWeights weights, KvCache cache) {
  std::unique_ptr<Decoder> decoder(new Decoder(rank, std::move(weights), std::move(cache)));
  decoder->max_rows_ = limits.max_batch_tokens + rank.communicator.size();
  decoder->max_output_rows_ = std::min(kMaxOutputRows, limits.max_batch_tokens);
  absl::StatusOr<Workspace> workspace = Workspace::Create({.max_tokens = decoder->max_rows_,
                                                           .num_heads = rank.attention.num_heads,
                                                           .num_kv_heads = rank.attention.num_kv_heads,
                                                           .max_output_rows = decoder->max_output_rows_},
                                                          rank.spec, rank.backend);
  if (!workspace.ok()) return workspace.status();
  decoder->workspace_ = *std::move(workspace);
  absl::StatusOr<StepIndex> index = StepIndex::Create({.max_tokens = decoder->max_rows_,
                                                       .max_sequences = limits.max_sequences,
                                                       .max_pages_per_sequence = limits.max_pages_per_sequence},
                                                      rank.backend);
  if (!index.ok()) return index.status();
  decoder->index_ = *std::move(index);
  return decoder;
}

absl::StatusOr<StepOutput> Decoder::Step(const Batch& batch) {
  const AttentionParallelism attention =
      rank_.heads_are_split ? AttentionParallelism::kTensorParallel : AttentionParallelism::kReplicated;
  const StepLayout layout =
      MakeStepLayout(batch, LayoutOf(attention, batch.exchange), rank_.communicator.rank(), rank_.communicator.size());
  StepOutput output;
  const uint64_t bytes_before = rank_.exchange.bytes_sent();
  absl::Status status = index_.Fill(batch, layout, rank_.backend);
  if (status.ok()) status = RunLayers(batch, layout, output);
  if (status.ok()) status = RunOutputs(batch, layout, output);
  if (status.ok()) status = CountExperts(layout, output);
  if (status.ok()) status = rank_.backend.Synchronize();
  if (!status.ok()) return status;
  output.exchange_bytes = rank_.exchange.bytes_sent() - bytes_before;
  return output;
}

absl::Status Decoder::RunLayers(const Batch& batch, const StepLayout& layout, StepOutput& output) {
  Backend& backend = rank_.backend;
  const float eps = rank_.spec.rms_norm_eps;
  const int64_t rows = layout.residual.size();
  const TensorView residual = workspace_.residual.Top(rows);
  const TensorView normed = workspace_.normed.Top(rows);
  backend.EmbedTokens(*weights_.embedding, index_.residual_ids(), residual);
  backend.RmsNorm(residual, weights_.layers.front().input_norm.view(), eps, normed);
  for (size_t i = 0; i < weights_.layers.size(); ++i) {
    LayerWeights& layer = weights_.layers[i];
    absl::StatusOr<TensorView> attended =
        RunAttentionLayer(rank_, layer, layout, index_.attention(), cache_.layer(static_cast<int64_t>(i)), workspace_);
    if (!attended.ok()) return attended.status();
    backend.AddRmsNorm(*attended, layer.post_attention_norm.view(), eps, residual, normed);

    absl::StatusOr<TensorView> mixed = RunMoeLayer(rank_, layer, layout, batch.exchange,
                                                   ExpertsOfLayer(static_cast<int64_t>(i), rows), workspace_, output);
    if (!mixed.ok()) return mixed.status();
    const bool is_last = i + 1 == weights_.layers.size();
    const Tensor& next_norm = is_last ? weights_.final_norm : weights_.layers[i + 1].input_norm;
    backend.AddRmsNorm(*mixed, next_norm.view(), eps, residual, normed);
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorView> Decoder::Logits(std::span<const int32_t> tokens, const StepLayout& layout) {
  std::vector<int32_t> rows;
  rows.reserve(tokens.size());
  for (const int32_t token : tokens) rows.push_back(token - static_cast<int32_t>(layout.residual.begin));
  const int64_t count = static_cast<int64_t>(rows.size());
  const TensorView index = workspace_.output_index.Top(count);
  absl::Status status = rank_.backend.CopyFromHost(ConstTensorView::Of(std::span<const int32_t>(rows)), index);
  if (!status.ok()) return status;
  const TensorView hidden = workspace_.output_hidden.Top(count);
  rank_.backend.GatherRows(workspace_.normed.Top(layout.residual.size()), index, hidden);
  const TensorView logits = workspace_.logits.Top(count);
  rank_.backend.Linear(hidden, *weights_.lm_head, logits);
  return logits;
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
    for (size_t i = 0; i < block.size(); ++i) output.samples.push_back({block[i], std::move(tokens[i])});
  });
  if (!status.ok()) return status;
  return for_each_block(batch.scores, layout.scores, [&](auto block, TensorView logits) {
    std::vector<ScoringRow> rows;
    for (const int32_t i : block) rows.push_back(batch.scores[i].row);
    std::vector<ScoredToken> tokens = rank_.backend.Score(logits, rows);
    for (size_t i = 0; i < block.size(); ++i) output.scores.push_back({block[i], std::move(tokens[i])});
  });
}

TensorView Decoder::ExpertsOfLayer(int64_t layer, int64_t tokens) {
  return workspace_.router_experts.view().Rows(layer * max_rows_, layer * max_rows_ + tokens);
}

absl::Status Decoder::CountExperts(const StepLayout& layout, StepOutput& output) {
  output.expert_tokens.assign(static_cast<size_t>(rank_.spec.num_layers * rank_.spec.num_experts), 0);
  // Where every rank holds every token, rank 0 counts.
  if (layout.layout == TokenLayout::kReplicated && rank_.communicator.rank() != 0) return absl::OkStatus();
  const int64_t rows = layout.residual.size();
  std::vector<int32_t> experts(static_cast<size_t>(rows * rank_.spec.experts_per_token));
  const TensorView host = TensorView::Of(std::span(experts), Shape{rows, rank_.spec.experts_per_token});
  for (int64_t layer = 0; layer < rank_.spec.num_layers; ++layer) {
    absl::Status status = rank_.backend.CopyToHost(ExpertsOfLayer(layer, rows), host);
    if (!status.ok()) return status;
    uint32_t* counts = output.expert_tokens.data() + layer * rank_.spec.num_experts;
    for (const int32_t expert : experts) ++counts[expert];
  }
  return absl::OkStatus();
}

}  // namespace switchyard
