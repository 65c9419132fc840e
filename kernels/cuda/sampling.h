// Drawing tokens and scoring known ones on the device. Reference: kernels/cpu/sampling.h, whose order of operations,
// ties and random numbers these kernels keep, so that a seed draws the same token on either device (up to rounding of
// the logits and of exponentials: a draw changes where its random number lies within some 1e-7 of a border).
// Bound: memory, 4 * vocab bytes read per row and pass.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/stream.h"
#include "kernels/sampling.h"

namespace switchyard::cuda {

// Rows packed for one upload: a block of bytes that the kernels understand. Plain host code.
class PackedSampling {
 public:
  // Ids outside of the vocabulary are programmers' errors, and so are vocabularies beyond kMaxSampledVocab and more
  // than kMaxTop top log-probabilities (sampling_params.h).
  static PackedSampling Pack(std::span<const SamplingRow> rows, int64_t vocab_size);
  static PackedSampling Pack(std::span<const ScoringRow> rows, int64_t vocab_size);

  std::span<const std::byte> params() const { return params_; }
  // Bytes of the kernels' answer, to be downloaded.
  size_t result_bytes() const { return result_bytes_; }
  std::vector<SampledToken> UnpackSampled(std::span<const std::byte> results) const;
  std::vector<ScoredToken> UnpackScored(std::span<const std::byte> results) const;

  int64_t num_rows() const { return num_rows_; }
  // The largest num_top_logprobs of all rows.
  int32_t max_top() const { return max_top_; }

 private:
  std::vector<std::byte> params_;
  size_t result_bytes_ = 0;
  int64_t num_rows_ = 0;
  int32_t max_top_ = 0;
};

struct SamplingArgs {
  const float* logits = nullptr;  // [rows, vocab]
  int64_t vocab_size = 0;
  const std::byte* params = nullptr;  // device copy of PackedSampling::params()
  std::byte* results = nullptr;       // device, result_bytes()
  std::byte* scratch = nullptr;       // SamplingScratchBytes
};

// Grows no further from kRowGroup rows on. Scratch memory needs no initial values.
size_t SamplingScratchBytes(int64_t max_rows, int64_t vocab_size);
// Some 2 to 16 launches on `stream`, depending on what the rows ask for. What a row gets does not depend on the rows
// beside it, nor on how blocks are scheduled. params and scratch are aligned to 8 bytes at least.
void Sample(const PackedSampling& packed, const SamplingArgs& args, Stream stream);
void Score(const PackedSampling& packed, const SamplingArgs& args, Stream stream);

}  // namespace switchyard::cuda
