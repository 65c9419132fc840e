// Products with quantised weights for few entries per matrix, bound by the memory that the codes come from.
//
// mma.m16n8k16 with 16 rows of the weights as A and 8 entries as the columns of B, as in expert_gemm_streaming.cu. A
// warp multiplies 32 rows, two groups of 16. A lane loads 16 bytes of codes of row lane / 4 of each piece of 8 rows, a
// chunk of a block (quantized_matrix.h), straight to registers, one block ahead, and makes of them the A elements of
// kSections sections of 64 columns, 16 columns a lane and section. The sum over k is in any order, so pairs 2j and
// 2j + 1 of a lane's 16 columns are its elements of product j of the section, for A and for B alike:
//
//   columns 64 s + 16 t + 4j + {0, 1}: a[0], b[0] of product j     + {2, 3}: a[2], b[1]     (t = lane % 4)
//
// The sum of a section, all of one scale group, is scaled into the sum of the row in float32. Scales are decoded into
// shared memory some blocks at a time (quantized_scale_panel.cuh), x goes through a ring there, filled by cp.async.
// kRowWarps warps of a block take rows of their own, and as many times kColumnWarps a range of columns each; the sums
// of those meet in shared memory. Blocks stay for many items (expert, rows of the weights, entries of a dense product),
// since NF4's table takes time to fill.
#include <algorithm>

#include "kernels/cuda/dequantize.cuh"
#include "kernels/cuda/expert_gemm.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/quantized_gemm.cuh"
#include "kernels/cuda/quantized_scale_panel.cuh"
#include "kernels/cuda/quantized_stream.cuh"
#include "kernels/cuda/reduce.cuh"

namespace switchyard::cuda {
namespace quantized_stream {
namespace {

// What one warp multiplies: 32 rows of the weights by entries [first_entry, first_entry + num_entries) of an item.
template <typename T, typename Shape>
class StreamingWarp {
 public:
  using Weights = Dequantizer<T, Shape::kFormat>;
  using Sums = float[2][Shape::kTiles][4];

  // `matrix` is the expert's. All threads of the block have read what shared memory holds.
  __device__ StreamingWarp(const Params& p, const QuantizedMatrix& matrix, int32_t first_feature, int32_t first_entry,
                           int num_entries, const float* dynamic_map, unsigned char* shared)
      : num_blocks_(static_cast<int32_t>(p.weights.padded_columns / Shape::kBlockColumns)),
        num_tiles_((num_entries + 7) / 8),
        scale_shift_(p.scale_shift),
        scales_(matrix, RowOf<Shape>(p, first_feature, Lane() / 8, Lane() % 8), dynamic_map,
                shared + SharedLayout<T, Shape>::kPanels + Warp() * SharedLayout<T, Shape>::kPanelBytes),
        x_(p, first_entry, num_entries, reinterpret_cast<T*>(shared)) {
    const int32_t share = (num_blocks_ + Shape::kColumnWarps - 1) / Shape::kColumnWarps;
    // Groups of scales are loaded four at a time, and one may have two sections.
    constexpr int kUnit = 8 / Shape::kSections;
    num_steps_ = (share + kUnit - 1) / kUnit * kUnit;
    begin_ = Warp() % Shape::kColumnWarps * num_steps_;
    end_ = min(begin_ + num_steps_, num_blocks_);
    if constexpr (!Shape::kSharesX) num_steps_ = max(end_ - begin_, 0);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      codes_[i] = matrix.codes + RowOf<Shape>(p, first_feature, i, Lane() / 4) * matrix.row_bytes +
                  static_cast<int64_t>(begin_) * kBlockBytes + Lane() % 4 * kChunkBytes;
    }
  }

  // sums[group][tile] += the products over all of this warp's blocks of columns.
  __device__ void Multiply(const Weights& dequantize, Sums& sums) {
    uint4 codes[4];
    if (begin_ < end_) LoadCodes(0, codes);
    x_.Begin(begin_, end_);
    for (int32_t step = 0; step < num_steps_; ++step) {
      const int32_t block = begin_ + step;
      x_.Next(block, end_);
      if (block >= end_) continue;
      if (step % Shape::kPanelBlocks == 0) {
        panel_group_ = block * Shape::kSections >> scale_shift_;
        scales_.Fill(panel_group_, Shape::kPanelGroups >> scale_shift_);
        __syncwarp();
      }
      MultiplyBlock(dequantize, block, codes, sums);
    }
    CpAsyncWait<0>();
  }

 private:
  __device__ __forceinline__ void LoadCodes(int32_t step, uint4 (&codes)[4]) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) codes[i] = LoadStreaming16(codes_[i] + step * kBlockBytes);
  }

  __device__ __forceinline__ void MultiplyBlock(const Weights& dequantize, int32_t block, uint4 (&codes)[4],
                                                Sums& sums) const {
#pragma unroll
    for (int s = 0; s < Shape::kSections; ++s) {
      float scales[4];
      uint32_t zeros[4];
      scales_.Read(((block * Shape::kSections + s) >> scale_shift_) - panel_group_, scales, zeros);
      uint32_t pairs[4][8];  // of this lane's row in each piece
#pragma unroll
      for (int i = 0; i < 4; ++i) Dequantize(dequantize, codes[i], s, zeros[i], pairs[i]);
      // As soon as they are used up: what is under way takes no registers twice.
      if (s == Shape::kSections - 1 && block + 1 < end_) LoadCodes(block + 1 - begin_, codes);
#pragma unroll
      for (int tile = 0; tile < Shape::kTiles; ++tile) {
        if (Shape::kTiles > 1 && tile >= num_tiles_) break;
        uint32_t x[8];
        x_.Load(s, tile, x);
#pragma unroll
        for (int group = 0; group < 2; ++group) {
          float partial[4] = {};
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            MmaM16N8K16<T>(partial,
                           {pairs[2 * group][2 * j], pairs[2 * group + 1][2 * j], pairs[2 * group][2 * j + 1],
                            pairs[2 * group + 1][2 * j + 1]},
                           {x[2 * j], x[2 * j + 1]});
          }
          float(&sum)[4] = sums[group][tile];
#pragma unroll
          for (int i = 0; i < 4; ++i) sum[i] = fmaf(scales[2 * group + i / 2], partial[i], sum[i]);
        }
      }
    }
  }

  // This lane's 16 columns of section `s`, as pairs.
  static __device__ __forceinline__ void Dequantize(const Weights& dequantize, uint4 codes, int s, uint32_t zero,
                                                    uint32_t (&pairs)[8]) {
    constexpr int kWordPairs = Weights::kWordPairs;
    const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
    for (int w = 0; w < 8 / kWordPairs; ++w) {
      uint32_t of_word[kWordPairs];
      dequantize(words[s * (8 / kWordPairs) + w], zero, of_word);
#pragma unroll
      for (int i = 0; i < kWordPairs; ++i) pairs[w * kWordPairs + i] = of_word[i];
    }
  }

  const int32_t num_blocks_;
  const int num_tiles_;
  const int32_t scale_shift_;
  int32_t begin_;  // this warp's blocks of columns
  int32_t end_;
  int32_t num_steps_;  // where warps share x, the same for all
  int32_t panel_group_ = 0;
  ScalePanel<Weights, Shape::kFormat, Shape::kPanelGroups> scales_;
  XRing<T, Shape> x_;
  const uint8_t* codes_[4];  // this lane's chunk of the first block, in each piece
};

// Grid: as many blocks as stay on the GPU at once, or fewer.
template <typename T, typename Shape>
__global__ void __launch_bounds__(Shape::kThreads, Shape::kMinBlocks) StreamingKernel(const Params p) {
  WaitForPrevious();
  using Layout = SharedLayout<T, Shape>;
  unsigned char* shared = DynamicShared<unsigned char>();
  Dequantizer<T, Shape::kFormat>::Prepare(shared + Layout::kTable, p.nf4);
  const float* dynamic_map = nullptr;
  if (p.weights.dynamic_map != nullptr) {
    auto* map = reinterpret_cast<float*>(shared + Layout::kMap);
    for (int i = threadIdx.x; i < kMapSize; i += Shape::kThreads) map[i] = p.weights.dynamic_map[i];
    dynamic_map = map;
  }
  __syncthreads();
  const Dequantizer<T, Shape::kFormat> dequantize(shared + Layout::kTable);
  const int32_t end_item = p.num_items * p.num_matrices;
  for (int32_t item = blockIdx.x; item < end_item; item += gridDim.x) {
    Entries entries;
    if (!FindEntries(p, item / p.num_items, &entries)) break;
    if (entries.place < 0) continue;
    const int32_t first_feature = item % p.num_items * Shape::kFeatures;
    const QuantizedMatrix matrix = MatrixAt(p.weights, entries.place);
    for (int32_t first = entries.begin; first < entries.end; first += Shape::kColumns) {
      const int num_entries = min(entries.end - first, Shape::kColumns);
      typename StreamingWarp<T, Shape>::Sums sums = {};
      StreamingWarp<T, Shape>(p, matrix, first_feature, first, num_entries, dynamic_map, shared)
          .Multiply(dequantize, sums);
      StoreSums<T, Shape>(p, entries.place, first_feature, first, num_entries, sums, reinterpret_cast<float*>(shared));
    }
  }
}

int64_t CeilDivide(int64_t count, int64_t size) { return (count + size - 1) / size; }

template <typename T, typename Shape>
void LaunchShaped(const QuantizedGemmArgs& args, Stream stream) {
  const ExpertPermutation& entries = args.permutation;
  const bool is_grouped = entries.offsets != nullptr;
  const int64_t items = CeilDivide(args.out_features(), Shape::kFeatures);
  const int64_t matrices =
      is_grouped ? entries.max_active_experts() : CeilDivide(entries.num_pairs, int64_t{Shape::kColumns});
  const int64_t blocks = std::min<int64_t>(items * matrices, int64_t{args.num_multiprocessors} * Shape::kMinBlocks);
  Launch(StreamingKernel<T, Shape>,
         LaunchShape{.grid = dim3(static_cast<unsigned>(blocks)),
                     .block = dim3(Shape::kThreads),
                     .shared_bytes = SharedLayout<T, Shape>::kBytes},
         stream,
         Params{QuantizedGemmParams(args, MakeNf4Halves<T>()), static_cast<int32_t>(items),
                static_cast<int32_t>(matrices), Shape::kColumns});
}

template <typename T, WeightFormat kFormat, bool kIsGateUp>
void LaunchFormat(const QuantizedGemmArgs& args, Stream stream) {
  const ExpertPermutation& entries = args.permutation;
  const bool is_grouped = entries.offsets != nullptr;
  const int64_t matrices = is_grouped ? entries.max_active_experts() : 1;
  // Too few blocks have too few loads in flight: divide finer where that would be all.
  const auto is_small = [&](int features) {
    return CeilDivide(args.out_features(), features) * matrices < 2 * int64_t{args.num_multiprocessors};
  };
  const bool takes_one_tile =
      is_grouped ? entries.num_pairs <= 4 * entries.num_experts : entries.num_pairs <= 8;  // mostly
  if (!takes_one_tile) {
    if (is_small(kIsGateUp ? 64 : 128)) {
      return LaunchShaped<T, StreamingShape<kFormat, kIsGateUp, 2, 2, 4, 2>>(args, stream);
    }
    return LaunchShaped<T, StreamingShape<kFormat, kIsGateUp, 4, 4, 2, 2>>(args, stream);
  }
  if (is_small(kIsGateUp ? 32 : 64)) {
    return LaunchShaped<T, StreamingShape<kFormat, kIsGateUp, 1, 1, 8, 2>>(args, stream);
  }
  if constexpr (kFormat == WeightFormat::kNf4) {
    // As few blocks as there can be, each of which fills a table.
    LaunchShaped<T, StreamingShape<kFormat, kIsGateUp, 1, 4, 2, 2>>(args, stream);
  } else {
    LaunchShaped<T, StreamingShape<kFormat, kIsGateUp, 1, 1, 4, 4>>(args, stream);
  }
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
