// One block per token, or a few where a token has many heads. The block's first threads compute the token's cosines
// and sines while the heads' elements are on their way; then each thread turns (or copies) two vectors of one head.
#include <algorithm>

#include "kernels/check.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/rope.h"
#include "kernels/cuda/vector.cuh"

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

// The row that head `head` of token `t` is written to.
template <typename T>
__device__ __forceinline__ T* TargetRow(const RopeAppendKvArgs& args, int64_t t, int head, int32_t sequence,
                                        int32_t position) {
  const int64_t head_dim = args.head_dim;
  if (head < args.num_heads) return static_cast<T*>(args.q_out) + (t * args.num_heads + head) * head_dim;
  int64_t kv_head = head - args.num_heads;
  const bool is_key = kv_head < args.num_kv_heads;
  if (!is_key) kv_head -= args.num_kv_heads;
  const auto page_size = static_cast<int32_t>(args.page_size);
  const int64_t page = args.page_table[sequence * args.page_table_width + position / page_size];
  const int64_t row = (page * args.num_kv_heads + kv_head) * page_size + position % page_size;
  return static_cast<T*>(is_key ? args.k_pages : args.v_pages) + row * head_dim;
}

// kElements divides rotary_dim / 2 and is 8 or 1. grid (tokens, parts of a token's heads).
template <typename T, int kElements>
__global__ void __launch_bounds__(kMaxThreads) RopeAppendKvKernel(RopeAppendKvArgs args) {
  __shared__ __align__(16) float cosines[kMaxHeadDim / 2];
  __shared__ __align__(16) float sines[kMaxHeadDim / 2];
  const int64_t t = blockIdx.x;
  const int32_t sequence = args.token_sequence[t];
  if (sequence < 0) return;
  const int32_t position = args.positions[t];
  const auto head_dim = static_cast<int>(args.head_dim);
  const auto half = static_cast<int>(args.rotary_dim / 2);
  const auto num_heads = static_cast<int>(args.num_heads + 2 * args.num_kv_heads);

  const int items_per_head = (head_dim / kElements + 1) / 2;
  const auto item = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  const int head = item / items_per_head;
  const bool has_work = head < num_heads;
  const VectorPair pair = PairOf<kElements>(item % items_per_head, half, head_dim);
  float first[kElements];
  float second[kElements] = {};
  T* target = nullptr;
  if (has_work) {
    target = TargetRow<T>(args, t, head, sequence, position);
    const T* source = static_cast<const T*>(args.qkv) + (t * num_heads + head) * head_dim;
    LoadElements(source + pair.first, first);
    if (pair.second >= 0) LoadElements(source + pair.second, second);
  }

  for (auto i = static_cast<int>(threadIdx.x); i < half; i += static_cast<int>(blockDim.x)) {
    // The angle is a float32 product, as in the models' training code: far positions differ visibly otherwise.
    const float angle = static_cast<float>(position) * args.inv_freq[i];
    float sine;
    float cosine;
    sincosf(angle, &sine, &cosine);
    cosines[i] = cosine * args.attention_factor;
    sines[i] = sine * args.attention_factor;
  }
  __syncthreads();
  if (!has_work) return;

  if (pair.turns && head < args.num_heads + args.num_kv_heads) {
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
  StoreElements(target + pair.first, first);
  if (pair.second >= 0) StoreElements(target + pair.second, second);
}

template <typename T, int kElements>
void LaunchRope(const RopeAppendKvArgs& args, Stream stream) {
  const int64_t items = (args.num_heads + 2 * args.num_kv_heads) * ((args.head_dim / kElements + 1) / 2);
  const int64_t blocks = (items + kMaxThreads - 1) / kMaxThreads;
  const int64_t warps = ((items + blocks - 1) / blocks + kWarpSize - 1) / kWarpSize;
  Launch(RopeAppendKvKernel<T, kElements>,
         LaunchShape{.grid = dim3(static_cast<unsigned>(args.num_tokens), static_cast<unsigned>(blocks)),
                     .block = dim3(static_cast<unsigned>(warps * kWarpSize))},
         stream, args);
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
