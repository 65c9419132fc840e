#include "kernels/cpu/quantized_gemm.h"

#include <algorithm>

#include "kernels/cpu/gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/quantized_gemm.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/highway.h"
#include "kernels/cpu/quantized_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kChunk = PackedMatrix::kChunk;
// Rows whose sums, over a group and in all, fit the vector registers: 32 of them with AVX-512, else 16.
constexpr size_t kRegisterRows = HWY_MAX_BYTES >= 64 ? 6 : 3;
// Blocks side by side, so that the sums of few rows do not wait for each other.
template <size_t kRows>
constexpr size_t kBlocksOf = kRows <= 2 ? 4 / kRows : 1;

struct Shape {
  size_t chunks;        // of 16 columns
  size_t scale_chunks;  // chunks with one scale
  size_t block_bytes;
};

// The values of the 16 codes, where vectors have lanes enough to look them up; kInt4's less the zero that all groups
// have.
struct Table {
  Vector low;   // all with AVX-512, with AVX2 the first half
  Vector high;  // with AVX2 the second half
};

template <typename Form>
HWY_INLINE Table MakeTable() {
  const Floats d;
  if constexpr (Form::kFormat == WeightFormat::kNf4) {
    return {hn::LoadU(d, kNf4Values.data()), hn::LoadU(d, kNf4Values.data() + 16 - kLanes)};
  } else {
    return {hn::Iota(d, Form::kHasZeros ? 0.0f : -static_cast<float>(Form::kDefaultZero)), hn::Zero(d)};
  }
}

// The value of each lane's code, of which only the lowest bits of `code` count; zeros: LoadZeros.
template <typename Form>
HWY_INLINE Vector Weight(IntVector code, const Table& table, Vector zeros) {
  const Floats d;
  const Ints int_tag;
  if constexpr (Form::kFormat == WeightFormat::kInt8) {
    return hn::Sub(hn::ConvertTo(d, hn::And(code, hn::Set(int_tag, 255))), zeros);
  }
#if HWY_TARGET == HWY_AVX3
  const Vector value = hn::TableLookupLanes(table.low, hn::Indices512<float>{code.raw});
  return Form::kHasZeros ? hn::Sub(value, zeros) : value;
#else
  if constexpr (Form::kFormat == WeightFormat::kInt4) {
    return hn::Sub(hn::ConvertTo(d, hn::And(code, hn::Set(int_tag, 15))), zeros);
  }
#if HWY_TARGET == HWY_AVX2
  const hn::Indices256<float> index{code.raw};
  return hn::IfNegativeThenElse(hn::BitCast(d, hn::ShiftLeft<28>(code)), hn::TableLookupLanes(table.high, index),
                                hn::TableLookupLanes(table.low, index));
#else
  return hn::GatherIndex(d, kNf4Values.data(), hn::And(code, hn::Set(int_tag, 15)));
#endif
#endif
}

// Columns of the tile's chunk times kBlocks blocks of weights, added to sums [kRows][kBlocks].
template <typename Form, size_t kRows, size_t kNumBlocks>
HWY_INLINE void MultiplyChunk(const float* HWY_RESTRICT x, const uint8_t* const* codes, size_t offset,
                              const uint8_t* ahead, const Table& table, const Vector* zeros, Vector* sums) {
  const Ints int_tag;
  constexpr int kBits = Form::kFormat == WeightFormat::kInt8 ? 8 : 4;
  Unroll<kChunk / Form::kSliceColumns>([&](auto s) SWITCHYARD_INLINE_LAMBDA {
    IntVector slices[kNumBlocks];
    Unroll<kNumBlocks>([&](auto b) SWITCHYARD_INLINE_LAMBDA {
      const uint8_t* slice = codes[b] + offset + s * kSliceBytes;
      FetchWeights(ahead + (s * kNumBlocks + b) * kSliceBytes);
      slices[b] = hn::LoadU(int_tag, reinterpret_cast<const int32_t*>(slice));
    });
    Unroll<Form::kSliceColumns>([&](auto i) SWITCHYARD_INLINE_LAMBDA {
      // Code i from the lowest bits is column i / 2 of the low halves or of the high ones.
      constexpr size_t kColumn = kBits == 8 ? i : i / 2 + i % 2 * 4;
      Unroll<kNumBlocks>([&](auto b) SWITCHYARD_INLINE_LAMBDA {
        const Vector w = Weight<Form>(hn::ShiftRight<kBits * i>(slices[b]), table, zeros[b]);
        Unroll<kRows>([&](auto r) SWITCHYARD_INLINE_LAMBDA {
          const Vector value = hn::Set(Floats(), x[r * kChunk + s * Form::kSliceColumns + kColumn]);
          sums[r * kNumBlocks + b] = hn::MulAdd(w, value, sums[r * kNumBlocks + b]);
        });
      });
    });
  });
}

// Products of kRows rows of a tile with lanes [v * kLanes, ...) of kNumBlocks blocks, to y [kRows][kNumBlocks].
template <typename Form, size_t kRows, size_t kNumBlocks>
HWY_INLINE void MultiplyLanes(const float* HWY_RESTRICT x, size_t x_step, const QuantizedMatrix::Block* blocks,
                              const Shape& shape, size_t v, Vector* totals) {
  const Floats d;
  constexpr size_t kSums = kRows * kNumBlocks;
  const Table table = MakeTable<Form>();
  const uint8_t* codes[kNumBlocks];
  for (size_t b = 0; b < kNumBlocks; ++b) codes[b] = blocks[b].codes + v * kLanes * sizeof(int32_t);
  // The blocks that come after these, line by line with what is read of these.
  const uint8_t* ahead = blocks[0].begin() + kNumBlocks * shape.block_bytes;
  constexpr size_t kChunkBytes = kChunk / Form::kSliceColumns * kSliceBytes;
  size_t offset = 0;
  Unroll<kSums>([&](auto i) SWITCHYARD_INLINE_LAMBDA { totals[i] = hn::Zero(d); });
  for (size_t first = 0, g = 0; first < shape.chunks; first += shape.scale_chunks, ++g) {
    const size_t end = std::min(shape.chunks, first + shape.scale_chunks);
    Vector zeros[kNumBlocks];
    Vector sums[kSums];
    Unroll<kNumBlocks>([&](auto b) SWITCHYARD_INLINE_LAMBDA { zeros[b] = LoadZeros<Form>(blocks[b], g, v); });
    Unroll<kSums>([&](auto i) SWITCHYARD_INLINE_LAMBDA { sums[i] = hn::Zero(d); });
    for (size_t c = first; c < end; ++c, x += x_step, offset += kChunkBytes, ahead += kNumBlocks * kChunkBytes) {
      MultiplyChunk<Form, kRows, kNumBlocks>(x, codes, offset, ahead, table, zeros, sums);
    }
    for (size_t b = 0; b < kNumBlocks * Form::kGroupBytes; b += kSliceBytes) {
      FetchWeights(ahead + b);
    }
    ahead += kNumBlocks * Form::kGroupBytes;
    Unroll<kNumBlocks>([&](auto b) SWITCHYARD_INLINE_LAMBDA {
      const Vector scales = LoadScales<Form>(blocks[b], g, v);
      Unroll<kRows>([&](auto r) SWITCHYARD_INLINE_LAMBDA {
        constexpr size_t kSum = r * kNumBlocks + b;
        totals[kSum] = hn::MulAdd(sums[kSum], scales, totals[kSum]);
      });
    });
  }
}

template <typename Form, size_t kRows, size_t kNumBlocks>
void MultiplyTile(const float* x, size_t x_step, const QuantizedMatrix::Block* blocks, const Shape& shape, size_t outs,
                  float* y, size_t y_stride) {
  const Floats d;
  float rows[kRows][kNumBlocks * QuantizedMatrix::kBlockRows];
  for (size_t v = 0; v < kVectors; ++v) {
    Vector totals[kRows * kNumBlocks];
    MultiplyLanes<Form, kRows, kNumBlocks>(x, x_step, blocks, shape, v, totals);
    Unroll<kRows * kNumBlocks>([&](auto i) SWITCHYARD_INLINE_LAMBDA {
      hn::StoreU(totals[i], d, rows[i / kNumBlocks] + i % kNumBlocks * QuantizedMatrix::kBlockRows + v * kLanes);
    });
  }
  for (size_t r = 0; r < kRows; ++r) std::copy_n(rows[r], outs, y + r * y_stride);
}

template <typename Form>
void MultiplyForm(const float* packed_rows, size_t rows, const QuantizedMatrix& weight, size_t block_begin,
                  size_t block_end, float* y) {
  const size_t out_features = weight.spec().out_features;
  const size_t chunks = PackedMatrix::NumChunks(weight.spec().in_features);
  const Shape shape = {.chunks = chunks,
                       .scale_chunks = weight.spec().quantization.group_size / kChunk,
                       .block_bytes = weight.block_bytes()};
  PassTiles<FloatTiles, kChunk, kRegisterRows, kBlocksOf<1>>(
      packed_rows, rows, chunks, weight, block_begin, block_end,
      [&](auto count, const float* x, size_t x_step, size_t row, size_t begin, size_t end) SWITCHYARD_INLINE_LAMBDA {
        ForBlocks<kBlocksOf<count>>(weight, begin, end,
                                    [&](auto number, const QuantizedMatrix::Block* blocks, size_t column,
                                        size_t outs) SWITCHYARD_INLINE_LAMBDA {
                                      MultiplyTile<Form, count, number>(x, x_step, blocks, shape, outs,
                                                                        y + row * out_features + column, out_features);
                                    });
      });
}

void Multiply(const float* packed_rows, int64_t rows, const QuantizedMatrix& weight, int64_t block_begin,
              int64_t block_end, float* y) {
  WithWeightForm(weight.spec().quantization, [&](auto form) HWY_ATTR {
    MultiplyForm<decltype(form)>(packed_rows, rows, weight, block_begin, block_end, y);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {

HWY_EXPORT(Multiply);

void MultiplyBlocks(const float* packed_rows, int64_t rows, const QuantizedMatrix& weight, int64_t block_begin,
                    int64_t block_end, float* y) {
  HWY_DYNAMIC_DISPATCH(Multiply)(packed_rows, rows, weight, block_begin, block_end, y);
}

}  // namespace switchyard
#endif  // HWY_ONCE
