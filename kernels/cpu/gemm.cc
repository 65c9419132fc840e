#include "kernels/cpu/gemm.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/gemm.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/highway.h"
#include "kernels/cpu/vector_util-inl.h"
#include "kernels/cpu/weight_stream.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

constexpr size_t kChunk = PackedMatrix::kChunk;
constexpr size_t kGroupRows = PackedMatrix::kGroupRows;
// Rows whose 4 sums each, with their x and one weight, fit the vector registers: 32 of them with AVX-512, else 16.
constexpr size_t kRegisterRows = HWY_MAX_BYTES >= 64 ? 6 : 3;
// Parts of a second-level cache: for one tile, and for the tiles that share one reading of the weights.
constexpr size_t kTileBytes = 128 * 1024;
constexpr size_t kTileBlockBytes = 512 * 1024;

HWY_INLINE Vector LoadWeights(Floats d, const float* w) { return hn::LoadU(d, w); }
HWY_INLINE Vector LoadWeights(Floats d, const hwy::bfloat16_t* w) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<hwy::bfloat16_t, Floats>(), w));
}
HWY_INLINE Vector LoadWeights(Floats d, const hwy::float16_t* w) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<hwy::float16_t, Floats>(), w));
}

// Products of kRows rows of a tile with one group. x: first of the rows in the tile's first chunk; x_step: elements
// from one chunk to the next. y: first row and column; outs: columns that exist.
template <size_t kRows, typename Weight>
void MultiplyTile(const float* HWY_RESTRICT x, size_t x_step, const Weight* HWY_RESTRICT w, size_t chunks,
                  bool accumulate, size_t outs, float* HWY_RESTRICT y, size_t y_stride) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  Vector sums[kRows * kGroupRows];
  Unroll<kRows * kGroupRows>([&](auto i) SWITCHYARD_INLINE_LAMBDA { sums[i] = hn::Zero(d); });
  for (size_t c = 0; c < chunks; ++c, x += x_step, w += kGroupRows * kChunk) {
    for (size_t i = 0; i < kGroupRows * kChunk; i += 64 / sizeof(Weight)) {
      FetchWeights(w + kWeightsAhead / sizeof(Weight) + i);
    }
    for (size_t column = 0; column < kChunk; column += lanes) {
      Vector rows[kRows];
      Unroll<kRows>([&](auto m) SWITCHYARD_INLINE_LAMBDA { rows[m] = hn::LoadU(d, x + m * kChunk + column); });
      Unroll<kGroupRows>([&](auto r) SWITCHYARD_INLINE_LAMBDA {
        const Vector weights = LoadWeights(d, w + r * kChunk + column);
        Unroll<kRows>([&](auto m) SWITCHYARD_INLINE_LAMBDA {
          sums[m * kGroupRows + r] = hn::MulAdd(rows[m], weights, sums[m * kGroupRows + r]);
        });
      });
    }
  }
  Unroll<kRows>([&](auto m) SWITCHYARD_INLINE_LAMBDA {
    float totals[kGroupRows];
    FoldFour<BySum>(d, sums + m * kGroupRows, totals);
    float* out = y + m * y_stride;
    for (size_t r = 0; r < outs; ++r) out[r] = totals[r] + (accumulate ? out[r] : 0.0f);
  });
}

template <typename Weight>
void MultiplyRows(size_t rows, const float* x, size_t x_step, const Weight* w, size_t chunks, bool accumulate,
                  size_t outs, float* y, size_t y_stride) {
  while (rows > 0) {
    const size_t now = std::min(rows, kRegisterRows);
    WithConstant<kRegisterRows>(now, [&](auto count) SWITCHYARD_INLINE_LAMBDA {
      MultiplyTile<count>(x, x_step, w, chunks, accumulate, outs, y, y_stride);
    });
    rows -= now;
    x += now * kChunk;
    y += now * y_stride;
  }
}

template <typename Weight>
void MultiplyTyped(const float* packed_rows, size_t rows, const PackedMatrix& weight, size_t group_begin,
                   size_t group_end, float* y) {
  const size_t out_features = weight.spec().out_features;
  const size_t chunks = weight.num_chunks();
  const size_t tiles = FloatTiles::NumTiles(rows);
  // Deep products are cut so that a tile stays in the cache while the groups pass by.
  const size_t tile_bytes = std::min<size_t>(rows, FloatTiles::kTileRows) * chunks * kChunk * sizeof(float);
  const size_t depth_blocks = std::max<size_t>(1, (tile_bytes + kTileBytes - 1) / kTileBytes);
  const size_t chunk_block = (chunks + depth_blocks - 1) / depth_blocks;
  const size_t row_bytes = std::max<size_t>(1, FloatTiles::kTileRows * chunk_block * kChunk * sizeof(float));
  const size_t tile_block = std::max<size_t>(1, kTileBlockBytes / row_bytes);
  const auto* w = static_cast<const Weight*>(weight.data());
  FetchFirstWeights(w + group_begin * chunks * kGroupRows * kChunk);
  for (size_t tile0 = 0; tile0 < tiles; tile0 += tile_block) {
    for (size_t chunk0 = 0; chunk0 == 0 || chunk0 < chunks; chunk0 += std::max<size_t>(1, chunk_block)) {
      const size_t depth = std::min(chunk_block, chunks - chunk0);
      for (size_t group = group_begin; group < group_end; ++group) {
        const Weight* group_weights = w + (group * chunks + chunk0) * kGroupRows * kChunk;
        const size_t outs = std::min(kGroupRows, out_features - group * kGroupRows);
        for (size_t tile = tile0; tile < std::min(tiles, tile0 + tile_block); ++tile) {
          const size_t row = FloatTiles::TileBegin(rows, tile);
          const size_t tile_rows = FloatTiles::TileBegin(rows, tile + 1) - row;
          MultiplyRows(tile_rows, packed_rows + (row * chunks + chunk0 * tile_rows) * kChunk, tile_rows * kChunk,
                       group_weights, depth, chunk0 > 0, outs, y + row * out_features + group * kGroupRows,
                       out_features);
        }
      }
    }
  }
}

void Multiply(const float* packed_rows, int64_t rows, const PackedMatrix& weight, int64_t group_begin,
              int64_t group_end, float* y) {
  switch (weight.spec().dtype) {
    case DType::kBFloat16:
      return MultiplyTyped<hwy::bfloat16_t>(packed_rows, rows, weight, group_begin, group_end, y);
    case DType::kFloat16:
      return MultiplyTyped<hwy::float16_t>(packed_rows, rows, weight, group_begin, group_end, y);
    default:
      return MultiplyTyped<float>(packed_rows, rows, weight, group_begin, group_end, y);
  }
}

const char* TargetName() { return hwy::TargetName(HWY_TARGET); }

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {

HWY_EXPORT(Multiply);
HWY_EXPORT(TargetName);

void MultiplyGroups(const float* packed_rows, int64_t rows, const PackedMatrix& weight, int64_t group_begin,
                    int64_t group_end, float* y) {
  HWY_DYNAMIC_DISPATCH(Multiply)(packed_rows, rows, weight, group_begin, group_end, y);
}

const char* VectorTargetName() { return HWY_DYNAMIC_DISPATCH(TargetName)(); }

}  // namespace switchyard
#endif  // HWY_ONCE
