// One block per token, or a few where a token has many heads. All that no other load leads to is asked for at once; the
// page of keys and values follows from it, and is on its way while the block's first threads compute the token's
// cosines and sines. Then each thread turns (or copies) two vectors of one head. A head's threads are in one block,
// where they find its largest magnitude if keys and values get 8 bits.
#include <algorithm>

#include "kernels/check.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/rope.h"
#include "kernels/cuda/vector.cuh"
#include "kernels/kv_scale.h"

namespace switchyard::cuda {
namespace {

constexpr int kMaxThreads = 512;
constexpr int kMaxHeadDim = 256;

// kElements consecutive elements of a row as floats, in one access.
template <int kElements, typename T>
__device__ __forceinline__ void LoadElements(const T* source, float (&values)[kElements]) {
  if constexpr (kElements == kVectorElements) {
    Load8(source, values);
  } else {
    static_assert(kElements == 1);
    values[0] = ToFloat(*source);
  }
}

template <int kElements, typename T>
__device__ __forceinline__ void StoreElements(T* target, const float (&values)[kElements]) {
  if constexpr (kElements == kVectorElements) {
    Store8(target, values);
  } else {
    static_assert(kElements == 1);
    *target = FromFloat<T>(values[0]);
  }
}

__device__ __forceinline__ uint8_t RoundTo8Bits(DType dtype, float value) {
  if (dtype == DType::kFloat8E4M3) return Float8E4M3FromFloat(value).bits;
  return static_cast<uint8_t>(static_cast<int8_t>(fminf(fmaxf(rintf(value), -127.0f), 127.0f)));
}

template <int kElements>
__device__ __forceinline__ void StoreQuantized(DType dtype, float inverse, const float (&values)[kElements],
                                               uint8_t* target) {
  uint8_t bytes[kElements];
#pragma unroll
  for (int e = 0; e < kElements; ++e) bytes[e] = inverse == 0.0f ? 0 : RoundTo8Bits(dtype, values[e] * inverse);
  if constexpr (kElements == kVectorElements) {
    uint32_t words[2] = {};
#pragma unroll
    for (int e = 0; e < kElements; ++e) words[e / 4] |= static_cast<uint32_t>(bytes[e]) << (e % 4 * 8);
    *reinterpret_cast<uint2*>(target) = make_uint2(words[0], words[1]);
  } else {
    *target = bytes[0];
  }
}

template <int kElements>
__device__ __forceinline__ uint32_t LargestMagnitudeBits(const float (&values)[kElements]) {
  uint32_t largest = 0;
#pragma unroll
  for (int e = 0; e < kElements; ++e) largest = max(largest, __float_as_uint(values[e]) & 0x7FFFFFFFu);
  return largest;
}

// Where the two vectors of a thread lie in their head, in elements; second < 0: there is but one.
struct VectorPair {
  int first;
  int second;
  bool turns;
};

// Pair `item` of a head: first the pairs that turn together, then the dimensions that pass through, two by two.
template <int kElements>
__device__ __forceinline__ VectorPair PairOf(int item, int half, int head_dim) {
  const int turning = half / kElements;
  if (item < turning) return {item * kElements, item * kElements + half, true};
  const int first = 2 * half + (item - turning) * 2 * kElements;
  return {first, first + kElements < head_dim ? first + kElements : -1, false};
}

// Where a head of token `t` is written to: a row of head_dim elements.
struct Target {
  void* rows;
  float* scales;  // one per row; null for queries
  int64_t row;
};

// `page` of the pool and the offset in it: of keys and values only.
__device__ __forceinline__ Target TargetOf(const RopeAppendKvArgs& args, int64_t t, int head, int32_t page,
                                           int32_t offset) {
  if (head < args.num_heads) return {args.q_out, nullptr, t * args.num_heads + head};
  int64_t kv_head = head - args.num_heads;
  const bool is_key = kv_head < args.num_kv_heads;
  if (!is_key) kv_head -= args.num_kv_heads;
  const int64_t row = (page * args.num_kv_heads + kv_head) * args.page_size + offset;
  return {is_key ? args.k_pages : args.v_pages, is_key ? args.k_scales : args.v_scales, row};
}

template <int kElements>
__host__ __device__ constexpr int ItemsOfHead(int head_dim) {
  return (head_dim / kElements + 1) / 2;
}

// kElements divides rotary_dim / 2 and is 8 or 1. grid (tokens, parts of a token's heads).
template <typename T, int kElements, bool kQuantized>
__global__ void __launch_bounds__(kMaxThreads) RopeAppendKvKernel(RopeAppendKvArgs args, int heads_of_block) {
  __shared__ __align__(16) float cosines[kMaxHeadDim / 2];
  __shared__ __align__(16) float sines[kMaxHeadDim / 2];
  __shared__ uint32_t largest[kQuantized ? kMaxThreads : 1];  // of each head of the block
  const int64_t t = blockIdx.x;
  const auto thread = static_cast<int>(threadIdx.x);
  const auto head_dim = static_cast<int>(args.head_dim);
  const auto half = static_cast<int>(args.rotary_dim / 2);
  const auto num_heads = static_cast<int>(args.num_heads + 2 * args.num_kv_heads);
  float inv_freq = thread < half ? args.inv_freq[thread] : 0.0f;
  WaitForPrevious();
  LetNextStart();
  const int32_t sequence = args.token_sequence[t];
  const int32_t position = args.positions[t];

  const int items_per_head = ItemsOfHead<kElements>(head_dim);
  const int block_head = thread / items_per_head;
  const int item = thread - block_head * items_per_head;
  const int head = static_cast<int>(blockIdx.y) * heads_of_block + block_head;
  const bool has_work = block_head < heads_of_block && head < num_heads;
  const VectorPair pair = PairOf<kElements>(item, half, head_dim);
  float first[kElements] = {};
  float second[kElements] = {};
  if constexpr (kQuantized) largest[thread] = 0;
  if (has_work) {
    const T* source = static_cast<const T*>(args.qkv) + (t * num_heads + head) * head_dim;
    LoadElements(source + pair.first, first);
    if (pair.second >= 0) LoadElements(source + pair.second, second);
  }
  if (sequence < 0) return;
  const auto page_size = static_cast<int32_t>(args.page_size);
  const int32_t page_idx = position / page_size;
  int32_t page = 0;
  if (has_work && head >= args.num_heads) page = args.page_table[sequence * args.page_table_width + page_idx];

  for (int i = thread; i < half; i += static_cast<int>(blockDim.x)) {
    if (i != thread) inv_freq = args.inv_freq[i];
    // The angle is a float32 product, as in the models' training code: far positions differ visibly otherwise.
    const float angle = static_cast<float>(position) * inv_freq;
    float sine;
    float cosine;
    sincosf(angle, &sine, &cosine);
    cosines[i] = cosine * args.attention_factor;
    sines[i] = sine * args.attention_factor;
  }
  __syncthreads();
  if (!kQuantized && !has_work) return;

  const Target target = TargetOf(args, t, head, page, position - page_idx * page_size);
  if (has_work && pair.turns && head < args.num_heads + args.num_kv_heads) {
#pragma unroll
    for (int e = 0; e < kElements; ++e) {
      const float cosine = cosines[pair.first + e];
      const float sine = sines[pair.first + e];
      const float x = first[e];
      const float y = second[e];
      first[e] = x * cosine - y * sine;
      second[e] = y * cosine + x * sine;
    }
  }
  if constexpr (kQuantized) {
    const bool is_quantized = has_work && target.scales != nullptr;
    if (is_quantized) atomicMax(&largest[block_head], max(LargestMagnitudeBits(first), LargestMagnitudeBits(second)));
    __syncthreads();
    if (!has_work) return;
    if (is_quantized) {
      const DType dtype = *args.kv_dtype;
      const KvScale scale =
          KvScaleOf(largest[block_head], dtype == DType::kInt8 ? kLargestKvElement<int8_t> : kFloat8E4M3Max);
      uint8_t* row = static_cast<uint8_t*>(target.rows) + target.row * head_dim;
      StoreQuantized(dtype, scale.inverse, first, row + pair.first);
      if (pair.second >= 0) StoreQuantized(dtype, scale.inverse, second, row + pair.second);
      if (item == 0) target.scales[target.row] = scale.scale;
      return;
    }
  }
  T* row = static_cast<T*>(target.rows) + target.row * head_dim;
  StoreElements(row + pair.first, first);
  if (pair.second >= 0) StoreElements(row + pair.second, second);
}

template <typename T, int kElements, bool kQuantized>
void LaunchRope(const RopeAppendKvArgs& args, Stream stream) {
  const int64_t items_per_head = ItemsOfHead<kElements>(static_cast<int>(args.head_dim));
  const int64_t heads = args.num_heads + 2 * args.num_kv_heads;
  const int64_t max_heads_of_block = kMaxThreads / items_per_head;
  const int64_t blocks = (heads + max_heads_of_block - 1) / max_heads_of_block;
  const int64_t heads_of_block = (heads + blocks - 1) / blocks;
  const int64_t warps = (heads_of_block * items_per_head + kWarpSize - 1) / kWarpSize;
  Launch(RopeAppendKvKernel<T, kElements, kQuantized>,
         LaunchShape{.grid = dim3(static_cast<unsigned>(args.num_tokens), static_cast<unsigned>(blocks)),
                     .block = dim3(static_cast<unsigned>(warps * kWarpSize))},
         stream, args, static_cast<int>(heads_of_block));
}

template <typename T, int kElements>
void LaunchRope(const RopeAppendKvArgs& args, Stream stream) {
  if (args.kv_dtype.has_value()) {
    LaunchRope<T, kElements, true>(args, stream);
  } else {
    LaunchRope<T, kElements, false>(args, stream);
  }
}

}  // namespace

void RopeAppendKv(const RopeAppendKvArgs& args, Stream stream) {
  if (args.num_tokens == 0) return;
  CHECK(args.num_heads > 0 && args.num_kv_heads > 0 && args.page_size > 0);
  CHECK(args.head_dim > 0 && args.head_dim <= kMaxHeadDim);
  CHECK_EQ(args.head_dim % kVectorElements, 0);
  CHECK(args.rotary_dim >= 0 && args.rotary_dim <= args.head_dim);
  CHECK_EQ(args.rotary_dim % 2, 0);
  CHECK(IsAligned16(args.qkv) && IsAligned16(args.q_out) && IsAligned16(args.k_pages) && IsAligned16(args.v_pages));
  if (args.kv_dtype.has_value()) {
    CHECK(*args.kv_dtype == DType::kFloat8E4M3 || *args.kv_dtype == DType::kInt8);
    CHECK(args.k_scales != nullptr && args.v_scales != nullptr);
  }
  DispatchHalf(args.dtype, [&](auto type) {
    using T = decltype(type);
    if (args.rotary_dim / 2 % kVectorElements == 0) {
      LaunchRope<T, kVectorElements>(args, stream);
    } else {
      LaunchRope<T, 1>(args, stream);
    }
  });
}

}  // namespace switchyard::cuda
