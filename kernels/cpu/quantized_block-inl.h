// What the products with a block of QuantizedMatrix share, compiled once for each instruction set by the file that
// includes this one. No include guard in the usual sense: hwy/foreach_target.h includes the including file repeatedly.
#if defined(SWITCHYARD_KERNELS_CPU_QUANTIZED_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SWITCHYARD_KERNELS_CPU_QUANTIZED_BLOCK_INL_H_
#undef SWITCHYARD_KERNELS_CPU_QUANTIZED_BLOCK_INL_H_
#else
#define SWITCHYARD_KERNELS_CPU_QUANTIZED_BLOCK_INL_H_
#endif

#include <algorithm>
#include <type_traits>

#include "hwy/highway.h"
#include "kernels/cpu/quantized_matrix.h"
#include "kernels/cpu/vector_util-inl.h"
#include "kernels/cpu/weight_stream.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::CappedTag<float, QuantizedMatrix::kBlockRows>;
using Ints = hn::RebindToSigned<Floats>;
using Vector = hn::Vec<Floats>;
using IntVector = hn::Vec<Ints>;

constexpr size_t kLanes = hn::MaxLanes(Floats());
// Vectors with a lane for each row of a block.
constexpr size_t kVectors = QuantizedMatrix::kBlockRows / kLanes;
constexpr size_t kSliceBytes = QuantizedMatrix::kSliceBytes;

// A form of weights, known to the compiler.
template <WeightFormat kFormatValue, bool kHasZerosValue>
struct WeightForm {
  static constexpr WeightFormat kFormat = kFormatValue;
  static constexpr bool kHasZeros = kHasZerosValue;
  static constexpr size_t kSliceColumns = kFormat == WeightFormat::kInt8 ? 4 : 8;
  static constexpr int kDefaultZero = kFormat == WeightFormat::kInt8 ? 128 : 8;
  // Of a block's scales and zeros, for one group of columns.
  static constexpr size_t kScaleBytes = kFormat == WeightFormat::kNf4 ? sizeof(float) : sizeof(uint16_t);
  static constexpr size_t kGroupBytes = QuantizedMatrix::kBlockRows * (kScaleBytes + (kHasZeros ? sizeof(uint8_t) : 0));
};

// body(WeightForm of `quantization`).
template <typename Body>
HWY_INLINE void WithWeightForm(const Quantization& quantization, Body body) {
  switch (quantization.format) {
    case WeightFormat::kNf4:
      return body(WeightForm<WeightFormat::kNf4, false>());
    case WeightFormat::kInt4:
      return quantization.has_zeros ? body(WeightForm<WeightFormat::kInt4, true>())
                                    : body(WeightForm<WeightFormat::kInt4, false>());
    default:
      return quantization.has_zeros ? body(WeightForm<WeightFormat::kInt8, true>())
                                    : body(WeightForm<WeightFormat::kInt8, false>());
  }
}

// Scales of vector `v` of the block's rows, in group `group`.
template <typename Form>
HWY_INLINE Vector LoadScales(const QuantizedMatrix::Block& block, size_t group, size_t v) {
  const Floats d;
  const size_t element = group * QuantizedMatrix::kBlockRows + v * kLanes;
  if constexpr (Form::kFormat == WeightFormat::kNf4) {
    return hn::LoadU(d, static_cast<const float*>(block.scales) + element);
  } else {
    const hn::Rebind<hwy::float16_t, Floats> half;
    return hn::PromoteTo(d, hn::LoadU(half, static_cast<const hwy::float16_t*>(block.scales) + element));
  }
}

template <typename Form>
HWY_INLINE Vector LoadZeros(const QuantizedMatrix::Block& block, size_t group, size_t v) {
  const Floats d;
  if constexpr (Form::kHasZeros) {
    const hn::Rebind<uint8_t, Floats> byte;
    const uint8_t* zeros = block.zeros + group * QuantizedMatrix::kBlockRows + v * kLanes;
    return hn::ConvertTo(d, hn::PromoteTo(Ints(), hn::LoadU(byte, zeros)));
  } else {
    return hn::Set(d, static_cast<float>(Form::kDefaultZero));
  }
}

// Writes the products of a row with a block to out [outs].
HWY_INLINE void StoreRow(const Vector* totals, size_t outs, float* HWY_RESTRICT out) {
  const Floats d;
  if (outs == QuantizedMatrix::kBlockRows) {
    Unroll<kVectors>([&](auto v) SWITCHYARD_INLINE_LAMBDA { hn::StoreU(totals[v], d, out + v * kLanes); });
  } else {
    float row[QuantizedMatrix::kBlockRows];
    Unroll<kVectors>([&](auto v) SWITCHYARD_INLINE_LAMBDA { hn::StoreU(totals[v], d, row + v * kLanes); });
    std::copy_n(row, outs, out);
  }
}

// The blocks [begin, end) of `weight`, kMost at a time, and what is left one by one: body(constant number, blocks,
// first column of y, columns that exist).
template <size_t kMost, typename Body>
HWY_INLINE void ForBlocks(const QuantizedMatrix& weight, size_t begin, size_t end, Body body) {
  const auto pass = [&](auto number, size_t i) SWITCHYARD_INLINE_LAMBDA {
    QuantizedMatrix::Block blocks[number];
    for (size_t b = 0; b < number; ++b) blocks[b] = weight.block(static_cast<int64_t>(i + b));
    const size_t column = i * QuantizedMatrix::kBlockRows;
    const size_t outs = std::min<size_t>(number * QuantizedMatrix::kBlockRows, weight.spec().out_features - column);
    body(number, blocks, column, outs);
  };
  size_t i = begin;
  for (; end - i >= kMost; i += kMost) pass(std::integral_constant<size_t, kMost>(), i);
  for (; i < end; ++i) pass(std::integral_constant<size_t, 1>(), i);
}

// Passes rows by the blocks [block_begin, block_end) of `weight`: as many of their tiles at a time as a part of a
// second-level cache holds, by kStep blocks at a time. Rows are packed by Tiles, a RowTiles: `steps` times kUnit
// elements of every row of a tile. Calls body(constant number of rows, at most kRegisterRows, x, x_step, first row,
// begin, end), where the rows start at x and go on x_step elements behind, for the blocks [begin, end).
template <typename Tiles, size_t kUnit, size_t kRegisterRows, size_t kStep, typename Packed, typename Body>
HWY_INLINE void PassTiles(const Packed* packed_rows, size_t rows, size_t steps, const QuantizedMatrix& weight,
                          size_t block_begin, size_t block_end, Body body) {
  constexpr size_t kTileBlockBytes = 512 * 1024;
  const size_t tiles = Tiles::NumTiles(rows);
  const size_t tile_bytes = std::max<size_t>(1, Tiles::kTileRows * steps * kUnit * sizeof(Packed));
  const size_t tile_block = std::max<size_t>(1, kTileBlockBytes / tile_bytes);
  for (size_t i = block_begin; i < std::min(block_end, block_begin + kStep); ++i) {
    FetchFirstWeights(weight.block(static_cast<int64_t>(i)).begin());
  }
  for (size_t tile0 = 0; tile0 < tiles; tile0 += tile_block) {
    for (size_t block = block_begin; block < block_end; block += kStep) {
      for (size_t tile = tile0; tile < std::min(tiles, tile0 + tile_block); ++tile) {
        size_t row = Tiles::TileBegin(rows, tile);
        const size_t end = Tiles::TileBegin(rows, tile + 1);
        const size_t x_step = (end - row) * kUnit;
        const Packed* x = packed_rows + row * steps * kUnit;
        for (size_t now = 0; row < end; row += now, x += now * kUnit) {
          now = std::min(end - row, kRegisterRows);
          WithConstant<kRegisterRows>(now, [&](auto count) SWITCHYARD_INLINE_LAMBDA {
            body(count, x, x_step, row, block, std::min(block + kStep, block_end));
          });
        }
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#endif  // include guard
