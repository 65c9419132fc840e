// Adds up the parts of decode attention where they are too many for the block that ends last.
#include <cstdint>

#include "kernels/cuda/bits.cuh"
#include "kernels/cuda/dependency.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/paged_attention_combine.cuh"
#include "kernels/cuda/paged_attention_forms.h"

namespace switchyard::cuda {
namespace {

// The token of a sequence with exactly one in the step, else -1.
__device__ int OnlyToken(const PagedAttentionArgs& args, int sequence) {
  const int token = args.sequence_begin[sequence];
  return args.sequence_begin[sequence + 1] - token == 1 ? token : -1;
}

constexpr int kCombineWarps = 8;

// Grid: (sequences, heads). Warps share the parts, lanes the dimensions, four at a time.
template <typename T>
__global__ void __launch_bounds__(kCombineWarps* kWarpSize)
    CombineKernel(PagedAttentionArgs args, int num_splits, int granule) {
  WaitForPrevious();
  LetNextStart();
  constexpr int kMaxDim = 256;
  __shared__ float4 warp_out[kCombineWarps][kMaxDim / 4];
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int sequence = static_cast<int>(blockIdx.x);
  const int head = static_cast<int>(blockIdx.y);
  const int token = OnlyToken(args, sequence);
  if (token < 0) return;
  const int num_parts = VisibleKeys(args.positions[token], args.sliding_window, num_splits, granule).num_parts();
  const auto group = static_cast<int>(args.num_heads / args.num_kv_heads);
  const int first_of_block = head % group / static_cast<int>(kDecodeHeads) * static_cast<int>(kDecodeHeads);
  // The block of the only part, or of the last of few, wrote the output.
  if (num_parts == 1 || CombinesInBlock(num_parts, HeadsOfBlock(group, first_of_block))) return;

  const Partials partials(args, num_splits);
  const int64_t first_part = (static_cast<int64_t>(sequence) * args.num_heads + head) * num_splits;
  const float2* stats = partials.stats + first_part;
  const auto [largest, sum] = CombineStats(stats, num_parts);

  const int quads = static_cast<int>(args.head_dim) / 4;
  for (int quad = lane; quad < quads; quad += kWarpSize) {
    float4 total = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 4
    for (int i = warp; i < num_parts; i += kCombineWarps) {
      const float weight = Exp2(stats[i].x - largest);
      const float4 part = reinterpret_cast<const float4*>(partials.sums + (first_part + i) * args.head_dim)[quad];
      total.x += weight * part.x;
      total.y += weight * part.y;
      total.z += weight * part.z;
      total.w += weight * part.w;
    }
    warp_out[warp][quad] = total;
  }
  __syncthreads();
  T* out = static_cast<T*>(args.out) + (static_cast<int64_t>(token) * args.num_heads + head) * args.head_dim;
  for (int quad = static_cast<int>(threadIdx.x); quad < quads; quad += kCombineWarps * kWarpSize) {
    float4 total = warp_out[0][quad];
    for (int w = 1; w < kCombineWarps; ++w) {
      total.x += warp_out[w][quad].x;
      total.y += warp_out[w][quad].y;
      total.z += warp_out[w][quad].z;
      total.w += warp_out[w][quad].w;
    }
    reinterpret_cast<uint2*>(out)[quad] =
        make_uint2(Pack2<T>(total.x / sum, total.y / sum), Pack2<T>(total.z / sum, total.w / sum));
  }
}

}  // namespace

void CombineParts(const PagedAttentionArgs& args, int64_t num_splits, int granule, Stream stream) {
  DispatchHalf(args.dtype, [&](auto half) {
    Launch(CombineKernel<decltype(half)>,
           LaunchShape{.grid = dim3(static_cast<unsigned>(args.num_sequences), static_cast<unsigned>(args.num_heads)),
                       .block = dim3(kCombineWarps * kWarpSize)},
           stream, args, static_cast<int>(num_splits), granule);
  });
}

}  // namespace switchyard::cuda
