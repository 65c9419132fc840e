// What the sampling kernels share: the row of a block, its logits, and its state.
#pragma once

#include <cstdint>

#include "kernels/cuda/block_scan.cuh"
#include "kernels/cuda/sampling_phases.h"
#include "kernels/cuda/token_key.cuh"

namespace switchyard::cuda {

// The row that block (.., y) works for.
struct BlockRow {
  const RowParams& params;
  const float* logits;
  RowScratch& scratch;
  ChunkStats* chunks;

  __device__ bool Needs(uint32_t phases) const { return (params.phases & phases) != 0; }
};

__device__ __forceinline__ BlockRow RowOfBlock(const SamplingView& view) {
  const int row = static_cast<int>(blockIdx.y);
  return {reinterpret_cast<const RowParams*>(view.params)[view.first_row + row],
          view.logits + static_cast<size_t>(row) * view.vocab_size, view.rows[row],
          view.chunks + static_cast<size_t>(row) * view.num_chunks};
}

// PackedBest of the row, for every thread; after the scan.
__device__ __forceinline__ uint64_t RowBest(const SamplingView& view, const BlockRow& row, uint64_t* space) {
  static_assert(kMaxSampledVocab <= int64_t{kScanThreads} * kChunkTokens, "one thread per chunk");
  const int chunk = static_cast<int>(threadIdx.x);
  return BlockMax(chunk < view.num_chunks ? row.chunks[chunk].best : 0, space);
}

constexpr int kTokensPerThread = kChunkTokens / kScanThreads;

// The raw logits of a chunk to shared memory [kChunkTokens], readable by every thread on return; the number of tokens.
__device__ __forceinline__ int LoadChunk(const SamplingView& view, const BlockRow& row, int chunk, float* values) {
  const int first = chunk * kChunkTokens;
  const int size = min(kChunkTokens, view.vocab_size - first);
  float loaded[kTokensPerThread];
#pragma unroll
  for (int k = 0; k < kTokensPerThread; ++k) {
    const int i = static_cast<int>(threadIdx.x) + k * kScanThreads;
    if (i < size) loaded[k] = __ldg(row.logits + first + i);
  }
#pragma unroll
  for (int k = 0; k < kTokensPerThread; ++k) {
    const int i = static_cast<int>(threadIdx.x) + k * kScanThreads;
    if (i < size) values[i] = loaded[k];
  }
  __syncthreads();
  return size;
}

// The mask of a row that has one, on a loaded chunk: NaN and +infinity stay, since they spoil the row wherever they
// are.
__device__ __forceinline__ void MaskChunk(const SamplingView& view, const BlockRow& row, int chunk, float* values) {
  constexpr float kInfinity = __builtin_huge_valf();
  static_assert(kChunkTokens % 32 == 0, "a chunk has words of its own");
  const auto* words = reinterpret_cast<const uint32_t*>(view.params + row.params.mask_bytes);
  const int first = chunk * kChunkTokens;
  const int size = min(kChunkTokens, view.vocab_size - first);
  for (int i = static_cast<int>(threadIdx.x); i < size; i += kScanThreads) {
    const bool allowed = (words[(first + i) / 32] >> ((first + i) % 32) & 1u) != 0;
    if (!allowed && values[i] < kInfinity) values[i] = -kInfinity;
  }
  __syncthreads();
}

// Bias and penalties of a row that has any, on a loaded chunk. The first of the adjustments of one id does them all.
__device__ __forceinline__ void AdjustChunk(const SamplingView& view, const BlockRow& row, int chunk, float* values) {
  const auto* chunk_begin = reinterpret_cast<const int32_t*>(view.params + row.params.chunk_begin_bytes);
  const auto* adjustments = reinterpret_cast<const Adjustment*>(view.params + row.params.adjustments_bytes);
  const auto id_of = [&](int i) { return adjustments[i].id_and_flag & ~Adjustment::kRepetition; };
  const float repetition_penalty = row.params.repetition_penalty;
  const int begin = chunk_begin[chunk];
  const int end = chunk_begin[chunk + 1];
  for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kScanThreads) {
    const uint32_t id = id_of(i);
    if (i > begin && id_of(i - 1) == id) continue;
    float& value = values[id - static_cast<uint32_t>(chunk) * kChunkTokens];
    for (int j = i; j < end && id_of(j) == id; ++j) {
      if ((adjustments[j].id_and_flag & Adjustment::kRepetition) != 0) {
        // An addition of 0 keeps the product from being fused with the next addition, which the CPU rounds by itself.
        value = value > 0 ? value / repetition_penalty : fmaf(value, repetition_penalty, 0.0f);
      }
      value += adjustments[j].add;
    }
  }
  __syncthreads();
}

__device__ __forceinline__ void ChangeChunk(const SamplingView& view, const BlockRow& row, int chunk, float* values) {
  if (row.Needs(kMasks)) MaskChunk(view, row, chunk, values);
  if (row.Needs(kAdjusts)) AdjustChunk(view, row, chunk, values);
}

__device__ __forceinline__ int LoadAdjustedChunk(const SamplingView& view, const BlockRow& row, int chunk,
                                                 float* values) {
  const int size = LoadChunk(view, row, chunk, values);
  ChangeChunk(view, row, chunk, values);
  return size;
}

// The tokens that may be drawn: what top-k and top-p left, with at least min_p of the largest weight, which is 1.
__device__ __forceinline__ Cut KeptCut(const BlockRow& row) {
  const uint32_t floor = WeightKey(row.params.min_p);
  return floor > row.scratch.cut.key ? Cut{floor, UINT32_MAX} : row.scratch.cut;
}

}  // namespace switchyard::cuda
