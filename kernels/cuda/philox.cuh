// Counter-based random numbers on the device: the same numbers as kernels/cpu/philox.h.
// Source: Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", Philox4x32-10.
#pragma once

#include <cstdint>

namespace switchyard::cuda {

// The four words of block `index` of the stream `seed`; the host's counter {index low, index high, 0, 0}.
__device__ __forceinline__ uint4 PhiloxBlock(uint64_t seed, uint64_t index) {
  constexpr int kRounds = 10;
  uint4 counter = make_uint4(static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), 0, 0);
  uint32_t key0 = static_cast<uint32_t>(seed);
  uint32_t key1 = static_cast<uint32_t>(seed >> 32);
#pragma unroll
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53u} * counter.x;
    const uint64_t product1 = uint64_t{0xCD9E8D57u} * counter.z;
    counter = make_uint4(static_cast<uint32_t>(product1 >> 32) ^ counter.y ^ key0, static_cast<uint32_t>(product1),
                         static_cast<uint32_t>(product0 >> 32) ^ counter.w ^ key1, static_cast<uint32_t>(product0));
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

// Uniform in [0, 1), a multiple of 2^-53, fixed by (seed, draw).
__device__ __forceinline__ double UniformDraw(uint64_t seed, uint64_t draw) {
  const uint4 bits = PhiloxBlock(seed, draw);
  return static_cast<double>((uint64_t{bits.y} << 32 | bits.x) >> 11) * 0x1p-53;
}

}  // namespace switchyard::cuda
