// One block, a thread per pair and, in every warp, a lane per expert: ballots of the bits of the pairs' experts tell a
// pair which others have its expert, and an expert how many pairs have it or a lower one. Behind one barrier the warps'
// counts are added; nothing is scanned.
#include "kernels/check.h"
#include "kernels/cuda/dependency.cuh"
#include "kernels/cuda/expert_permutation_few.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kMaxWarps = 32;
constexpr int kMaxPairs = kMaxWarps * kWarpSize;
constexpr int kExpertBits = 5;
constexpr int kMaxExperts = 1 << kExpertBits;
static_assert(kMaxExperts == kWarpSize);
constexpr int kTileBits = 4;
static_assert(kMaxPairs / kExpertTileRows < 1 << kTileBits);  // tiles of one expert

struct Params {
  uint32_t num_pairs;
  uint32_t top_k;
  uint32_t first_slot;
  uint32_t num_experts;
  int32_t max_active_experts;
  int32_t max_tiles;
  const int32_t* slots;
  const float* weights;
  ExpertPermutation out;
};

// The lists by expert, by one warp whose lane e knows the entries of expert e and of those before it.
__device__ __forceinline__ void WriteExperts(const Params& p, int lane, int32_t first, int32_t count) {
  const uint32_t lower_lanes = (1u << lane) - 1;
  const auto tiles = static_cast<int32_t>((count + kExpertTileRows - 1) / kExpertTileRows);
  int32_t tiles_before = 0;
  int32_t num_tiles = 0;
#pragma unroll
  for (int bit = 0; bit < kTileBits; ++bit) {
    const uint32_t set = __ballot_sync(kFullWarp, (tiles >> bit & 1) != 0);
    tiles_before += __popc(set & lower_lanes) << bit;
    num_tiles += __popc(set) << bit;
  }
  const uint32_t active = __ballot_sync(kFullWarp, count > 0);
  if (lane == 0) {
    p.out.offsets[0] = 0;
    p.out.tile_begin[0] = 0;
  }
  if (lane < static_cast<int>(p.num_experts)) {
    p.out.offsets[lane + 1] = first + count;
    p.out.tile_begin[lane + 1] = tiles_before + tiles;
  }
  if (count > 0) p.out.active_experts[__popc(active & lower_lanes)] = lane;
  if (lane >= __popc(active) && lane < p.max_active_experts) p.out.active_experts[lane] = -1;
#pragma unroll 1  // here and below: what is fetched but not run costs time in so short a kernel
  for (int32_t i = 0; i < tiles; ++i) p.out.tile_expert[tiles_before + i] = lane;
#pragma unroll 1
  for (int32_t i = num_tiles + lane; i < p.max_tiles; i += kWarpSize) p.out.tile_expert[i] = -1;
}

__global__ void __launch_bounds__(kMaxPairs, 1) PermuteFewKernel(Params p) {
  // Of each warp's pairs: how many have the expert in the upper half, a lower one in the lower half.
  __shared__ uint32_t counts[kMaxWarps][kMaxExperts];
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int num_warps = static_cast<int>(blockDim.x) / kWarpSize;
  const uint32_t pair = threadIdx.x;
  WaitForPrevious();
  LetNextStart();
  const bool has_pair = pair < p.num_pairs;
  const uint32_t expert = (has_pair ? static_cast<uint32_t>(p.slots[pair]) : p.first_slot - 1) - p.first_slot;
  const float weight = has_pair ? p.weights[pair] : 0.0f;
  const auto row = static_cast<int32_t>(pair / p.top_k);

  const bool is_local = expert < p.num_experts;
  const uint32_t local = __ballot_sync(kFullWarp, is_local);
  uint32_t same = local;         // lanes with this lane's expert
  uint32_t with_expert = local;  // lanes with expert number `lane`
  uint32_t with_lower = 0;       // lanes with a lower one
#pragma unroll
  for (int bit = kExpertBits - 1; bit >= 0; --bit) {
    const bool is_set = (expert >> bit & 1) != 0;
    const uint32_t set = __ballot_sync(kFullWarp, is_set);
    same &= is_set ? set : ~set;
    const bool lane_has_bit = (lane >> bit & 1) != 0;
    if (lane_has_bit) with_lower |= with_expert & ~set;
    with_expert &= lane_has_bit ? set : ~set;
  }
  counts[warp][lane] = static_cast<uint32_t>(__popc(with_lower)) | static_cast<uint32_t>(__popc(with_expert)) << 16;
  __syncthreads();
  uint32_t of_all = 0;
  uint32_t of_earlier = 0;
#pragma unroll 4
  for (int w = 0; w < num_warps; ++w) {
    if (w == warp) of_earlier = of_all;
    of_all += counts[w][lane];
  }
  const auto first = static_cast<int32_t>(of_all & 0xFFFF);  // entry of expert number `lane`
  const int32_t first_of_warp = first + static_cast<int32_t>(of_earlier >> 16);

  const int32_t entry =
      __shfl_sync(kFullWarp, first_of_warp, static_cast<int>(expert % kMaxExperts)) + __popc(same & ((1u << lane) - 1));
  if (has_pair) p.out.place[pair] = is_local ? entry : -1;
  if (is_local) {
    p.out.entry_row[entry] = row;
    p.out.entry_weight[entry] = weight;
  }
  if (warp == 0) WriteExperts(p, lane, first, static_cast<int32_t>(of_all >> 16));
}

}  // namespace

bool IsPermutationOfFew(const ExpertPermutation& permutation) {
  return permutation.num_pairs <= kMaxPairs && permutation.num_experts <= kMaxExperts;
}

void PermuteFewExperts(const PermuteExpertsArgs& args, Stream stream) {
  const ExpertPermutation& out = args.permutation;
  CHECK(IsPermutationOfFew(out));
  const int64_t num_warps = (out.num_pairs + kWarpSize - 1) / kWarpSize;
  Launch(PermuteFewKernel, LaunchShape{.grid = dim3(1), .block = dim3(static_cast<unsigned>(num_warps * kWarpSize))},
         stream,
         Params{.num_pairs = static_cast<uint32_t>(out.num_pairs),
                .top_k = static_cast<uint32_t>(args.top_k),
                .first_slot = static_cast<uint32_t>(args.first_slot),
                .num_experts = static_cast<uint32_t>(out.num_experts),
                .max_active_experts = static_cast<int32_t>(out.max_active_experts()),
                .max_tiles = static_cast<int32_t>(out.max_tiles()),
                .slots = args.slots,
                .weights = args.weights,
                .out = out});
}

}  // namespace switchyard::cuda
