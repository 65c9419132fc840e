// What counts is the number of steps that wait for one another. There are three: all of W and of the block's tokens is
// asked for at once and kept in registers; the warps' sums meet behind one barrier; one warp chooses for all tokens.
//
// A warp multiplies 64 elements of every row at a time, as two pieces of 32 in one tile of the tensor cores: rows 0 to
// 7 of the left operand are the experts' first pieces, rows 8 to 15 their second; columns 2 t and 2 t + 1 of the right
// one are the first and the second piece of token t. Of the products only those of equal pieces are used. The order of
// elements within a piece is that of router_tile.cuh.
#include "kernels/check.h"
#include "kernels/cuda/dependency.cuh"
#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/router_few.h"
#include "kernels/cuda/router_select.cuh"
#include "kernels/cuda/router_tile.cuh"
#include "kernels/cuda/vector.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kTokens = 4;  // of a block, at most
constexpr int kWarps = 16;
constexpr int kThreads = kWarps * kWarpSize;
constexpr int kStride = kWarps * 2 * kPiece;  // from one step of a warp to its next, in elements
constexpr int kFewSteps = 4;
constexpr int kMostSteps = 8;
constexpr int64_t kMaxBlocks = 128;  // cards have some 30 to 170 multiprocessors

static_assert(kTokens * kFewExperts == kWarpSize);

// Eight elements of a row of `size`; zeros from its end on, where kChecked. Always loads: the compiler lets loads with
// a condition wait for one another.
template <bool kChecked, typename T>
__device__ __forceinline__ uint4 LoadOrZero(const T* row, int element, int size) {
  if constexpr (!kChecked) return *reinterpret_cast<const uint4*>(row + element);
  const bool is_inside = element < size;
  const uint4 loaded = *reinterpret_cast<const uint4*>(row + (is_inside ? element : 0));
  const uint32_t mask = is_inside ? 0xFFFFFFFFu : 0;
  return make_uint4(loaded.x & mask, loaded.y & mask, loaded.z & mask, loaded.w & mask);
}

// hidden is kSteps * kStride, or less where kChecked. Grid: (tokens / tokens_per_block). One block on a multiprocessor
// is all that is asked for: the compiler lets loads wait for products to save registers otherwise.
template <typename T, int kSteps, bool kChecked>
__global__ void __launch_bounds__(kThreads, 1) RouteFewKernel(RouteArgs args, int tokens_per_block) {
  __shared__ float partials[kWarps][kWarpSize];
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const auto num_experts = static_cast<int>(args.num_experts);
  const auto hidden_size = static_cast<int>(args.hidden_size);
  const int64_t first_token = static_cast<int64_t>(blockIdx.x) * tokens_per_block;
  const auto tokens_left = static_cast<int>(args.num_tokens - first_token);
  const int num_tokens = tokens_left < tokens_per_block ? tokens_left : tokens_per_block;

  // Weights first: no kernel of the step writes them. Missing experts and tokens are replaced by the first.
  const int row = lane / 4;
  const int first_element = warp * 2 * kPiece + lane % 4 * kVectorElements;
  const T* w = static_cast<const T*>(args.router) + (row < num_experts ? row : 0) * hidden_size;
  uint4 weights[kSteps][2];
#pragma unroll
  for (int u = 0; u < kSteps; ++u) {
    weights[u][0] = LoadOrZero<kChecked>(w, first_element + u * kStride, hidden_size);
    weights[u][1] = LoadOrZero<kChecked>(w, first_element + u * kStride + kPiece, hidden_size);
  }
  WaitForPrevious();
  LetNextStart();
  const T* x = static_cast<const T*>(args.x) + (first_token + (row / 2 < num_tokens ? row / 2 : 0)) * hidden_size;
  uint4 values[kSteps];
#pragma unroll
  for (int u = 0; u < kSteps; ++u) {
    values[u] = LoadOrZero<kChecked>(x, first_element + u * kStride + row % 2 * kPiece, hidden_size);
  }
  const int64_t num_valid = args.num_valid == nullptr ? args.num_tokens : *args.num_valid;

  float sums[2][4] = {};  // two, so that half as many products wait for one another
#pragma unroll
  for (int u = 0; u < kSteps; ++u) {
    const uint4 low = weights[u][0];
    const uint4 high = weights[u][1];
    MmaM16N8K16<T>(sums[0], {low.x, high.x, low.y, high.y}, {values[u].x, values[u].y});
    MmaM16N8K16<T>(sums[1], {low.z, high.z, low.w, high.w}, {values[u].z, values[u].w});
  }
  partials[warp][lane % 4 * kFewExperts + row] = (sums[0][0] + sums[1][0]) + (sums[0][3] + sums[1][3]);
  __syncthreads();
  if (warp > 0) return;

  float quarters[4] = {};
#pragma unroll
  for (int i = 0; i < kWarps; ++i) quarters[i % 4] += partials[i][lane];
  const float logit = (quarters[0] + quarters[1]) + (quarters[2] + quarters[3]);
  const RankedExpert choice = RankFewExperts(logit, num_experts, static_cast<int>(args.top_k), args.renormalize);

  const int64_t token = first_token + lane / kFewExperts;
  const int expert = lane % kFewExperts;
  const bool is_real = lane / kFewExperts < num_tokens && token < num_valid;
  const bool is_chosen = is_real && choice.rank < args.top_k;
  const uint32_t chosen = __ballot_sync(kFullWarp, is_chosen);
  if (is_chosen) {
    args.experts[token * args.top_k + choice.rank] = expert;
    args.weights[token * args.top_k + choice.rank] = choice.weight;
  } else if (lane / kFewExperts < num_tokens && !is_real && expert < args.top_k) {
    args.experts[token * args.top_k + expert] = -1;
    args.weights[token * args.top_k + expert] = 0.0f;
  }
  const int count = __popc(chosen & 0x01010101u << expert);
  if (lane < num_experts && count > 0) atomicAdd(&args.counts[lane], count);
}

template <typename T, int kSteps, bool kChecked>
void LaunchFew(const RouteArgs& args, Stream stream) {
  int64_t tokens_per_block = 1;
  while (args.num_tokens > kMaxBlocks * tokens_per_block) tokens_per_block *= 2;
  const int64_t blocks = (args.num_tokens + tokens_per_block - 1) / tokens_per_block;
  Launch(RouteFewKernel<T, kSteps, kChecked>,
         LaunchShape{.grid = dim3(static_cast<unsigned>(blocks)), .block = dim3(kThreads)}, stream, args,
         static_cast<int>(tokens_per_block));
}

}  // namespace

bool IsRouteOfFew(const RouteArgs& args) {
  return args.num_tokens <= kMaxBlocks * kTokens && args.num_experts <= kFewExperts &&
         args.hidden_size <= kMostSteps * kStride;
}

void RouteFew(const RouteArgs& args, Stream stream) {
  CHECK(IsRouteOfFew(args));
  DispatchHalf(args.dtype, [&](auto type) {
    using T = decltype(type);
    if (args.hidden_size == kFewSteps * kStride) {
      LaunchFew<T, kFewSteps, false>(args, stream);
    } else if (args.hidden_size < kFewSteps * kStride) {
      LaunchFew<T, kFewSteps, true>(args, stream);
    } else {
      LaunchFew<T, kMostSteps, true>(args, stream);
    }
  });
}

}  // namespace switchyard::cuda
