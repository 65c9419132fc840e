// Numbers that stand for tokens in selections: keys whose order as integers is the order of the tokens, and masses that
// add up exactly in any order, so that no result depends on how a row was divided or scheduled.
#pragma once

#include <cstdint>

namespace switchyard::cuda {

// Logits
// ---------------------------------------------------------------------------------------------------------------

// Larger logits have larger keys; both zeros have the same one.
__device__ __forceinline__ uint32_t LogitKey(float logit) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float LogitOfKey(uint32_t key) {
  return __uint_as_float(key >> 31 != 0 ? key & 0x7FFFFFFFu : ~key);
}

// A logit and its id in one number: the largest is the row's most likely token, the lowest id among equals. NaN and
// +infinity surpass all, and 0 comes before all.
constexpr uint32_t kInvalidKey = 0xFFFFFFFFu;
constexpr uint32_t kMinusInfinityKey = 0x007FFFFFu;

__device__ __forceinline__ uint64_t PackedBest(float logit, int32_t id) {
  constexpr float kInfinity = __builtin_huge_valf();
  const uint32_t key = logit < kInfinity ? LogitKey(logit) : kInvalidKey;
  return uint64_t{key} << 32 | ~static_cast<uint32_t>(id);
}

__device__ __forceinline__ float BestLogit(uint64_t best) { return LogitOfKey(static_cast<uint32_t>(best >> 32)); }
__device__ __forceinline__ int32_t BestId(uint64_t best) { return static_cast<int32_t>(~static_cast<uint32_t>(best)); }

// False if the row held NaN or +infinity, or nothing above -infinity.
__device__ __forceinline__ bool IsDistribution(uint64_t best) {
  const auto key = static_cast<uint32_t>(best >> 32);
  return key != kInvalidKey && key > kMinusInfinityKey;
}

// Weights: unnormalised probabilities in [0, 1] -----------------------------------------------------------------------

__device__ __forceinline__ float TokenWeight(float logit, float largest, float temperature) {
  return expf((logit - largest) / temperature);
}

// The bits of a float in [0, 1] are below 2^30: they are moved up, to fill the first digit.
__device__ __forceinline__ uint32_t WeightKey(float weight) { return __float_as_uint(weight) << 2; }
__device__ __forceinline__ float WeightOfKey(uint32_t key) { return __uint_as_float(key >> 2); }

// A weight in units of 2^-45. Exact for weights of 2^-21 and more; below, the rest is cut off, and what is under 2^-45
// (of the most likely token's weight) is never drawn. The mass of a row is less than 2^64.
__device__ __forceinline__ uint64_t Mass(float weight) { return static_cast<uint64_t>(weight * 0x1p45f); }

// A mass as significand * 2^shift, where the shift depends on the key's exponent alone and the significand has at most
// 24 bits: tokens of one bin of a histogram add up as 32-bit halves of their significands.
__device__ __forceinline__ int MassShift(uint32_t key) {
  constexpr int kShiftlessExponent = 105;  // 2^(exponent - 127) * significand / 2^23 in units of 2^-45
  const int exponent = static_cast<int>(key >> 25);
  return exponent > kShiftlessExponent ? exponent - kShiftlessExponent : 0;
}
__device__ __forceinline__ uint32_t MassSignificand(uint32_t key) {
  return static_cast<uint32_t>(Mass(WeightOfKey(key)) >> MassShift(key));
}
constexpr int kSignificandHalfBits = 12;  // sums of 2^19 halves fit 32 bits

}  // namespace switchyard::cuda
