// The choice of experts: for one token by one warp, from logits in shared memory; for four tokens of at most eight
// experts by one warp, from logits in registers.
#pragma once

#include <cstdint>

#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda {

inline constexpr int kMaxExperts = 512;
inline constexpr int kMaxTopK = 16;
inline constexpr int kFewExperts = 8;

// Orders like the floats, with -0 equal to 0 and NaN below all others; never 0.
__device__ __forceinline__ uint32_t OrderedKey(float value) {
  if (value != value) return 1;
  const uint32_t bits = __float_as_uint(value + 0.0f);  // + 0 turns -0 into 0
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

// The value of a key; NaN of 1.
__device__ __forceinline__ float ValueOfKey(uint32_t key) {
  return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7FFFFFFFu : ~key);
}

// An expert that may be chosen; key 0: none.
struct Candidate {
  uint32_t key;
  int expert;
};

// The best candidate of the warp, the lowest expert among equals.
__device__ __forceinline__ Candidate WarpBest(Candidate best) {
  const uint32_t key = __reduce_max_sync(kFullWarp, best.key);
  const auto expert = static_cast<uint32_t>(best.key == key ? best.expert : kMaxExperts);
  return {key, static_cast<int>(__reduce_min_sync(kFullWarp, expert))};
}

// What lane k < top_k holds of the k-th choice; other lanes' values have no meaning.
struct Choice {
  int expert;
  float weight;
};

// Lane k < top_k gets the k-th choice's expert; every lane the key of the first. A lane keeps the keys of kKeys
// experts.
template <int kKeys>
__device__ __forceinline__ Candidate ChooseExperts(const float* logits, int num_experts, int top_k) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  uint32_t keys[kKeys];  // of expert lane + 32 i
#pragma unroll
  for (int i = 0; i < kKeys; ++i) {
    const int expert = lane + i * kWarpSize;
    keys[i] = expert < num_experts ? OrderedKey(logits[expert]) : 0;
  }
  Candidate choice = {0, 0};
  for (int k = 0; k < top_k; ++k) {
    Candidate best = {0, kMaxExperts};
#pragma unroll
    for (int i = 0; i < kKeys; ++i) {
      if (keys[i] > best.key) best = {keys[i], lane + i * kWarpSize};
    }
    best = WarpBest(best);
    if (k == 0) choice.key = best.key;
    if (k == lane) choice.expert = best.expert;
#pragma unroll
    for (int i = 0; i < kKeys; ++i) {
      if (best.expert == lane + i * kWarpSize) keys[i] = 0;
    }
  }
  return choice;
}

// logits [num_experts] in shared memory; all lanes take part. The experts are distinct and in range whatever the
// logits; one NaN makes every weight NaN, as a softmax does.
__device__ __forceinline__ Choice SelectExperts(const float* logits, int num_experts, int top_k, bool renormalize) {
  constexpr int kFewKeys = 4;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const Candidate chosen = num_experts <= kFewKeys * kWarpSize
                               ? ChooseExperts<kFewKeys>(logits, num_experts, top_k)
                               : ChooseExperts<kMaxExperts / kWarpSize>(logits, num_experts, top_k);
  const float largest = ValueOfKey(chosen.key);
  Choice choice = {chosen.expert, expf(logits[chosen.expert] - largest)};
  float sum = 0.0f;
  for (int e = lane; e < num_experts; e += kWarpSize) sum += expf(logits[e] - largest);
  sum = WarpSum(sum);
  const float chosen_sum = WarpSum(lane < top_k ? choice.weight : 0.0f);
  choice.weight /= renormalize && sum == sum ? chosen_sum : sum;
  return choice;
}

// The place of a lane's expert among those of its token, 0 the first, and the weight that it has if it is chosen.
struct RankedExpert {
  int rank;
  float weight;
};

// Lane 8 t + e gives the logit of token t and expert e; all lanes take part. Ranks below top_k are those of
// SelectExperts, with its weights but for the order of sums; those of lanes with e >= num_experts are not.
__device__ __forceinline__ RankedExpert RankFewExperts(float logit, int num_experts, int top_k, bool renormalize) {
  const int expert = static_cast<int>(threadIdx.x) % kFewExperts;
  const uint32_t key = expert < num_experts ? OrderedKey(logit) : 0;
  uint32_t largest = 0;
  RankedExpert choice = {0, 0.0f};
#pragma unroll
  for (int other = 0; other < kFewExperts; ++other) {
    const uint32_t other_key = __shfl_sync(kFullWarp, key, other, kFewExperts);
    choice.rank += other_key > key || (other_key == key && other < expert);
    largest = max(largest, other_key);
  }
  const float power = expert < num_experts ? expf(logit - ValueOfKey(largest)) : 0.0f;
  float sum = power;
  float chosen_sum = choice.rank < top_k ? power : 0.0f;
#pragma unroll
  for (int offset = kFewExperts / 2; offset > 0; offset /= 2) {
    sum += __shfl_xor_sync(kFullWarp, sum, offset);
    chosen_sum += __shfl_xor_sync(kFullWarp, chosen_sum, offset);
  }
  choice.weight = power / (renormalize && sum == sum ? chosen_sum : sum);
  return choice;
}

}  // namespace switchyard::cuda
