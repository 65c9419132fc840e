// Paged attention for sequences with one token in the step: the keys are split among blocks, whose results
// paged_attention_combine.cuh brings together.
//
//   part i:   m_i = max of scale * q.k,  l_i = sum of exp(scale * q.k - m_i),  a_i = sum of exp(scale * q.k - m_i) v
//   combined: m = max m_i,  out = sum of exp(m_i - m) a_i / sum of exp(m_i - m) l_i
// Source: Dao, Haziza, Massa, Sizov 2023, "Flash-Decoding for long-context inference". Exponentials are powers of 2,
// with log2(e) in the scale.
//
// Bound: memory, 2 * context * kv_heads * head_dim elements per sequence, each read once: all query heads of a group
// are rows of the same mma tile (16 rows; larger groups take several blocks). Every warp has its own keys and its own
// two-stage pipeline of cp.async, so that warps wait for memory, not for each other. 8-bit elements: kv_elements.cuh.
// Reference: kernels/cpu/reference_attention.cc.
#include <algorithm>
#include <cstdint>

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/attention_dispatch.cuh"
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/bits.cuh"
#include "kernels/cuda/kv_elements.cuh"
#include "kernels/cuda/last_block.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/paged_attention_combine.cuh"
#include "kernels/cuda/paged_attention_forms.h"

namespace switchyard::cuda {
namespace {

// Element: of keys and values.
template <typename Element, int kDim>
struct DecodeShape {
  static constexpr int kWarps = kDim == 256 ? 2 : 4;
  static constexpr int kWarpKeys = kDim == 64 || sizeof(Element) == 1 ? 32 : 16;  // of one stage
  static constexpr int kBlockKeys = kWarps * kWarpKeys;
  static constexpr int kThreads = kWarps * kWarpSize;
  static constexpr int kBlocks = 3;  // on a multiprocessor with 228 KB of shared memory
  static constexpr int kStages = 2;
  static constexpr int kStageElements = 2 * kWarpKeys * kDim;  // of one warp: keys, then values
  static constexpr int kQueryElements = kDecodeHeads * kDim;
  static constexpr size_t kStagesBytes = kWarps * kStages * kStageElements * sizeof(Element);
  static constexpr size_t kSharedBytes = kQueryElements * 2 + kStagesBytes;
  // Rows of the warps' sums, in floats: 8 more than kDim so that rows g and g + 1 lie in different banks.
  static constexpr int kSumStride = kDim + 8;
  static_assert(kWarps * kDecodeHeads * kSumStride * sizeof(float) <= kStagesBytes);
};

// What the host works out, so that blocks do not divide.
struct DecodeGrid {
  int group;            // heads of one kv head
  int head_blocks;      // of a group
  int num_zeroed_rows;  // padding rows, at most
  int num_splits;
};

constexpr int kQueriesOfWarp = 8;  // what the rows of a tile are permuted by

// Grid: (sequences or padded rows, kv heads * blocks of 16 heads, splits).
template <typename T, typename Element, int kDim>
__global__ void __launch_bounds__(DecodeShape<Element, kDim>::kThreads, DecodeShape<Element, kDim>::kBlocks)
    DecodeKernel(PagedAttentionArgs args, DecodeGrid grid) {
  WaitForPrevious();
  LetNextStart();
  using Shape = DecodeShape<Element, kDim>;
  constexpr bool kHasScales = sizeof(Element) == 1;
  constexpr int kWarpKeys = Shape::kWarpKeys;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int sequence = static_cast<int>(blockIdx.x);
  const int split = static_cast<int>(blockIdx.z);
  const int num_heads = static_cast<int>(args.num_heads);
  const int head_dim = static_cast<int>(args.head_dim);
  const int num_splits = grid.num_splits;
  const auto head_block = static_cast<int>(blockIdx.y);
  const int kv_head = grid.head_blocks == 1 ? head_block : head_block / grid.head_blocks;
  const int first_of_group = (head_block - kv_head * grid.head_blocks) * static_cast<int>(kDecodeHeads);
  const int first_head = kv_head * grid.group + first_of_group;
  const int heads = HeadsOfBlock(grid.group, first_of_group);
  T* out = static_cast<T*>(args.out);
  const bool has_sequence = sequence < args.num_sequences;
  const PagedRows rows = {.pages = args.page_table + sequence * args.page_table_width,
                          .page_size = static_cast<int>(args.page_size),
                          .num_kv_heads = static_cast<int>(args.num_kv_heads),
                          .kv_head = kv_head};

  // What leads to the keys is asked for at once, by two guesses: sequence i has token i, parts are as short as can be.
  int guessed_page = -1;
  int guessed_position = -1;
  int token = -1;
  int next_token = -1;
  const int guessed_key = split * Shape::kBlockKeys + warp * kWarpKeys + lane;
  const int page_idx = rows.PageOf(guessed_key);
  if (has_sequence) {
    if (page_idx < args.page_table_width) guessed_page = rows.pages[page_idx];
    if (sequence < args.num_tokens) guessed_position = args.positions[sequence];
    token = args.sequence_begin[sequence];
    next_token = args.sequence_begin[sequence + 1];
  }
  const bool is_padding = split == 0 && sequence < grid.num_zeroed_rows && args.token_sequence[sequence] < 0;
  if (is_padding) {
    T* row = out + (static_cast<int64_t>(sequence) * num_heads + first_head) * head_dim;
#pragma unroll 1
    for (int i = static_cast<int>(threadIdx.x); i < heads * head_dim; i += Shape::kThreads) row[i] = T{0};
  }
  if (next_token - token != 1) return;
  const int position = token == sequence ? guessed_position : args.positions[token];
  const VisibleKeys visible(position, args.sliding_window, num_splits, Shape::kBlockKeys);
  if (!visible.has_part(split)) return;
  const int begin = visible.begin + split * visible.part_keys;
  const int end = min(begin + visible.part_keys, visible.end);

  T* queries = DynamicShared<T>();  // tile [16 heads, kDim]
  Element* stages =
      reinterpret_cast<Element*>(queries + Shape::kQueryElements) + warp * Shape::kStages * Shape::kStageElements;
  const auto* k_pages = static_cast<const Element*>(args.k_pages);
  const auto* v_pages = static_cast<const Element*>(args.v_pages);

  // Warps of a split take kWarpKeys keys each in turn. Page entries are read one stage ahead of the keys, scales with
  // the keys.
  int key = begin + warp * kWarpKeys;
  int row = -1;
  if (key + lane == guessed_key) {
    if (guessed_key < end) row = rows.RowIn(guessed_page, guessed_key - page_idx * rows.page_size);
  } else {
    row = rows.At(key + lane, end);
  }
  // Two warps copy eight queries each. Only rows of real heads are read; the tile's others are zeros, or what was there
  // before: rows of products do not meet.
  const int first_query = warp * kQueriesOfWarp;
  T* own_queries = queries + first_query * kDim;
  const bool has_queries = first_query < heads;
  if (has_queries) {
    const int query_head = first_query + lane;
    const int query_row = query_head < heads ? token * num_heads + first_head + query_head : -1;
    CopyRowsAsync<kQueriesOfWarp, kDim>(static_cast<const T*>(args.q), query_row, head_dim, own_queries);
  }
  CpAsyncCommit();
  CopyRowsAsync<kWarpKeys, kDim>(k_pages, row, head_dim, stages);
  CopyRowsAsync<kWarpKeys, kDim>(v_pages, row, head_dim, stages + kWarpKeys * kDim);
  CpAsyncCommit();
  float2 next_scales = make_float2(0.0f, 0.0f);  // of the keys and values of key + lane
  if constexpr (kHasScales) next_scales = LoadScales<T, Element>(args.k_scales, args.v_scales, row);
  row = rows.At(key + Shape::kBlockKeys + lane, end);
  CpAsyncWait<1>();
  if constexpr (kHasScales) {
    if (has_queries) {
      __syncwarp();
      InterleaveQueries<kQueriesOfWarp, kDim>(own_queries);
    }
  }
  __syncthreads();  // the queries are there

  const float scale_log2 = args.scale * kLog2E;
  OnlineSoftmax<1, kDim> softmax;
  softmax.Reset();
  for (int stage = 0; key < end; key += Shape::kBlockKeys, stage ^= 1) {
    const Element* keys = stages + stage * Shape::kStageElements;
    const Element* values = keys + kWarpKeys * kDim;
    const float2 scales = next_scales;
    __syncwarp();  // all lanes have read the stage before
    if (key + Shape::kBlockKeys < end) {
      Element* next = stages + (stage ^ 1) * Shape::kStageElements;
      CopyRowsAsync<kWarpKeys, kDim>(k_pages, row, head_dim, next);
      CopyRowsAsync<kWarpKeys, kDim>(v_pages, row, head_dim, next + kWarpKeys * kDim);
      if constexpr (kHasScales) next_scales = LoadScales<T, Element>(args.k_scales, args.v_scales, row);
      row = rows.At(key + 2 * Shape::kBlockKeys + lane, end);
    }
    CpAsyncCommit();
    CpAsyncWait<1>();
    __syncwarp();  // the copies of all lanes are there

    float scores[1][kWarpKeys / 8][4];
    if constexpr (kHasScales) {
      MultiplyByteKeys<1, kWarpKeys, kDim>(queries, keys, scores);
#pragma unroll
      for (int n = 0; n < kWarpKeys / 8; ++n) {
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const float scale = __shfl_sync(kFullWarp, scales.x, n * 8 + lane % 4 * 2 + c);
          scores[0][n][c] *= scale;
          scores[0][n][c + 2] *= scale;
        }
      }
    } else {
      MultiplyKeys<1, kWarpKeys, kDim>(queries, keys, scores);
    }
    if (key + kWarpKeys > end) {
#pragma unroll
      for (int n = 0; n < kWarpKeys / 8; ++n) {
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          if (key + n * 8 + lane % 4 * 2 + c % 2 >= end) scores[0][n][c] = MinusInfinity();
        }
      }
    }
    uint32_t weights[1][kWarpKeys / 16][4];
    if constexpr (kHasScales) {
      softmax.template Update<kWarpKeys, T>(scores, scale_log2, weights, [&](float weight, int n, int c) {
        return weight * __shfl_sync(kFullWarp, scales.y, n * 8 + lane % 4 * 2 + c);
      });
      AddByteValues<kWarpKeys, 1, kDim, T>(weights, values, softmax.out);
    } else {
      softmax.template Update<kWarpKeys, T>(scores, scale_log2, weights);
      softmax.template AddValues<kWarpKeys>(weights, values);
    }
  }
  softmax.FinishSums();

  // The warps' results meet in shared memory, where the stages were. A warp without keys has copies (of zeros) under
  // way.
  CpAsyncWait<0>();
  __shared__ float warp_max[Shape::kWarps][kDecodeHeads];
  __shared__ float warp_sum[Shape::kWarps][kDecodeHeads];
  float* warp_out = reinterpret_cast<float*>(DynamicShared<T>() + Shape::kQueryElements);  // [warps, 16, kSumStride]
  if (lane % 4 == 0) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      warp_max[warp][lane / 4 + 8 * r] = softmax.max[0][r] * scale_log2;
      warp_sum[warp][lane / 4 + 8 * r] = softmax.sum[0][r];
    }
  }
  __syncthreads();
  const auto largest_of = [&](int head) {
    float largest = warp_max[0][head];
#pragma unroll
    for (int w = 1; w < Shape::kWarps; ++w) largest = fmaxf(largest, warp_max[w][head]);
    return largest;
  };
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int head = lane / 4 + 8 * r;
    if (head >= heads) continue;
    const float largest = largest_of(head);
    const float correction = Exp2(warp_max[warp][head] - largest);
    float* to = warp_out + (warp * kDecodeHeads + head) * Shape::kSumStride;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      const auto [dim, x, y] = softmax.template OutPair<kHasScales>(0, n, r);
      *reinterpret_cast<float2*>(to + dim) = make_float2(x * correction, y * correction);
    }
  }
  __syncthreads();
  const int num_parts = visible.num_parts();
  const Partials partials(args, num_splits);
  for (int head = warp; head < heads; head += Shape::kWarps) {
    const float largest = largest_of(head);
    float sum = 0.0f;
    for (int w = 0; w < Shape::kWarps; ++w) sum += warp_sum[w][head] * Exp2(warp_max[w][head] - largest);
    const int64_t part = (static_cast<int64_t>(sequence) * num_heads + first_head + head) * num_splits + split;
    if (num_parts > 1 && lane == 0) partials.stats[part] = make_float2(largest, sum);
    for (int dim = 2 * lane; dim < head_dim; dim += 2 * kWarpSize) {
      float2 total = make_float2(0.0f, 0.0f);
#pragma unroll
      for (int w = 0; w < Shape::kWarps; ++w) {
        const float* from = warp_out + (w * kDecodeHeads + head) * Shape::kSumStride + dim;
        total.x += from[0];
        total.y += from[1];
      }
      if (num_parts > 1) {
        *reinterpret_cast<float2*>(partials.sums + part * head_dim + dim) = total;
      } else {
        T* to = out + (static_cast<int64_t>(token) * num_heads + first_head + head) * head_dim + dim;
        *reinterpret_cast<uint32_t*>(to) = Pack2<T>(total.x / sum, total.y / sum);
      }
    }
  }
  if (num_parts == 1 || !CombinesInBlock(num_parts, heads)) return;
  if (!ArriveLast(partials.arrivals + sequence * gridDim.y + blockIdx.y, num_parts)) return;
  CombineInBlock<Shape::kThreads>(
      partials,
      PartsOfBlock{.first_row = (static_cast<int64_t>(sequence) * num_heads + first_head) * num_splits,
                   .num_splits = num_splits,
                   .num_parts = num_parts,
                   .num_heads = heads,
                   .head_dim = head_dim},
      warp_out, out + (static_cast<int64_t>(token) * num_heads + first_head) * head_dim);
}

template <typename T, typename Element, int kDim>
void LaunchDecode(const PagedAttentionArgs& args, Stream stream) {
  using Shape = DecodeShape<Element, kDim>;
  const auto group = static_cast<unsigned>(args.num_heads / args.num_kv_heads);
  const unsigned head_blocks = (group + kDecodeHeads - 1) / kDecodeHeads;
  const int64_t num_zeroed_rows = NeedsPrefillForm(args) ? 0 : args.num_tokens;
  const int64_t num_splits = NumDecodeSplits(args);
  const dim3 blocks(static_cast<unsigned>(std::max(args.num_sequences, num_zeroed_rows)),
                    static_cast<unsigned>(args.num_kv_heads) * head_blocks, static_cast<unsigned>(num_splits));
  Launch(DecodeKernel<T, Element, kDim>,
         LaunchShape{.grid = blocks, .block = dim3(Shape::kThreads), .shared_bytes = Shape::kSharedBytes}, stream, args,
         DecodeGrid{.group = static_cast<int>(group),
                    .head_blocks = static_cast<int>(head_blocks),
                    .num_zeroed_rows = static_cast<int>(num_zeroed_rows),
                    .num_splits = static_cast<int>(num_splits)});
  const int64_t most_heads = std::min<int64_t>(group, kDecodeHeads);
  if (num_splits == 1 || args.num_sequences == 0 || CombinesInBlock(num_splits, most_heads)) return;
  CombineParts(args, num_splits, Shape::kBlockKeys, stream);
}

}  // namespace

void PagedAttentionDecode(const PagedAttentionArgs& args, Stream stream) {
  DispatchAttention(args, [&](auto type, auto element, auto dim) {
    LaunchDecode<decltype(type), decltype(element), dim.value>(args, stream);
  });
}

}  // namespace switchyard::cuda
