// The parts of a sequence's keys in the decode form of paged attention, and how their results come together: in the
// block that ends last where they are few, so that one launch does it all; in a launch of their own where they are
// many. Sums go over the parts in their order, whichever block ends last.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/bits.cuh"
#include "kernels/cuda/paged_attention.h"
#include "kernels/cuda/paged_attention_forms.h"

namespace switchyard::cuda {

// The keys [begin, end) that a query at `position` sees, in parts of `part_keys`, a multiple of `granule`.
struct VisibleKeys {
  // So few keys, in granules, take one block less time than it takes to bring parts together.
  static constexpr int kGranulesOfOnePart = 3;

  int begin;
  int end;
  int part_keys;

  __device__ VisibleKeys(int position, int64_t window, int num_splits, int granule) {
    begin = window > 0 && window <= position ? position - static_cast<int>(window) + 1 : 0;
    end = position + 1;
    const int keys = end - begin;
    part_keys = granule;
    if (keys <= kGranulesOfOnePart * granule) {
      part_keys = kGranulesOfOnePart * granule;
    } else if (keys > num_splits * granule) {  // a division only where there is much else to do
      part_keys = ((keys + num_splits - 1) / num_splits + granule - 1) / granule * granule;
    }
  }
  __device__ bool has_part(int part) const { return part * part_keys < end - begin; }
  __device__ int num_parts() const { return (end - begin + part_keys - 1) / part_keys; }
};

// How many heads of a group the block serves whose first one is number `first`.
__device__ __forceinline__ int HeadsOfBlock(int group, int first) {
  return min(group - first, static_cast<int>(kDecodeHeads));
}

// The row of partial results of one part: a_i [head_dim] in `sums`, {m_i * log2(e), l_i} in `stats`; before them how
// many parts have arrived, for each sequence and block of heads.
struct Partials {
  int32_t* arrivals;
  float* sums;
  float2* stats;

  __device__ Partials(const PagedAttentionArgs& args, int num_splits)
      : arrivals(static_cast<int32_t*>(args.scratch)),
        sums(reinterpret_cast<float*>(arrivals + MaxDecodeArrivals(args.num_heads))),
        stats(reinterpret_cast<float2*>(sums + args.num_sequences * args.num_heads * num_splits * args.head_dim)) {}
};

// m * log2(e) and the sum of exp(m_i - m) l_i over the parts of one head; the warp's lanes share the parts.
struct HeadStats {
  float largest;
  float sum;
};

__device__ __forceinline__ HeadStats CombineStats(const float2* stats, int num_parts) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  float largest = MinusInfinity();
  for (int i = lane; i < num_parts; i += kWarpSize) largest = fmaxf(largest, stats[i].x);
  largest = WarpMax(largest);
  float sum = 0.0f;
  for (int i = lane; i < num_parts; i += kWarpSize) sum += stats[i].y * Exp2(stats[i].x - largest);
  return {largest, WarpSum(sum)};
}

// The partial results that one block adds up: rows first_row + head * num_splits + part of num_parts parts and of
// num_heads heads, counted from 0.
struct PartsOfBlock {
  int64_t first_row;
  int num_splits;
  int num_parts;
  int num_heads;
  int head_dim;
};

// CombinesInBlock() holds. out [num_heads, head_dim]; `weights` is shared memory [kMaxRowsOfBlock].
template <int kThreads, typename T>
__device__ void CombineInBlock(const Partials& partials, const PartsOfBlock& block, float* weights, T* out) {
  constexpr int kAhead = 8;  // rows that a thread keeps under way
  const int num_parts = block.num_parts;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int quads = block.head_dim / 4;
  const int num_items = block.num_heads * quads;
  const auto load = [&](int head, int quad, int first_part, float4(&rows)[kAhead]) {
    const auto* of_head = reinterpret_cast<const float4*>(
        partials.sums + (block.first_row + static_cast<int64_t>(head) * block.num_splits) * block.head_dim);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) rows[i] = of_head[min(first_part + i, num_parts - 1) * quads + quad];
  };

  // The first rows are on their way while their weights are computed.
  const int first_item = min(static_cast<int>(threadIdx.x), num_items - 1);
  float4 rows[kAhead];
  load(first_item / quads, first_item % quads, 0, rows);
  for (int head = warp; head < block.num_heads; head += kThreads / kWarpSize) {
    const float2* stats = partials.stats + block.first_row + static_cast<int64_t>(head) * block.num_splits;
    const auto [largest, sum] = CombineStats(stats, num_parts);
    for (int i = lane; i < num_parts; i += kWarpSize) weights[head * num_parts + i] = Exp2(stats[i].x - largest) / sum;
  }
  __syncthreads();
  for (int item = static_cast<int>(threadIdx.x); item < num_items; item += kThreads) {
    const int head = item / quads;
    const float* of_head = weights + head * num_parts;
    float4 total = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    for (int first_part = 0; first_part < num_parts; first_part += kAhead) {
      if (first_part > 0 || item >= kThreads) load(head, item - head * quads, first_part, rows);
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (first_part + i >= num_parts) break;
        const float weight = of_head[first_part + i];
        total.x += weight * rows[i].x;
        total.y += weight * rows[i].y;
        total.z += weight * rows[i].z;
        total.w += weight * rows[i].w;
      }
    }
    reinterpret_cast<uint2*>(out)[item] = make_uint2(Pack2<T>(total.x, total.y), Pack2<T>(total.z, total.w));
  }
}

// In a launch of its own, behind the one that left the parts, where CombinesInBlock() does not hold. `granule` as
// there.
void CombineParts(const PagedAttentionArgs& args, int64_t num_splits, int granule, Stream stream);

}  // namespace switchyard::cuda
