// A stable counting sort. Pairs are divided into chunks of kChunkPairs, one per block, and those into slices of
// kSlicePairs, one per warp, whose lanes keep their pairs in registers:
//
//   entry(p) = entries of lower experts + the expert's entries in earlier chunks, in earlier slices, earlier in the
//   slice
//
// Nothing depends on the order of atomics; there are none. With several chunks a first launch counts.
#include <algorithm>

#include "kernels/cuda/expert_permutation.h"
#include "kernels/cuda/expert_permutation_few.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kMaxWarps = 32;
constexpr int kPairsPerLane = 8;
constexpr int kSlicePairs = kPairsPerLane * kWarpSize;
constexpr int kChunkPairs = static_cast<int>(kExpertChunkPairs);
static_assert(kChunkPairs == kMaxWarps * kSlicePairs);

struct Params {
  int32_t num_pairs;
  int32_t top_k;
  uint32_t first_slot;
  int32_t num_experts;
  int32_t num_chunks;
  int32_t max_active_experts;
  int32_t max_tiles;
  const int32_t* slots;
  const float* weights;
  ExpertPermutation out;
};

// The pair that this lane keeps as number i.
__device__ __forceinline__ int32_t PairOf(int i) {
  return static_cast<int32_t>(blockIdx.x * kChunkPairs + threadIdx.x / kWarpSize * kSlicePairs + i * kWarpSize +
                              threadIdx.x % kWarpSize);
}

// counts [warps, num_experts] of shared memory becomes the number of entries of each slice and expert; expert[i] the
// local expert of this lane's pair i, or num_experts; rank[i] its place among the slice's entries of that expert.
__device__ void CountSlices(const Params& p, int32_t* counts, int32_t (&expert)[kPairsPerLane],
                            int32_t (&rank)[kPairsPerLane]) {
  const int num_warps = blockDim.x / kWarpSize;
  for (int i = threadIdx.x; i < num_warps * p.num_experts; i += blockDim.x) counts[i] = 0;
#pragma unroll
  for (int i = 0; i < kPairsPerLane; ++i) {
    const int32_t pair = PairOf(i);
    const uint32_t local = pair < p.num_pairs ? static_cast<uint32_t>(p.slots[pair]) - p.first_slot : 0xFFFFFFFFu;
    expert[i] = local < static_cast<uint32_t>(p.num_experts) ? static_cast<int32_t>(local) : p.num_experts;
  }
  __syncthreads();

  const int lane = threadIdx.x % kWarpSize;
  const int num_bits = 32 - __clz(p.num_experts);
  int32_t* slice_counts = counts + threadIdx.x / kWarpSize * p.num_experts;
#pragma unroll
  for (int i = 0; i < kPairsPerLane; ++i) {
    uint32_t same = kFullWarp;  // lanes whose pair i has the same expert
    for (int bit = 0; bit < num_bits; ++bit) {
      const bool is_set = (expert[i] >> bit & 1) != 0;
      const uint32_t set = __ballot_sync(kFullWarp, is_set);
      same &= is_set ? set : ~set;
    }
    const uint32_t lower = same & ((1u << lane) - 1);
    const bool is_local = expert[i] < p.num_experts;
    const int32_t before = is_local ? slice_counts[expert[i]] : 0;
    __syncwarp(kFullWarp);
    if (is_local && lower == 0) slice_counts[expert[i]] = before + __popc(same);
    __syncwarp(kFullWarp);
    rank[i] = before + __popc(lower);
  }
  __syncthreads();
}

__global__ void __launch_bounds__(kMaxWarps* kWarpSize, 1) CountChunksKernel(Params p) {
  WaitForPrevious();
  LetNextStart();
  int32_t* counts = DynamicShared<int32_t>();
  int32_t expert[kPairsPerLane];
  int32_t rank[kPairsPerLane];
  CountSlices(p, counts, expert, rank);
  const int num_warps = blockDim.x / kWarpSize;
  for (int e = threadIdx.x; e < p.num_experts; e += blockDim.x) {
    int32_t sum = 0;
    for (int warp = 0; warp < num_warps; ++warp) sum += counts[warp * p.num_experts + e];
    p.out.chunk_counts[blockIdx.x * p.num_experts + e] = sum;
  }
}

// The sum of `value` over the block's threads before this one; `warp_sums` [kMaxWarps] of shared memory.
__device__ int32_t SumBefore(int32_t value, int32_t* warp_sums) {
  const int lane = threadIdx.x % kWarpSize;
  const int warp = threadIdx.x / kWarpSize;
  int32_t sum = value;
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const int32_t other = __shfl_up_sync(kFullWarp, sum, distance);
    if (lane >= distance) sum += other;
  }
  __syncthreads();  // the previous call's sums have been read
  if (lane == kWarpSize - 1) warp_sums[warp] = sum;
  __syncthreads();
  int32_t before = sum - value;
  for (int i = 0; i < warp; ++i) before += warp_sums[i];
  return before;
}

// The last expert e < num_experts with tile_begin[e] <= tile, for a tile below tile_begin[num_experts].
__device__ int32_t ExpertOfTile(const int32_t* tile_begin, int32_t num_experts, int32_t tile) {
  int32_t low = 0;
  int32_t high = num_experts;
  while (high - low > 1) {
    const int32_t middle = (low + high) / 2;
    (tile_begin[middle] <= tile ? low : high) = middle;
  }
  return low;
}

// At least as many threads as experts: thread e does the sums of expert e.
__global__ void __launch_bounds__(kMaxWarps* kWarpSize, 1) PlacePairsKernel(Params p) {
  WaitForPrevious();
  LetNextStart();
  __shared__ int32_t warp_sums[kMaxWarps];
  __shared__ int32_t tile_begin[kMaxLocalExperts + 1];
  int32_t* counts = DynamicShared<int32_t>();
  int32_t expert[kPairsPerLane];
  int32_t rank[kPairsPerLane];
  CountSlices(p, counts, expert, rank);

  const int num_warps = blockDim.x / kWarpSize;
  const int32_t e = threadIdx.x;
  const bool has_expert = e < p.num_experts;
  int32_t total = 0;
  int32_t in_earlier_chunks = 0;
  if (has_expert) {
    if (p.num_chunks == 1) {
      for (int warp = 0; warp < num_warps; ++warp) total += counts[warp * p.num_experts + e];
    } else {
      for (int32_t chunk = 0; chunk < p.num_chunks; ++chunk) {
        if (chunk == static_cast<int32_t>(blockIdx.x)) in_earlier_chunks = total;
        total += p.out.chunk_counts[chunk * p.num_experts + e];
      }
    }
  }
  const int32_t num_tiles = static_cast<int32_t>((total + kExpertTileRows - 1) / kExpertTileRows);
  const int32_t entries_before = SumBefore(total, warp_sums);
  const int32_t tiles_before = SumBefore(num_tiles, warp_sums);
  const int32_t active_before = SumBefore(total > 0, warp_sums);

  // The first thread without an expert, or the last of all, knows the sums over all experts.
  const bool is_first_block = blockIdx.x == 0;
  if (e <= p.num_experts) {
    tile_begin[e] = tiles_before;
    if (is_first_block) {
      p.out.offsets[e] = entries_before;
      p.out.tile_begin[e] = tiles_before;
      if (total > 0) p.out.active_experts[active_before] = e;
    }
  }
  if (is_first_block && e >= p.num_experts) {
    const int32_t stride = static_cast<int32_t>(blockDim.x) - p.num_experts;
    for (int32_t i = active_before + e - p.num_experts; i < p.max_active_experts; i += stride) {
      p.out.active_experts[i] = -1;
    }
  }
  if (has_expert) {
    int32_t first = entries_before + in_earlier_chunks;
    for (int warp = 0; warp < num_warps; ++warp) {
      const int32_t count = counts[warp * p.num_experts + e];
      counts[warp * p.num_experts + e] = first;
      first += count;
    }
  }
  __syncthreads();

  for (int32_t tile = blockIdx.x * blockDim.x + threadIdx.x; tile < p.max_tiles; tile += gridDim.x * blockDim.x) {
    p.out.tile_expert[tile] = tile < tile_begin[p.num_experts] ? ExpertOfTile(tile_begin, p.num_experts, tile) : -1;
  }
  const int32_t* slice_first = counts + threadIdx.x / kWarpSize * p.num_experts;
#pragma unroll
  for (int i = 0; i < kPairsPerLane; ++i) {
    const int32_t pair = PairOf(i);
    if (pair >= p.num_pairs) continue;
    if (expert[i] == p.num_experts) {
      p.out.place[pair] = -1;
      continue;
    }
    const int32_t entry = slice_first[expert[i]] + rank[i];
    p.out.place[pair] = entry;
    p.out.entry_row[entry] = pair / p.top_k;
    p.out.entry_weight[entry] = p.weights[pair];
  }
}

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

void PermuteExperts(const PermuteExpertsArgs& args, Stream stream) {
  const ExpertPermutation& out = args.permutation;
  CHECK(out.num_pairs > 0 && out.num_pairs <= INT32_MAX - kChunkPairs);
  CHECK(out.num_experts >= 0 && out.num_experts <= kMaxLocalExperts);
  CHECK(args.top_k > 0);
  if (IsPermutationOfFew(out)) return PermuteFewExperts(args, stream);
  const int64_t num_chunks = out.num_chunks();
  const Params params = {.num_pairs = static_cast<int32_t>(out.num_pairs),
                         .top_k = static_cast<int32_t>(args.top_k),
                         .first_slot = static_cast<uint32_t>(args.first_slot),
                         .num_experts = static_cast<int32_t>(out.num_experts),
                         .num_chunks = static_cast<int32_t>(num_chunks),
                         .max_active_experts = static_cast<int32_t>(out.max_active_experts()),
                         .max_tiles = static_cast<int32_t>(out.max_tiles()),
                         .slots = args.slots,
                         .weights = args.weights,
                         .out = out};
  // One thread more than experts, which knows the sums over all of them.
  const int64_t num_warps = std::max(std::min<int64_t>(DivideUp(out.num_pairs, kSlicePairs), kMaxWarps),
                                     DivideUp(out.num_experts + 1, kWarpSize));
  const LaunchShape shape = {.grid = dim3(static_cast<unsigned>(num_chunks)),
                             .block = dim3(static_cast<unsigned>(num_warps * kWarpSize)),
                             .shared_bytes = static_cast<size_t>(num_warps * out.num_experts) * sizeof(int32_t)};
  if (num_chunks > 1) Launch(CountChunksKernel, shape, stream, params);
  Launch(PlacePairsKernel, shape, stream, params);
}

}  // namespace switchyard::cuda
