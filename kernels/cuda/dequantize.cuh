// Words of codes (quantized_matrix.h) as pairs of 16-bit numbers, not yet scaled: code - zero, exactly, or the value of
// an NF4 code rounded to T. Pair i is columns 2i (low half) and 2i + 1 of the word.
//
//   extern shared memory -> Dequantizer<T, kFormat>::Prepare(shared, nf4); __syncthreads();
//   const Dequantizer<T, kFormat> dequantize(shared);
//   const uint32_t zero = dequantize.Zero(8);
//   uint32_t pairs[dequantize.kWordPairs];
//   dequantize(word, zero, pairs);
//
// Integers by magic numbers: a number's low mantissa bits are replaced by the code, 0x4300 | code = 128 + code in
// bfloat16 (codes below 128) and 0x6400 | code = 1024 + code in float16, and an addition takes the rest away.
// NF4 by a table of the 256 pairs in shared memory, kCopies times, of which a lane reads copy lane % kCopies: with 32
// no two lanes of a warp share a bank. Per 8 weights: 7 logical instructions and 4 additions, or 8 for addresses and 4
// loads from shared memory, where lookup in registers (prmt) would take 18.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/cuda/bits.cuh"
#include "kernels/cuda/half.cuh"
#include "kernels/cuda/shared_place.cuh"
#include "kernels/quantization/quantization.h"

namespace switchyard::cuda {

// kNf4Values as bits of T; a kernel's parameter, so that threads can index it.
struct Nf4Halves {
  uint16_t bits[16];
};

namespace internal {

// Rounds to nearest, ties to even; 0 or normal in T.
template <typename T>
constexpr uint16_t HalfBits(float value) {
  static_assert(kIsHalf<T>);
  constexpr bool kIsBFloat16 = std::is_same_v<T, BFloat16>;
  constexpr int kDropped = kIsBFloat16 ? 16 : 13;             // bits of the mantissa
  constexpr uint32_t kRebias = kIsBFloat16 ? 0 : 112u << 10;  // of the exponents
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude == 0) return 0;
  const uint32_t half = (1u << (kDropped - 1)) - 1 + (magnitude >> kDropped & 1);
  return static_cast<uint16_t>((((magnitude + half) >> kDropped) - kRebias) | bits >> 31 << 15);
}

}  // namespace internal

template <typename T>
constexpr Nf4Halves MakeNf4Halves() {
  Nf4Halves halves = {};
  for (size_t i = 0; i < kNf4Values.size(); ++i) halves.bits[i] = internal::HalfBits<T>(kNf4Values[i]);
  return halves;
}

template <typename T, WeightFormat kFormat, int kCopies = 32>
class Dequantizer;

template <typename T, int kCopies>
class Dequantizer<T, WeightFormat::kInt4, kCopies> {
 public:
  static constexpr int kWordPairs = 4;
  static constexpr size_t kSharedBytes = 0;

  static __device__ void Prepare(void* /*shared*/, const Nf4Halves& /*nf4*/) {}
  explicit __device__ Dequantizer(const void* /*shared*/) {}

  // What operator() takes, from a zero point up to 127.
  static __device__ __forceinline__ uint32_t Zero(int zero) {
    return (kIsBFloat16 ? 0xC300C300u : 0xE400E400u) | static_cast<uint32_t>(zero) * 0x10001u;
  }
  __device__ __forceinline__ void operator()(uint32_t word, uint32_t zero, uint32_t (&pairs)[kWordPairs]) const {
    constexpr uint32_t kMagic = kIsBFloat16 ? 0x43004300u : 0x64006400u;
    constexpr uint32_t kOne = kIsBFloat16 ? 0x3F803F80u : 0x3C003C00u;
#pragma unroll
    for (int i = 0; i < kWordPairs; ++i) {
      pairs[i] = Fma2<T>(AndOr(word >> (4 * i), 0x000F000Fu, kMagic), kOne, zero);
    }
  }

 private:
  static constexpr bool kIsBFloat16 = std::is_same_v<T, BFloat16>;
};

template <typename T, int kCopies>
class Dequantizer<T, WeightFormat::kInt8, kCopies> {
 public:
  static constexpr int kWordPairs = 2;
  static constexpr size_t kSharedBytes = 0;

  static __device__ void Prepare(void* /*shared*/, const Nf4Halves& /*nf4*/) {}
  explicit __device__ Dequantizer(const void* /*shared*/) {}

  // What operator() takes, from a zero point up to 255.
  static __device__ __forceinline__ uint32_t Zero(int zero) {
    return kIsBFloat16 ? 0xCB000000u | static_cast<uint32_t>(zero)
                       : 0xE400E400u | static_cast<uint32_t>(zero) * 0x10001u;
  }
  __device__ __forceinline__ void operator()(uint32_t word, uint32_t zero, uint32_t (&pairs)[kWordPairs]) const {
    if constexpr (kIsBFloat16) {
      // Bfloat16 has too short a mantissa: 2^23 + code in float32.
      float values[4];
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) {
        values[i] = __uint_as_float(PermuteBytes(word, 0x4B000000u, 0x7440u + i)) + __uint_as_float(zero);
      }
      pairs[0] = Pack2<T>(values[0], values[1]);
      pairs[1] = Pack2<T>(values[2], values[3]);
    } else {
      constexpr uint32_t kOne = 0x3C003C00u;
      pairs[0] = Fma2<T>(PermuteBytes(word, 0x64646464u, 0x4140u), kOne, zero);
      pairs[1] = Fma2<T>(PermuteBytes(word, 0x64646464u, 0x4342u), kOne, zero);
    }
  }

 private:
  static constexpr bool kIsBFloat16 = std::is_same_v<T, BFloat16>;
};

template <typename T, int kCopies>
class Dequantizer<T, WeightFormat::kNf4, kCopies> {
 public:
  static_assert(kCopies >= 4 && kCopies <= 32 && (kCopies & (kCopies - 1)) == 0);
  static constexpr int kWordPairs = 4;
  static constexpr size_t kSharedBytes = size_t{256} * kCopies * sizeof(uint32_t);

  // By all threads of the block (of one dimension); readers wait for a barrier. `shared` is aligned to 16 bytes.
  static __device__ void Prepare(void* shared, const Nf4Halves& nf4) {
    constexpr int kVectors = kCopies / 4;  // of an entry
    auto* table = static_cast<uint4*>(shared);
    for (unsigned i = threadIdx.x; i < 256 * kVectors; i += blockDim.x) {
      const unsigned byte = i / kVectors;
      const uint32_t pair = nf4.bits[byte & 15] | static_cast<uint32_t>(nf4.bits[byte >> 4]) << 16;
      table[i] = make_uint4(pair, pair, pair, pair);
    }
  }
  explicit __device__ Dequantizer(const void* shared)
      : table_(static_cast<const uint32_t*>(shared) + threadIdx.x % kCopies) {}

  static __device__ __forceinline__ uint32_t Zero(int /*zero*/) { return 0; }
  __device__ __forceinline__ void operator()(uint32_t word, uint32_t /*zero*/, uint32_t (&pairs)[kWordPairs]) const {
#pragma unroll
    for (uint32_t i = 0; i < kWordPairs; ++i) {
      pairs[i] = table_.At(PermuteBytes(word, 0, 0x4440 + i) * (kCopies * sizeof(uint32_t))).LoadConstant();
    }
  }

 private:
  SharedPlace table_;  // this lane's copy
};

}  // namespace switchyard::cuda
