// Products with quantised weights for few entries per matrix, bound by the memory that the codes come from.
//
// mma.m16n8k16 with 16 rows of the weights as A and 8 entries as the columns of B, as in expert_gemm_streaming.cu. A
// warp multiplies 32 rows, two groups of 16. A lane copies 16 bytes of codes of row lane / 4 of each piece of 8 rows, a
// chunk of a block (quantized_matrix.h), by cp.async into slots that it alone reads, and makes of them the A elements
// of kSections sections of 64 columns, 16 columns a lane and section. The sum over k is in any order, so pairs 2j and
// 2j + 1 of a lane's 16 columns are its elements of product j of the section, for A and for B alike:
//
//   columns 64 s + 16 t + 4j + {0, 1}: a[0], b[0] of product j     + {2, 3}: a[2], b[1]     (t = lane % 4)
//
// The sum of a section, all of one scale group, is scaled into the sum of the row in float32. kRowWarps warps of a
// block take rows of their own, and as many times kColumnWarps a range of columns each; the sums of those meet in
// shared memory. Blocks stay for many items (rows of a matrix by entries), and copies of codes go on from one to the
// next.
//
// In four bits the limit is as much the number of instructions as memory: at the full rate of an H200 a warp has some
// 450 issue slots of its scheduler for a block of 32 rows by 128 columns, and it is 180 that turn the codes into
// numbers. Hence straight code for each number of tiles, and pointers that are moved instead of computed.
#include <algorithm>

#include "kernels/cuda/async_copy.cuh"
#include "kernels/cuda/dependency.cuh"
#include "kernels/cuda/dequantize.cuh"
#include "kernels/cuda/expert_gemm.cuh"
#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/quantized_gemm.cuh"
#include "kernels/cuda/quantized_row_scales.cuh"
#include "kernels/cuda/quantized_stream.cuh"
#include "kernels/cuda/quantized_stream_x.cuh"
#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda {
namespace quantized_stream {
namespace {

// What one warp multiplies: 32 rows of the weights by the entries of the items, in the warp's columns.
template <typename T, typename Shape>
class StreamingWarp {
 public:
  using Weights = Dequantizer<T, Shape::kFormat>;
  using Scales = RowScales<Weights, Shape::kFormat, Shape::kSections / Shape::kGroupSections>;

  // Starts the first copies of codes.
  __device__ StreamingWarp(const Params& p, const ColumnRange& columns, const float* dynamic_map, unsigned char* shared)
      : p_(p),
        columns_(columns),
        dynamic_map_(dynamic_map),
        codes_(p, columns, shared),
        dequantize_(shared + SharedLayout<T, Shape>::kTable) {}

  __device__ __forceinline__ Scales ScalesOf(const Items<Shape>& items) const {
    return Scales(p_.weights, items.place(), RowOf<Shape>(p_, items.first_feature(), Lane() % 4, Lane() / 4),
                  Shape::kGroupSections == 1 ? p_.scale_shift : 0, dynamic_map_, min(columns_.begin, columns_.end - 1));
  }

  // The sums of an item of kTiles tiles go to `shared` (StoreSums), which may hold x until then.
  template <int kTiles>
  __device__ __forceinline__ void MultiplyItem(const Items<Shape>& items, typename Scales::First asked, float* shared) {
    Scales scales = ScalesOf(items);
    float sums[2][kTiles][4] = {};
    if constexpr (Shape::kSharesX) {
      SharedX<T, Shape> x(p_, items.first_entry(), items.num_entries(), columns_, shared);
      for (int32_t step = 0; step < columns_.share; ++step) {
        codes_.Wait();
        __syncthreads();
        x.CopyNext();
        if (columns_.begin + step >= columns_.end) continue;
        codes_.CopyNext(p_);
        scales.Next(columns_.begin + step + 1 < columns_.end, asked);
        MultiplyBlock(scales, sums, [&](int s, uint32_t(&pairs)[kTiles][8]) { x.Load(s, pairs); });
        codes_.Release();
      }
      __syncthreads();  // x has been read
    } else {
      CachedX<T, Shape, kTiles> x(p_, items.first_entry(), items.num_entries(), columns_.begin);
      for (int32_t block = columns_.begin; block < columns_.end; ++block) {
        // Before the wait for the codes, as far as there are registers for it.
        constexpr bool kLoadsAll = kTiles == 1 && Shape::kFormat != WeightFormat::kNf4;
        uint32_t all[Shape::kSections][kTiles][8];
        if constexpr (kLoadsAll) x.LoadBlock(all);
        codes_.Wait();
        codes_.CopyNext(p_);
        scales.Next(block + 1 < columns_.end, asked);
        MultiplyBlock(scales, sums, [&](int s, uint32_t(&pairs)[kTiles][8]) {
          if constexpr (kLoadsAll) {
#pragma unroll
            for (int i = 0; i < 8; ++i) pairs[0][i] = all[s][0][i];
          } else {
            x.Load(s, pairs);
          }
        });
        codes_.Release();
        x.Next();
      }
    }
    WriteSums<Shape>(items.num_entries(), sums, shared);
  }

 private:
  // load_x(s, x): x of section `s` of each tile, as CachedX::Load.
  template <int kTiles, typename LoadX>
  __device__ __forceinline__ void MultiplyBlock(const Scales& of_rows, float (&sums)[2][kTiles][4],
                                                const LoadX& load_x) const {
#pragma unroll
    for (int first = 0; first < Shape::kSections; first += Shape::kGroupSections) {
      float scales[4];
      uint32_t zeros[4];
      of_rows.Read(first / Shape::kGroupSections, scales, zeros);
      uint32_t x[Shape::kGroupSections][kTiles][8];
#pragma unroll
      for (int s = 0; s < Shape::kGroupSections; ++s) load_x(first + s, x[s]);
#pragma unroll
      for (int group = 0; group < 2; ++group) {
        float partial[kTiles][4] = {};
#pragma unroll
        for (int s = 0; s < Shape::kGroupSections; ++s) {
          uint32_t pairs[2][8];  // of this lane's row in each piece
#pragma unroll
          for (int i = 0; i < 2; ++i) Dequantize(2 * group + i, first + s, zeros[2 * group + i], pairs[i]);
#pragma unroll
          for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
            for (int j = 0; j < 4; ++j) {
              MmaM16N8K16<T>(partial[tile],
                             {pairs[0][2 * j], pairs[1][2 * j], pairs[0][2 * j + 1], pairs[1][2 * j + 1]},
                             {x[s][tile][2 * j], x[s][tile][2 * j + 1]});
            }
          }
        }
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
          float(&sum)[4] = sums[group][tile];
#pragma unroll
          for (int i = 0; i < 4; ++i) sum[i] = fmaf(scales[2 * group + i / 2], partial[tile][i], sum[i]);
        }
      }
    }
  }

  // This lane's 16 columns of section `s`, as pairs.
  __device__ __forceinline__ void Dequantize(int piece, int s, uint32_t zero, uint32_t (&pairs)[8]) const {
    constexpr int kWordPairs = Weights::kWordPairs;
    constexpr int kWords = 4 / Shape::kSections;
    uint32_t words[kWords];
    codes_.Read(piece, s, words);
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      uint32_t of_word[kWordPairs];
      dequantize_(words[w], zero, of_word);
#pragma unroll
      for (int i = 0; i < kWordPairs; ++i) pairs[w * kWordPairs + i] = of_word[i];
    }
  }

  const Params& p_;
  const ColumnRange columns_;
  const float* dynamic_map_;
  CodeRing<Shape> codes_;
  const Weights dequantize_;
};

// Straight code for as many tiles as the item has, which the compiler interleaves.
template <int kTiles, typename T, typename Shape>
__device__ __forceinline__ void MultiplyItem(StreamingWarp<T, Shape>& warp, const Items<Shape>& items,
                                             const typename StreamingWarp<T, Shape>::Scales::First& asked,
                                             float* shared) {
  if constexpr (kTiles > 1) {
    if (items.num_entries() <= 8 * (kTiles - 1)) {
      return MultiplyItem<kTiles - 1>(warp, items, asked, shared);
    }
  }
  warp.template MultiplyItem<kTiles>(items, asked, shared);
}

// Grid: as many blocks as stay on the GPU at once, or fewer.
template <typename T, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kMinBlocks) StreamingKernel(const Params p) {
  using Layout = SharedLayout<T, Shape>;
  unsigned char* shared = DynamicShared<unsigned char>();
  Dequantizer<T, Shape::kFormat>::Prepare(shared + Layout::kTable, p.nf4);
  const float* dynamic_map = nullptr;
  if (p.weights.dynamic_map != nullptr) {
    auto* map = reinterpret_cast<float*>(shared + Layout::kMap);
    for (int i = threadIdx.x; i < kMapSize; i += Shape::kThreads) map[i] = p.weights.dynamic_map[i];
    dynamic_map = map;
  }
  // Codes are asked for as soon as it is known which: x comes later.
  if (!p.lists_are_settled) WaitForPrevious();
  StreamingWarp<T, Shape> warp(p, ColumnRange::Of<Shape>(p), dynamic_map, shared);
  if (p.lists_are_settled) WaitForPrevious();
  LetNextStart();
  __syncthreads();
  auto* sums = reinterpret_cast<float*>(shared + Layout::kSums);
  int buffer = 0;
  const auto store = [&](const Items<Shape>& items) {
    float* of_item = sums + buffer * Shape::kSumFloats;
    __syncthreads();
    StoreSums<T, Shape>(p, items, of_item);
    if constexpr (Shape::kSumBuffers == 2) {
      buffer = 1 - buffer;
    } else {
      __syncthreads();  // the sums have been read
    }
  };
  Items<Shape> items(p);
  if constexpr (Shape::kSharesX) {
    for (; !items.AtEnd(); items.Advance(p)) {
      MultiplyItem<Shape::kTiles>(warp, items, warp.ScalesOf(items).Ask(), sums);
      store(items);
    }
  } else {
    if (items.AtEnd()) return;
    auto asked = warp.ScalesOf(items).Ask();
    while (!items.AtEnd()) {
      Items<Shape> next = items;
      next.Advance(p);
      // The first scales of the next item arrive while this one is multiplied.
      const auto next_asked = warp.ScalesOf(next).Ask();
      MultiplyItem<Shape::kTiles>(warp, items, asked, sums + buffer * Shape::kSumFloats);
      store(items);
      items = next;
      asked = next_asked;
    }
  }
  CpAsyncWait<0>();
}

int64_t CeilDivide(int64_t count, int64_t size) { return (count + size - 1) / size; }

template <typename T, typename Shape>
void LaunchShaped(const QuantizedGemmArgs& args, Stream stream) {
  const ExpertPermutation& entries = args.permutation;
  const bool is_grouped = entries.offsets != nullptr;
  const int64_t items = CeilDivide(args.out_features(), Shape::kFeatures);
  const int64_t matrices =
      is_grouped ? entries.max_active_experts() : CeilDivide(entries.num_pairs, int64_t{Shape::kColumns});
  constexpr size_t kSharedBytes = SharedLayout<T, Shape>::kBytes;
  const int64_t at_once = int64_t{args.num_multiprocessors} * BlocksPerMultiprocessor(kSharedBytes, Shape::kMinBlocks);
  Launch(StreamingKernel<T, Shape>,
         LaunchShape{.grid = dim3(static_cast<unsigned>(std::min(items * matrices, at_once))),
                     .block = dim3(Shape::kThreads),
                     .shared_bytes = kSharedBytes},
         stream,
         Params{QuantizedGemmParams(args, MakeNf4Halves<T>()), static_cast<int32_t>(items),
                static_cast<int32_t>(matrices), Shape::kColumns, !is_grouped || args.lists_are_settled});
}

template <typename T, WeightFormat kFormat, bool kIsGateUp>
void LaunchFormat(const QuantizedGemmArgs& args, Stream stream) {
  const ExpertPermutation& entries = args.permutation;
  const bool is_grouped = entries.offsets != nullptr;
  const int64_t matrices = is_grouped ? entries.max_active_experts() : 1;
  // Too few blocks have too few loads in flight: divide finer where that would be all.
  const auto is_small = [&](int features) {
    return 2 * CeilDivide(args.out_features(), features) * matrices < 3 * int64_t{args.num_multiprocessors};
  };
  const bool takes_one_tile =
      is_grouped ? entries.num_pairs <= 4 * entries.num_experts : entries.num_pairs <= 8;  // mostly
  if (!takes_one_tile) {
    if (is_small(kIsGateUp ? 64 : 128)) {
      return LaunchShaped<T, StreamingShape<kFormat, kIsGateUp, 2, 1, 8, 2>>(args, stream);
    }
    return LaunchShaped<T, StreamingShape<kFormat, kIsGateUp, 3, 4, 2, 2>>(args, stream);
  }
  constexpr int kStages = kFormat == WeightFormat::kNf4 ? 2 : 3;
  if constexpr (kFormat == WeightFormat::kInt4) {
    if (args.weights.quantization.group_size == cuda::kBlockColumns(kFormat)) {
      return LaunchShaped<T, StreamingShape<kFormat, kIsGateUp, 1, 1, 8, kStages, true>>(args, stream);
    }
  }
  LaunchShaped<T, StreamingShape<kFormat, kIsGateUp, 1, 1, 8, kStages>>(args, stream);
}

template <typename T, WeightFormat kFormat>
void LaunchProduct(const QuantizedGemmArgs& args, Stream stream) {
  return args.is_gate_up ? LaunchFormat<T, kFormat, true>(args, stream) : LaunchFormat<T, kFormat, false>(args, stream);
}

}  // namespace
}  // namespace quantized_stream

void LaunchQuantizedGemmStreaming(const QuantizedGemmArgs& args, Stream stream) {
  DispatchQuantizedGemm(
      args, [&]<typename T, WeightFormat kFormat>() { quantized_stream::LaunchProduct<T, kFormat>(args, stream); });
}

}  // namespace switchyard::cuda
