// Paged attention for sequences with several tokens in the step: tiles of queries over tiles of keys on the tensor
// cores, with the online softmax in registers.
//
//   for each tile of keys:  S = Q K^T,  m' = max(m, rowmax(scale * S)),  P = exp(scale * S - m')
//                           l = l exp(m - m') + rowsum(P),  O = O exp(m - m') + P V
//   out = O / l
// Source: Dao 2023, arXiv:2307.08691 (FlashAttention-2). Exponentials are powers of 2, with log2(e) in the scale.
//
// A row of a query tile is a (token, head of the group) pair, token by token: all query heads of a kv head share its
// keys, and short sequences still fill a tile. Tiles of keys that no row of the tile sees are never read; only tiles
// that some row of a warp sees in part are masked. Keys and values come through two stages of cp.async. 8-bit elements:
// kv_elements.cuh.
//
// Bound: arithmetic, 4 * heads * head_dim operations per query and visible key at the rate of mma.sync.
// Reference: kernels/cpu/reference_attention.cc.
#include <algorithm>
#include <cstdint>

#include "kernels/check.h"
#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/attention_dispatch.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/kv_elements.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/paged_attention_forms.h"

namespace switchyard::cuda {
namespace {

// Shared memory is 48 KB for kDim 64, 96 KB for the others. Two row tiles of a warp use a fragment of keys or values
// twice; the registers for kDim 256 hold one. Element: of keys and values.
template <typename Element, int kDim>
struct PrefillShape {
  static constexpr int kWarps = 4;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kRowTiles = kDim == 256 ? 1 : 2;
  static constexpr int kWarpRows = 16 * kRowTiles;
  static constexpr int kRows = kWarps * kWarpRows;
  static constexpr int kKeys = kDim == 256 ? 32 : 64;
  static constexpr int kWarpKeys = kKeys / kWarps;         // that a warp copies
  static constexpr int kStageElements = 2 * kKeys * kDim;  // keys, then values
  static constexpr size_t kSharedBytes = kRows * kDim * 2 + 2 * kStageElements * sizeof(Element);
};

// A tile of (token, head) rows of one sequence.
struct QueryTile {
  int sequence;     // negative: none
  int first_token;  // of the sequence in the step
  int num_tokens;   // of the sequence in the step
  int first_row;    // of the tile among the num_tokens * group rows of the sequence
};

// Finds the tile that belongs to `index` among all sequences with more than one token; a sequence's last tile, which
// sees the most keys, comes first. All threads of a block call it together.
__device__ QueryTile FindQueryTile(const PagedAttentionArgs& args, int index, int group, int tile_rows) {
  __shared__ int found[4];  // the fields of a QueryTile
  __shared__ int warp_tiles[kWarpSize];
  const int thread = static_cast<int>(threadIdx.x);
  const int warp = thread / kWarpSize;
  const int lane = thread % kWarpSize;
  const int num_sequences = static_cast<int>(args.num_sequences);
  const int per_thread = (num_sequences + static_cast<int>(blockDim.x) - 1) / static_cast<int>(blockDim.x);
  const int first_sequence = min(thread * per_thread, num_sequences);
  const int end_sequence = min(first_sequence + per_thread, num_sequences);
  const auto tiles_of = [&](int sequence) {
    const int tokens = args.sequence_begin[sequence + 1] - args.sequence_begin[sequence];
    return tokens > 1 ? (tokens * group + tile_rows - 1) / tile_rows : 0;
  };
  if (thread == 0) found[0] = -1;
  int own_tiles = 0;
  for (int s = first_sequence; s < end_sequence; ++s) own_tiles += tiles_of(s);
  int tiles = own_tiles;  // of this lane's sequences and all before in the warp
#pragma unroll
  for (int offset = 1; offset < kWarpSize; offset *= 2) {
    const int before = __shfl_up_sync(kFullWarp, tiles, static_cast<unsigned>(offset));
    if (lane >= offset) tiles += before;
  }
  if (lane == kWarpSize - 1) warp_tiles[warp] = tiles;
  __syncthreads();
  int tile = index - (tiles - own_tiles);
  for (int w = 0; w < warp; ++w) tile -= warp_tiles[w];
  if (tile >= 0 && tile < own_tiles) {
    int sequence = first_sequence;
    for (int n = tiles_of(sequence); tile >= n; n = tiles_of(sequence)) {
      tile -= n;
      ++sequence;
    }
    found[0] = sequence;
    found[1] = args.sequence_begin[sequence];
    found[2] = args.sequence_begin[sequence + 1] - found[1];
    found[3] = (tiles_of(sequence) - 1 - tile) * tile_rows;
  }
  __syncthreads();
  return {.sequence = found[0], .first_token = found[1], .num_tokens = found[2], .first_row = found[3]};
}

// Sets the heads [first_head, first_head + num_heads) of padding rows in [begin, end) to 0.
template <typename T>
__device__ void ZeroPaddingRows(const PagedAttentionArgs& args, int64_t begin, int64_t end, int first_head,
                                int num_heads) {
  for (int64_t token = begin + threadIdx.x / kWarpSize; token < end; token += blockDim.x / kWarpSize) {
    if (args.token_sequence[token] >= 0) continue;
    T* row = static_cast<T*>(args.out) + (token * args.num_heads + first_head) * args.head_dim;
    for (int64_t i = threadIdx.x % kWarpSize; i < num_heads * args.head_dim; i += kWarpSize) row[i] = T{0};
  }
}

// Grid: (kv heads, query tiles and more). Blocks with the longest contexts are launched first.
template <typename T, typename Element, int kDim>
__global__ void __launch_bounds__(PrefillShape<Element, kDim>::kThreads)
    PrefillKernel(PagedAttentionArgs args, int padding_rows_per_block) {
  WaitForPrevious();
  using Shape = PrefillShape<Element, kDim>;
  constexpr bool kHasScales = sizeof(Element) == 1;
  constexpr int kRowTiles = Shape::kRowTiles;
  constexpr int kKeys = Shape::kKeys;
  constexpr int kWarpKeys = Shape::kWarpKeys;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int kv_head = static_cast<int>(blockIdx.x);
  const int num_heads = static_cast<int>(args.num_heads);
  const int head_dim = static_cast<int>(args.head_dim);
  const int group = num_heads / static_cast<int>(args.num_kv_heads);

  const int64_t first_padding = static_cast<int64_t>(blockIdx.y) * padding_rows_per_block;
  ZeroPaddingRows<T>(args, first_padding, min(first_padding + padding_rows_per_block, args.num_tokens), kv_head * group,
                     group);
  const QueryTile tile = FindQueryTile(args, static_cast<int>(blockIdx.y), group, Shape::kRows);
  if (tile.sequence < 0) return;

  // Rows beyond the sequence's last are zeros, and masked like its last.
  const int last_row = tile.num_tokens * group - 1;
  const int first_position = args.positions[tile.first_token];  // of the sequence in the step
  const auto position_of = [&](int row) { return first_position + min(row, last_row) / group; };
  const int window = static_cast<int>(min(args.sliding_window, int64_t{1} << 30));  // 0: none
  const auto first_visible = [&](int position) { return window > 0 ? max(position - window + 1, 0) : 0; };
  const int begin = first_visible(position_of(tile.first_row));
  const int end = position_of(tile.first_row + Shape::kRows - 1) + 1;
  const int warp_row = tile.first_row + warp * Shape::kWarpRows;
  // Of q and out, the row of head_dim elements that lane i's row of the warp is; negative: none.
  const int lane_row = warp_row + lane;
  const int tensor_row = lane < Shape::kWarpRows && lane_row <= last_row
                             ? (tile.first_token + lane_row / group) * num_heads + kv_head * group + lane_row % group
                             : -1;

  T* queries = DynamicShared<T>() + warp * Shape::kWarpRows * kDim;  // this warp's
  Element* stages = reinterpret_cast<Element*>(DynamicShared<T>() + Shape::kRows * kDim);
  const PagedRows rows = {.pages = args.page_table + tile.sequence * args.page_table_width,
                          .page_size = static_cast<int>(args.page_size),
                          .num_kv_heads = static_cast<int>(args.num_kv_heads),
                          .kv_head = kv_head};
  const auto copy_keys_and_values = [&](int row, Element* stage) {
    Element* own = stage + warp * kWarpKeys * kDim;
    CopyRowsAsync<kWarpKeys, kDim>(static_cast<const Element*>(args.k_pages), row, head_dim, own);
    CopyRowsAsync<kWarpKeys, kDim>(static_cast<const Element*>(args.v_pages), row, head_dim, own + kKeys * kDim);
    CpAsyncCommit();
  };

  CopyRowsAsync<Shape::kWarpRows, kDim>(static_cast<const T*>(args.q), tensor_row, head_dim, queries);
  // Page entries are read one stage ahead of the keys; scales with the keys, through a register.
  const int copied_key = warp * kWarpKeys + lane;
  const int first_row = rows.At(begin + copied_key, end);
  copy_keys_and_values(first_row, stages);
  __shared__ float2 scales[2][Shape::kKeys];  // of keys and values, of both stages; 8-bit elements only
  float2 next_scales = make_float2(0.0f, 0.0f);
  const auto store_scales = [&](int stage) {
    if (lane < kWarpKeys) scales[stage][copied_key] = next_scales;
  };
  if constexpr (kHasScales) {
    next_scales = LoadScales<T, Element>(args.k_scales, args.v_scales, first_row);
    store_scales(0);
  }
  int next_row = rows.At(begin + kKeys + copied_key, end);

  // In shared memory, because registers are scarce in the loop and few tiles are masked.
  __shared__ int row_positions[Shape::kRows];
  if (lane < Shape::kWarpRows) row_positions[warp * Shape::kWarpRows + lane] = position_of(lane_row);

  const float scale_log2 = args.scale * kLog2E;
  const int warp_first_position = position_of(warp_row);
  const int warp_last_position = position_of(warp_row + Shape::kWarpRows - 1);
  OnlineSoftmax<kRowTiles, kDim> softmax;
  softmax.Reset();
  if constexpr (kHasScales) {
    CpAsyncWait<0>();
    __syncwarp();
    InterleaveQueries<Shape::kWarpRows, kDim>(queries);
  }
  int stage = 0;
  for (int key = begin; key < end; key += kKeys, stage ^= 1) {
    CpAsyncWait<0>();
    __syncthreads();  // everyone's copies are there, and everyone has read the other stage
    if (key + kKeys < end) {
      copy_keys_and_values(next_row, stages + (stage ^ 1) * Shape::kStageElements);
      if constexpr (kHasScales) next_scales = LoadScales<T, Element>(args.k_scales, args.v_scales, next_row);
      next_row = rows.At(key + 2 * kKeys + copied_key, end);
    }
    const Element* keys = stages + stage * Shape::kStageElements;
    const Element* values = keys + kKeys * kDim;
    float scores[kRowTiles][kKeys / 8][4];
    if constexpr (kHasScales) {
      MultiplyByteKeys<kRowTiles, kKeys, kDim>(queries, keys, scores);
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          const float scale = scales[stage][n * 8 + lane % 4 * 2 + c % 2].x;
#pragma unroll
          for (int i = 0; i < kRowTiles; ++i) scores[i][n][c] *= scale;
        }
      }
    } else {
      MultiplyKeys<kRowTiles, kKeys, kDim>(queries, keys, scores);
    }
    if (key + kKeys - 1 > warp_first_position || key < first_visible(warp_last_position)) {
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int position = row_positions[warp * Shape::kWarpRows + i * 16 + r * 8 + lane / 4];
          const int first = first_visible(position) - key - lane % 4 * 2;
          const int last = position - key - lane % 4 * 2;
#pragma unroll
          for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
            for (int c = 0; c < 2; ++c) {
              if (n * 8 + c < first || n * 8 + c > last) scores[i][n][2 * r + c] = MinusInfinity();
            }
          }
        }
      }
    }
    uint32_t weights[kRowTiles][kKeys / 16][4];
    if constexpr (kHasScales) {
      softmax.template Update<kKeys, T>(scores, scale_log2, weights, [&](float weight, int n, int c) {
        return weight * scales[stage][n * 8 + lane % 4 * 2 + c].y;
      });
      AddByteValues<kKeys, kRowTiles, kDim, T>(weights, values, softmax.out);
      store_scales(stage ^ 1);  // nobody has read these since the barrier
    } else {
      softmax.template Update<kKeys, T>(scores, scale_log2, weights);
      softmax.template AddValues<kKeys>(weights, values);
    }
  }
  softmax.FinishSums();
  LetNextStart();

  // Through the place of the queries, which only this warp reads, to rows of 16-byte stores.
  __syncwarp();
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float inverse = 1.0f / softmax.sum[i][r];
#pragma unroll
      for (int n = 0; n < kDim / 8; ++n) {
        const auto [dim, x, y] = softmax.template OutPair<kHasScales>(i, n, r);
        T* to = queries + TileOffset<kDim>(i * 16 + r * 8 + lane / 4, dim / kChunkElements) + dim % kChunkElements;
        *reinterpret_cast<uint32_t*>(to) = Pack2<T>(x * inverse, y * inverse);
      }
    }
  }
  __syncwarp();
  constexpr int kChunks = kDim / kChunkElements;
  T* out = static_cast<T*>(args.out);
  for (int i = lane; i < Shape::kWarpRows * kChunks; i += kWarpSize) {
    const int to_row = __shfl_sync(kFullWarp, tensor_row, i / kChunks);
    const int chunk = i % kChunks;
    if (to_row < 0 || chunk * kChunkElements >= head_dim) continue;
    *reinterpret_cast<uint4*>(out + static_cast<int64_t>(to_row) * head_dim + chunk * kChunkElements) =
        *reinterpret_cast<const uint4*>(queries + TileOffset<kDim>(i / kChunks, chunk));
  }
}

template <typename T, typename Element, int kDim>
void LaunchPrefill(const PagedAttentionArgs& args, Stream stream) {
  using Shape = PrefillShape<Element, kDim>;
  const int64_t rows = args.num_tokens * (args.num_heads / args.num_kv_heads);
  // Every sequence of two tokens or more has at most one tile that is not full.
  const int64_t max_tiles = rows / Shape::kRows + std::min(args.num_sequences, args.num_tokens / 2);
  CHECK_LE(max_tiles, 65535);
  const int64_t padding_rows_per_block = (args.num_tokens + max_tiles - 1) / max_tiles;
  Launch(PrefillKernel<T, Element, kDim>,
         LaunchShape{.grid = dim3(static_cast<unsigned>(args.num_kv_heads), static_cast<unsigned>(max_tiles)),
                     .block = dim3(Shape::kThreads),
                     .shared_bytes = Shape::kSharedBytes},
         stream, args, static_cast<int>(padding_rows_per_block));
}

}  // namespace

void PagedAttentionPrefill(const PagedAttentionArgs& args, Stream stream) {
  DispatchAttention(args, [&](auto type, auto element, auto dim) {
    LaunchPrefill<decltype(type), decltype(element), dim.value>(args, stream);
  });
}

}  // namespace switchyard::cuda
