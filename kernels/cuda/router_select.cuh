// The choice of experts for one token by one warp, from logits in shared memory.
#pragma once

#include <cstdint>

#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda {

inline constexpr int kMaxExperts = 512;
inline constexpr int kMaxTopK = 16;

// Orders like the floats, with -0 equal to 0 and NaN below all others; never 0.
__device__ __forceinline__ uint32_t OrderedKey(float value) {
  if (value != value) return 1;
  const uint32_t bits = __float_as_uint(value + 0.0f);  // + 0 turns -0 into 0
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

// An expert that may be chosen; key 0: none.
struct Candidate {
  uint32_t key;
  int expert;
};

// The best candidate of the warp, the lowest expert among equals.
__device__ __forceinline__ Candidate WarpBest(Candidate best) {
#pragma unroll
  for (int offset = kWarpSize / 2; offset > 0; offset /= 2) {
    const Candidate other = {__shfl_xor_sync(kFullWarp, best.key, offset),
                             __shfl_xor_sync(kFullWarp, best.expert, offset)};
    if (other.key > best.key || (other.key == best.key && other.expert < best.expert)) best = other;
  }
  return best;
}

// What lane k < top_k holds of the k-th choice; other lanes' values have no meaning.
struct Choice {
  int expert;
  float weight;
};

// logits [num_experts] in shared memory; all lanes take part. The experts are distinct and in range whatever the
// logits; one NaN makes every weight NaN, as a softmax does.
__device__ __forceinline__ Choice SelectExperts(const float* logits, int num_experts, int top_k, bool renormalize) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  uint32_t taken = 0;  // bit i: expert lane + 32 i
  Choice choice = {0, 0.0f};
  float largest = 0.0f;
  for (int k = 0; k < top_k; ++k) {
    Candidate best = {0, kMaxExperts};
    for (int i = 0; lane + i * kWarpSize < num_experts; ++i) {
      const uint32_t key = (taken >> i & 1) != 0 ? 0 : OrderedKey(logits[lane + i * kWarpSize]);
      if (key > best.key) best = {key, lane + i * kWarpSize};
    }
    best = WarpBest(best);
    if (k == 0) largest = logits[best.expert];
    if (best.expert % kWarpSize == lane) taken |= 1u << (best.expert / kWarpSize);
    if (k == lane) choice = {best.expert, expf(logits[best.expert] - largest)};
  }
  float sum = 0.0f;
  for (int e = lane; e < num_experts; e += kWarpSize) sum += expf(logits[e] - largest);
  sum = WarpSum(sum);
  const float chosen_sum = WarpSum(lane < top_k ? choice.weight : 0.0f);
  choice.weight /= renormalize && sum == sum ? chosen_sum : sum;
  return choice;
}

}  // namespace switchyard::cuda
