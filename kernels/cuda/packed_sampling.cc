// The host's side of sampling: what the kernels need of each row, and their answers.
#include <algorithm>
#include <cstring>

#include "kernels/check.h"
#include "kernels/cuda/sampling.h"
#include "kernels/cuda/sampling_params.h"

namespace switchyard::cuda {
namespace {

bool ById(const Adjustment& a, const Adjustment& b) {
  return (a.id_and_flag & ~Adjustment::kRepetition) < (b.id_and_flag & ~Adjustment::kRepetition);
}

void SortById(std::vector<Adjustment>& adjustments) {
  // Callers send ascending ids.
  if (!std::is_sorted(adjustments.begin(), adjustments.end(), ById)) {
    std::stable_sort(adjustments.begin(), adjustments.end(), ById);
  }
}

uint32_t CheckedId(int32_t id, int64_t vocab_size) {
  CHECK(id >= 0 && id < vocab_size);
  return static_cast<uint32_t>(id);
}

// Biases first, then penalties, as the CPU applies them.
std::vector<Adjustment> MakeAdjustments(const SamplingRow& row, int64_t vocab_size) {
  std::vector<Adjustment> biases, penalties, all;
  biases.reserve(row.biases.size());
  penalties.reserve(row.counts.size());
  for (const auto& [id, bias] : row.biases) biases.push_back({CheckedId(id, vocab_size), bias});
  for (const TokenCount& count : row.counts) {
    Adjustment penalty{CheckedId(count.id, vocab_size), 0};
    if (count.in_prompt > 0 || count.in_output > 0) penalty.id_and_flag |= Adjustment::kRepetition;
    if (count.in_output > 0) {
      penalty.add = -(row.presence_penalty + row.frequency_penalty * static_cast<float>(count.in_output));
    }
    penalties.push_back(penalty);
  }
  SortById(biases);
  SortById(penalties);
  all.reserve(biases.size() + penalties.size());
  std::merge(biases.begin(), biases.end(), penalties.begin(), penalties.end(), std::back_inserter(all), ById);
  return all;
}

template <typename T>
uint32_t Append(std::vector<std::byte>& bytes, const std::vector<T>& values) {
  const size_t offset = bytes.size();
  CHECK_LE(offset, size_t{UINT32_MAX});
  bytes.resize(offset + values.size() * sizeof(T));
  std::memcpy(bytes.data() + offset, values.data(), values.size() * sizeof(T));
  return static_cast<uint32_t>(offset);
}

void AppendAdjustments(const std::vector<Adjustment>& adjustments, int64_t vocab_size, RowParams& params,
                       std::vector<std::byte>& bytes) {
  if (adjustments.empty()) return;
  params.phases |= kAdjusts;
  std::vector<int32_t> chunk_begin(static_cast<size_t>(NumChunks(vocab_size)) + 1);
  for (size_t chunk = 0; chunk < chunk_begin.size(); ++chunk) {
    const Adjustment first{static_cast<uint32_t>(chunk * kChunkTokens), 0};
    chunk_begin[chunk] = static_cast<int32_t>(std::lower_bound(adjustments.begin(), adjustments.end(), first, ById) -
                                              adjustments.begin());
  }
  params.chunk_begin_bytes = Append(bytes, chunk_begin);
  params.adjustments_bytes = Append(bytes, adjustments);
}

void AppendMask(const TokenMask* allowed, int64_t vocab_size, RowParams& params, std::vector<std::byte>& bytes) {
  if (allowed == nullptr) return;
  params.phases |= kMasks;
  TokenMask words = *allowed;
  words.resize((static_cast<size_t>(vocab_size) + 31) / 32);
  params.mask_bytes = Append(bytes, words);
}

void SetTop(int32_t num_top, int64_t vocab_size, uint32_t& top_size, RowParams& params) {
  params.num_top = static_cast<int32_t>(std::clamp<int64_t>(num_top, 0, vocab_size));
  CHECK_LE(params.num_top, kMaxTop);
  if (params.num_top > 0) params.phases |= kTopLogits | kLogProbs;
  params.top_begin = top_size;
  top_size += static_cast<uint32_t>(params.num_top);
}

// Row by row, since params may lie at any address.
RowParams ParamsOf(std::span<const std::byte> params, size_t row) {
  RowParams result;
  std::memcpy(&result, params.data() + row * sizeof(RowParams), sizeof(result));
  return result;
}

struct RowAnswer {
  RowResult result;
  std::vector<TokenLogProb> top;
};

RowAnswer AnswerOf(std::span<const std::byte> results, size_t num_rows, size_t row, const RowParams& params) {
  RowAnswer answer;
  std::memcpy(&answer.result, results.data() + row * sizeof(RowResult), sizeof(RowResult));
  if (answer.result.id < 0 || params.num_top == 0) return answer;
  answer.top.resize(static_cast<size_t>(params.num_top));
  std::memcpy(answer.top.data(),
              results.data() + num_rows * sizeof(RowResult) + params.top_begin * sizeof(TokenLogProb),
              answer.top.size() * sizeof(TokenLogProb));
  return answer;
}

}  // namespace

PackedSampling PackedSampling::Pack(std::span<const SamplingRow> rows, int64_t vocab_size) {
  CHECK(vocab_size > 0 && vocab_size <= kMaxSampledVocab);
  PackedSampling packed;
  packed.num_rows_ = static_cast<int64_t>(rows.size());
  packed.params_.resize(rows.size() * sizeof(RowParams));
  uint32_t top_size = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const SamplingRow& row = rows[i];
    RowParams params = {.seed = row.seed,
                        .draw = row.draw,
                        .temperature = row.temperature,
                        .top_k = row.top_k,
                        .top_p = row.top_p,
                        .min_p = row.min_p,
                        .repetition_penalty = row.repetition_penalty};
    if (row.temperature > 0 && row.top_k != 1) {
      params.phases |= kDraws;
      if (row.top_k > 0 && row.top_k < vocab_size) params.phases |= kTopK;
      if (row.top_p < 1) params.phases |= kTopP;
    }
    if (row.num_top_logprobs >= 0) {
      params.phases |= kLogProbs;
      params.logprob_of = kChosenToken;
    }
    SetTop(row.num_top_logprobs, vocab_size, top_size, params);
    packed.max_top_ = std::max(packed.max_top_, params.num_top);
    AppendAdjustments(MakeAdjustments(row, vocab_size), vocab_size, params, packed.params_);
    AppendMask(row.allowed.get(), vocab_size, params, packed.params_);
    std::memcpy(packed.params_.data() + i * sizeof(RowParams), &params, sizeof(params));
  }
  packed.result_bytes_ = rows.size() * sizeof(RowResult) + top_size * sizeof(TokenLogProb);
  return packed;
}

PackedSampling PackedSampling::Pack(std::span<const ScoringRow> rows, int64_t vocab_size) {
  CHECK(vocab_size > 0 && vocab_size <= kMaxSampledVocab);
  PackedSampling packed;
  packed.num_rows_ = static_cast<int64_t>(rows.size());
  packed.params_.resize(rows.size() * sizeof(RowParams));
  uint32_t top_size = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    RowParams params;
    if (rows[i].target >= 0) {
      params.phases |= kLogProbs;
      params.logprob_of = static_cast<int32_t>(CheckedId(rows[i].target, vocab_size));
    }
    SetTop(rows[i].num_top_logprobs, vocab_size, top_size, params);
    packed.max_top_ = std::max(packed.max_top_, params.num_top);
    std::memcpy(packed.params_.data() + i * sizeof(RowParams), &params, sizeof(params));
  }
  packed.result_bytes_ = rows.size() * sizeof(RowResult) + top_size * sizeof(TokenLogProb);
  return packed;
}

std::vector<SampledToken> PackedSampling::UnpackSampled(std::span<const std::byte> results) const {
  CHECK_EQ(results.size(), result_bytes_);
  std::vector<SampledToken> tokens(static_cast<size_t>(num_rows_));
  for (size_t i = 0; i < tokens.size(); ++i) {
    RowAnswer answer = AnswerOf(results, tokens.size(), i, ParamsOf(params_, i));
    tokens[i] = {.id = answer.result.id, .logprob = answer.result.logprob, .top = std::move(answer.top)};
  }
  return tokens;
}

std::vector<ScoredToken> PackedSampling::UnpackScored(std::span<const std::byte> results) const {
  CHECK_EQ(results.size(), result_bytes_);
  std::vector<ScoredToken> tokens(static_cast<size_t>(num_rows_));
  for (size_t i = 0; i < tokens.size(); ++i) {
    RowAnswer answer = AnswerOf(results, tokens.size(), i, ParamsOf(params_, i));
    tokens[i] = {.logprob = answer.result.logprob, .top1 = answer.result.id, .top = std::move(answer.top)};
  }
  return tokens;
}

size_t SamplingScratchBytes(int64_t max_rows, int64_t vocab_size) {
  const auto rows = static_cast<size_t>(std::min(max_rows, kRowGroup));
  return rows * (sizeof(RowScratch) + static_cast<size_t>(NumChunks(vocab_size)) * sizeof(ChunkStats));
}

}  // namespace switchyard::cuda
