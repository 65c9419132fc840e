// Logits on the tensor cores (router_tile.cuh), then a choice per warp (router_select.cuh). A block takes a tile of
// tokens and one group of experts after another. For few tokens and many experts, the groups of one tile go to
// different blocks, which leave their logits in scratch; the block that arrives last chooses.
#include "kernels/check.h"
#include "kernels/cuda/last_block.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/router.h"
#include "kernels/cuda/router_few.h"
#include "kernels/cuda/router_select.cuh"
#include "kernels/cuda/router_tile.cuh"
#include "kernels/cuda/vector.cuh"

namespace switchyard::cuda {
namespace {

constexpr int64_t kSplitTokens = 1024;  // the most whose experts are divided among blocks
constexpr size_t kMaxSharedBytes = 96 * 1024;

struct RouterSplit {
  int tokens_per_block;  // at most the tile's
  int num_groups;        // of experts; divided among gridDim.y blocks
  float* logits;         // [tokens, num_experts], if gridDim.y > 1
  int32_t* arrivals;     // [tiles of tokens], if gridDim.y > 1
};

// Hands the groups that this block computed to the others of its tile. True in the block that came last, whose logits
// are complete then.
__device__ __forceinline__ bool ExchangeLogits(const RouterSplit& split, int64_t first_token, int num_rows,
                                               int experts_per_group, int num_experts, float* logits) {
  float* all = split.logits + first_token * num_experts;
  const int cells = num_rows * num_experts;
  const auto is_mine = [&](int cell) {
    return cell % num_experts / experts_per_group % static_cast<int>(gridDim.y) == static_cast<int>(blockIdx.y);
  };
  for (auto cell = static_cast<int>(threadIdx.x); cell < cells; cell += static_cast<int>(blockDim.x)) {
    if (is_mine(cell)) all[cell] = logits[cell];
  }
  if (!ArriveLast(split.arrivals + blockIdx.x, static_cast<int>(gridDim.y))) return false;
  for (auto cell = static_cast<int>(threadIdx.x); cell < cells; cell += static_cast<int>(blockDim.x)) {
    if (!is_mine(cell)) logits[cell] = all[cell];
  }
  __syncthreads();
  return true;
}

// grid (tiles of tokens, blocks that divide the groups of experts). With one block on a multiprocessor the compiler has
// the registers to keep loads under way together.
template <typename T, int kTokenTiles, int kExpertTiles>
__global__ void __launch_bounds__(Tile<kTokenTiles, kExpertTiles>::kThreads, 1)
    RouteKernel(RouteArgs args, RouterSplit split) {
  WaitForPrevious();
  LetNextStart();
  using Shape = Tile<kTokenTiles, kExpertTiles>;
  __shared__ int32_t counts[kMaxExperts];
  auto* partials = DynamicShared<float>();
  float* logits = partials + Shape::kPartialFloats;

  const auto num_experts = static_cast<int>(args.num_experts);
  const auto top_k = static_cast<int>(args.top_k);
  const int64_t first_token = static_cast<int64_t>(blockIdx.x) * split.tokens_per_block;
  const auto rows_left = static_cast<int>(args.num_tokens - first_token);
  const int num_rows = rows_left < split.tokens_per_block ? rows_left : split.tokens_per_block;
  int num_real = num_rows;  // the rest is padding
  if (args.num_valid != nullptr) {
    const int64_t left = *args.num_valid - first_token;
    num_real = left < 0 ? 0 : left < num_rows ? static_cast<int>(left) : num_rows;
  }

  if (num_real > 0) {
    for (int i = static_cast<int>(threadIdx.x); i < num_experts; i += Shape::kThreads) counts[i] = 0;
    const T* x = static_cast<const T*>(args.x) + first_token * args.hidden_size;
    for (auto group = static_cast<int>(blockIdx.y); group < split.num_groups; group += static_cast<int>(gridDim.y)) {
      const int first_expert = group * Shape::kExperts;
      const T* w = static_cast<const T*>(args.router) + first_expert * args.hidden_size;
      float sums[kTokenTiles][kExpertTiles][4] = {};
      MultiplyShare<T, kTokenTiles, kExpertTiles>(x, w, num_real, num_experts - first_expert,
                                                  static_cast<int>(args.hidden_size), sums);
      AddWarps<kTokenTiles, kExpertTiles>(sums, num_real, first_expert, num_experts, partials, logits);
    }
    if (gridDim.y > 1 && !ExchangeLogits(split, first_token, num_real, Shape::kExperts, num_experts, logits)) {
      return;
    }
  } else if (blockIdx.y > 0) {
    return;
  }

  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  for (int row = static_cast<int>(threadIdx.x) / kWarpSize; row < num_rows; row += Shape::kWarps) {
    Choice choice = {-1, 0.0f};
    if (row < num_real) choice = SelectExperts(logits + row * num_experts, num_experts, top_k, args.renormalize);
    if (lane < top_k) {
      args.experts[(first_token + row) * top_k + lane] = choice.expert;
      args.weights[(first_token + row) * top_k + lane] = choice.weight;
      if (row < num_real) atomicAdd(&counts[choice.expert], 1);
    }
  }
  if (num_real == 0) return;
  __syncthreads();
  for (int e = static_cast<int>(threadIdx.x); e < num_experts; e += Shape::kThreads) {
    if (counts[e] != 0) atomicAdd(&args.counts[e], counts[e]);
  }
}

// Launching -----------------------------------------------------------------------------------------------------------

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How the work is cut.
struct RouterPlan {
  int64_t tokens_per_block = 0;
  int64_t experts_per_group = 0;
  bool divides_groups = false;
};

// The plan whose busiest multiprocessor reads least. Cards have some 30 to 170 of those.
RouterPlan ChoosePlan(const RouteArgs& args) {
  constexpr int64_t kMultiprocessors = 128;
  constexpr int64_t kExchangeBytes = 64 * 1024;  // what could be read in the time that an exchange of logits takes
  RouterPlan best;
  int64_t best_cost = INT64_MAX;
  const auto consider = [&](const RouterPlan& plan) {
    const int64_t groups = CeilDivide(args.num_experts, plan.experts_per_group);
    const int64_t blocks = CeilDivide(args.num_tokens, plan.tokens_per_block) * (plan.divides_groups ? groups : 1);
    const int64_t experts = plan.divides_groups ? plan.experts_per_group : args.num_experts;
    const int64_t bytes = 2 * args.hidden_size * (plan.tokens_per_block + experts);
    const int64_t cost = CeilDivide(blocks, kMultiprocessors) * (bytes + (plan.divides_groups ? kExchangeBytes : 0));
    if (cost < best_cost) {
      best = plan;
      best_cost = cost;
    }
  };
  const bool may_divide = args.scratch != nullptr && args.num_tokens <= kSplitTokens;
  constexpr int64_t kNarrow = kMmaExperts;
  constexpr int64_t kWide = 4 * kMmaExperts;
  for (const int64_t tokens : {1, 2, 4, 8, 16, 32}) {
    consider({tokens, args.num_experts <= kNarrow ? kNarrow : kWide, false});
    if (may_divide && args.num_experts > kNarrow) consider({tokens, kNarrow, true});
    if (may_divide && args.num_experts > kWide) consider({tokens, kWide, true});
  }
  return best;
}

template <typename T, int kTokenTiles, int kExpertTiles>
void LaunchRoute(const RouteArgs& args, const RouterPlan& plan, Stream stream) {
  using Shape = Tile<kTokenTiles, kExpertTiles>;
  const int64_t groups = CeilDivide(args.num_experts, Shape::kExperts);
  RouterSplit split = {static_cast<int>(plan.tokens_per_block), static_cast<int>(groups), nullptr, nullptr};
  if (plan.divides_groups) {
    split.arrivals = static_cast<int32_t*>(args.scratch);
    split.logits = reinterpret_cast<float*>(split.arrivals + kSplitTokens);
  }
  const auto logits = static_cast<size_t>(plan.tokens_per_block * args.num_experts);
  const size_t shared_bytes = (Shape::kPartialFloats + logits) * sizeof(float);
  CHECK_LE(shared_bytes, kMaxSharedBytes);
  Launch(RouteKernel<T, kTokenTiles, kExpertTiles>,
         LaunchShape{.grid = dim3(static_cast<unsigned>(CeilDivide(args.num_tokens, plan.tokens_per_block)),
                                  static_cast<unsigned>(plan.divides_groups ? groups : 1)),
                     .block = dim3(Shape::kThreads),
                     .shared_bytes = shared_bytes},
         stream, args, split);
}

}  // namespace

size_t RouteScratchBytes(int64_t num_experts) {
  return sizeof(int32_t) * kSplitTokens + sizeof(float) * kSplitTokens * static_cast<size_t>(num_experts);
}

void Route(const RouteArgs& args, Stream stream) {
  if (args.num_tokens == 0) return;
  CHECK(args.num_experts > 0 && args.num_experts <= kMaxExperts);
  CHECK(args.top_k > 0 && args.top_k <= kMaxTopK && args.top_k <= args.num_experts);
  CHECK_EQ(args.hidden_size % kVectorElements, 0);
  CHECK(args.hidden_size > 0 && args.hidden_size <= kMaxHiddenSize);
  CHECK(IsAligned16(args.x) && IsAligned16(args.router) && IsAligned16(args.scratch));
  if (IsRouteOfFew(args)) return RouteFew(args, stream);
  const RouterPlan plan = ChoosePlan(args);
  const bool is_tall = plan.tokens_per_block > kMmaTokens;
  const bool is_wide = plan.experts_per_group > kMmaExperts;
  DispatchHalf(args.dtype, [&](auto type) {
    using T = decltype(type);
    if (is_tall && is_wide) {
      LaunchRoute<T, 2, 4>(args, plan, stream);
    } else if (is_tall) {
      LaunchRoute<T, 2, 1>(args, plan, stream);
    } else if (is_wide) {
      LaunchRoute<T, 1, 4>(args, plan, stream);
    } else {
      LaunchRoute<T, 1, 1>(args, plan, stream);
    }
  });
}

}  // namespace switchyard::cuda
