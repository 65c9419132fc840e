#include "kernels/cpu/quantized_int8_gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/quantized_int8_gemm.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/highway.h"
#include "kernels/cpu/quantized_block-inl.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr size_t kGroupColumns = ActivationGroup::kColumns;
constexpr float kNf4Steps = 127.0f;

// What a product with blocks of weights side by side is made of.
struct BlockShape {
  size_t column_groups;  // of 32 columns
  size_t scale_groups;   // column groups with one scale
  size_t block_bytes;
};

// NF4's values as bytes.
struct Nf4Bytes {
  constexpr Nf4Bytes() {
    for (size_t i = 0; i < 16; ++i) values[i] = static_cast<uint8_t>(128.5f + kNf4Steps * kNf4Values[i]);  // rounded
  }
  HWY_ALIGN uint8_t values[16] = {};
};
constexpr Nf4Bytes kNf4Bytes;

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

constexpr size_t kRegisterRows = 1;
template <size_t kRows>
constexpr size_t kBlocksOf = 1;

template <typename Form>
int WeightByte(const uint8_t* slice, size_t column) {
  const int byte = slice[column % 4];
  if constexpr (Form::kFormat == WeightFormat::kInt8) return byte;
  const int code = column < 4 ? byte & 15 : byte >> 4;
  return Form::kFormat == WeightFormat::kNf4 ? kNf4Bytes.values[code] : code;
}

template <typename Form>
int32_t DotOfGroup(const uint8_t* codes, const ActivationGroup& x) {
  int32_t sum = x.offset;
  for (size_t c = 0; c < kGroupColumns; ++c) {
    const uint8_t* slice = codes + c / Form::kSliceColumns * kSliceBytes;
    sum += WeightByte<Form>(slice, c % Form::kSliceColumns) * x.codes[c];
  }
  return sum;
}

template <typename Form, Int8Dot, size_t kRows, size_t kNumBlocks>
void MultiplyTile(const ActivationGroup* x, size_t x_step, const QuantizedMatrix::Block* blocks,
                  const BlockShape& shape, size_t outs, float* y, size_t /*y_stride*/) {
  const QuantizedMatrix::Block& block = blocks[0];
  const Floats d;
  float totals[QuantizedMatrix::kBlockRows] = {};
  for (size_t first = 0, g = 0; first < shape.column_groups; first += shape.scale_groups, ++g) {
    const size_t end = std::min(shape.column_groups, first + shape.scale_groups);
    float scales[QuantizedMatrix::kBlockRows], zeros[QuantizedMatrix::kBlockRows];
    for (size_t v = 0; v < kVectors; ++v) {
      hn::StoreU(LoadScales<Form>(block, g, v), d, scales + v * kLanes);
      hn::StoreU(LoadZeros<Form>(block, g, v), d, zeros + v * kLanes);
    }
    for (size_t row = 0; row < outs; ++row) {
      float sum = 0;
      for (size_t c = first; c < end; ++c) {
        const ActivationGroup& group = x[c * x_step];
        const uint8_t* codes = block.codes + c * (kGroupColumns / Form::kSliceColumns) * kSliceBytes + row * 4;
        sum += static_cast<float>(DotOfGroup<Form>(codes, group)) * group.scale;
        if (Form::kHasZeros) sum += (static_cast<float>(Form::kDefaultZero) - zeros[row]) * group.scaled_sum;
      }
      totals[row] += sum * scales[row];
    }
  }
  for (size_t row = 0; row < outs; ++row) {
    y[row] = Form::kFormat == WeightFormat::kNf4 ? totals[row] / kNf4Steps : totals[row];
  }
}

#else

using Bytes = hn::Repartition<uint8_t, Ints>;
using ByteVector = hn::Vec<Bytes>;

// Rows whose integer and float sums fit the vector registers: 32 of them with AVX-512, else 16.
constexpr size_t kRegisterRows = HWY_MAX_BYTES >= 64 ? 4 : (HWY_MAX_BYTES >= 32 ? 2 : 1);
// Blocks side by side, that share the loading of a row's codes: with one block each product wants a load of its own,
// and there are no more loads than products in a cycle. One row waits for memory, which likes one block after the
// other.
template <size_t kRows>
constexpr size_t kBlocksOf = HWY_MAX_BYTES >= 64 && kRows > 1 ? 2 : 1;

#if HWY_TARGET == HWY_SSE4
HWY_INLINE hn::Vec128<int16_t> MultiplyPairs(ByteVector w, ByteVector x) {
  return hn::Vec128<int16_t>{_mm_maddubs_epi16(w.raw, x.raw)};
}
#elif HWY_TARGET == HWY_AVX2
HWY_INLINE hn::Vec256<int16_t> MultiplyPairs(ByteVector w, ByteVector x) {
  return hn::Vec256<int16_t>{_mm256_maddubs_epi16(w.raw, x.raw)};
}
#else
HWY_INLINE hn::Vec512<int16_t> MultiplyPairs(ByteVector w, ByteVector x) {
  return hn::Vec512<int16_t>{_mm512_maddubs_epi16(w.raw, x.raw)};
}
#endif

// The four codes x[0..4) in every lane.
HWY_INLINE IntVector FourCodes(const int8_t* HWY_RESTRICT x) {
  int32_t four;
  std::copy_n(x, 4, reinterpret_cast<int8_t*>(&four));
  return hn::Set(Ints(), four);
}

// sum + the products of each lane's four bytes `w`, unsigned, with the four `codes`.
template <typename Form, Int8Dot kDot>
HWY_INLINE IntVector AddDot(ByteVector w, IntVector codes, IntVector sum) {
  const Ints d;
  const hn::Repartition<int16_t, Ints> words;
  const hn::Repartition<uint16_t, Ints> unsigned_words;
#if HWY_TARGET == HWY_AVX3
  if constexpr (kDot == Int8Dot::kVnni) {
    // Not by its intrinsic, which would want all that calls it compiled for CPUs with these instructions.
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(w.raw), "v"(codes.raw));
    return sum;
  }
#endif
  auto unused = hn::Zero(d);
  if constexpr (Form::kFormat == WeightFormat::kInt4) {
    const auto pairs = MultiplyPairs(w, hn::BitCast(Bytes(), codes));  // 2 * 15 * 127 at most: exact
    return hn::ReorderWidenMulAccumulate(d, pairs, hn::Set(words, int16_t{1}), sum, unused);
  } else {
    const auto code_words = hn::BitCast(words, codes);
    const auto even = hn::And(hn::BitCast(words, w), hn::Set(words, int16_t{0xFF}));
    const auto odd = hn::BitCast(words, hn::ShiftRight<8>(hn::BitCast(unsigned_words, w)));
    sum = hn::ReorderWidenMulAccumulate(d, even, hn::ShiftRight<8>(hn::ShiftLeft<8>(code_words)), sum, unused);
    return hn::ReorderWidenMulAccumulate(d, odd, hn::ShiftRight<8>(code_words), sum, unused);
  }
}

// Bytes of the low or high halves of 4-bit codes.
template <typename Form>
HWY_INLINE ByteVector FromHalves(ByteVector halves, ByteVector nf4) {
  return Form::kFormat == WeightFormat::kNf4 ? hn::TableLookupBytes(nf4, halves) : halves;
}

// Products of kRows rows of a tile with kNumBlocks blocks. x: first of the rows in the tile's first column group;
// x_step: elements from one column group to the next. y: first row and column; outs: columns that exist.
template <typename Form, Int8Dot kDot, size_t kRows, size_t kNumBlocks>
void MultiplyTile(const ActivationGroup* HWY_RESTRICT x, size_t x_step, const QuantizedMatrix::Block* blocks,
                  const BlockShape& shape, size_t outs, float* HWY_RESTRICT y, size_t y_stride) {
  const Floats d;
  const Ints int_tag;
  const Bytes byte_tag;
  const hn::Repartition<uint16_t, Ints> word_tag;
  const ByteVector low_half = hn::Set(byte_tag, uint8_t{15});
  const ByteVector nf4 = hn::LoadDup128(byte_tag, kNf4Bytes.values);
  constexpr size_t kWidth = kNumBlocks * kVectors;  // vectors of the blocks' rows: u is vector u % kVectors of a block
  constexpr size_t kSums = kRows * kWidth;
  const auto vector_bytes = [&](auto u) SWITCHYARD_INLINE_LAMBDA {
    return u / kVectors * shape.block_bytes + u % kVectors * kLanes * sizeof(int32_t);
  };
  const uint8_t* HWY_RESTRICT codes = blocks[0].codes;
  // Line by line with what is read of these blocks, those that come after them.
  const uint8_t* ahead = blocks[0].begin() + (kNumBlocks == 1 ? kWeightsAhead : kNumBlocks * shape.block_bytes);
  Vector totals[kSums];
  Unroll<kSums>([&](auto i) SWITCHYARD_INLINE_LAMBDA { totals[i] = hn::Zero(d); });
  for (size_t first = 0, g = 0; first < shape.column_groups; first += shape.scale_groups, ++g) {
    const size_t end = std::min(shape.column_groups, first + shape.scale_groups);
    Vector excess[kWidth];
    Vector sums[kSums];
    Unroll<kWidth>([&](auto u) SWITCHYARD_INLINE_LAMBDA {
      const Vector zeros = LoadZeros<Form>(blocks[u / kVectors], g, u % kVectors);
      excess[u] = hn::Sub(hn::Set(d, static_cast<float>(Form::kDefaultZero)), zeros);
    });
    Unroll<kSums>([&](auto i) SWITCHYARD_INLINE_LAMBDA { sums[i] = hn::Zero(d); });
    for (size_t c = first; c < end; ++c, x += x_step) {
      IntVector dots[kSums];
      Unroll<kSums>([&](auto i) SWITCHYARD_INLINE_LAMBDA { dots[i] = hn::Set(int_tag, x[i / kWidth].offset); });
      const auto add_dots = [&](const ByteVector* w, size_t column) SWITCHYARD_INLINE_LAMBDA {
        Unroll<kRows>([&](auto r) SWITCHYARD_INLINE_LAMBDA {
          const IntVector four = FourCodes(x[r].codes + column);
          Unroll<kWidth>([&](auto u) SWITCHYARD_INLINE_LAMBDA {
            IntVector& dot = dots[r * kWidth + u];
            dot = AddDot<Form, kDot>(w[u], four, dot);
          });
        });
      };
      Unroll<kGroupColumns / Form::kSliceColumns>([&](auto s) SWITCHYARD_INLINE_LAMBDA {
        constexpr size_t kColumn = s * Form::kSliceColumns;
        ByteVector low[kWidth], high[kWidth];
        Unroll<kNumBlocks>([&](auto b) SWITCHYARD_INLINE_LAMBDA { FetchWeights(ahead + b * kSliceBytes); });
        ahead += kNumBlocks * kSliceBytes;
        Unroll<kWidth>([&](auto u) SWITCHYARD_INLINE_LAMBDA {
          low[u] = hn::LoadU(byte_tag, codes + vector_bytes(u));
          if constexpr (Form::kFormat != WeightFormat::kInt8) {
            const ByteVector shifted = hn::BitCast(byte_tag, hn::ShiftRight<4>(hn::BitCast(word_tag, low[u])));
            high[u] = FromHalves<Form>(hn::And(shifted, low_half), nf4);
            low[u] = FromHalves<Form>(hn::And(low[u], low_half), nf4);
          }
        });
        add_dots(low, kColumn);
        if constexpr (Form::kFormat != WeightFormat::kInt8) add_dots(high, kColumn + 4);
        codes += kSliceBytes;
      });
      Unroll<kSums>([&](auto i) SWITCHYARD_INLINE_LAMBDA {
        const ActivationGroup& group = x[i / kWidth];
        sums[i] = hn::MulAdd(hn::ConvertTo(d, dots[i]), hn::Set(d, group.scale), sums[i]);
        if constexpr (Form::kHasZeros) {
          sums[i] = hn::MulAdd(excess[i % kWidth], hn::Set(d, group.scaled_sum), sums[i]);
        }
      });
    }
    Unroll<kNumBlocks>([&](auto b) SWITCHYARD_INLINE_LAMBDA { FetchWeights(ahead + b * Form::kGroupBytes); });
    ahead += kNumBlocks * Form::kGroupBytes;
    Unroll<kWidth>([&](auto u) SWITCHYARD_INLINE_LAMBDA {
      const Vector scales = LoadScales<Form>(blocks[u / kVectors], g, u % kVectors);
      Unroll<kRows>([&](auto r) SWITCHYARD_INLINE_LAMBDA {
        constexpr size_t kSum = r * kWidth + u;
        totals[kSum] = hn::MulAdd(sums[kSum], scales, totals[kSum]);
      });
    });
  }
  if constexpr (Form::kFormat == WeightFormat::kNf4) {
    const Vector step = hn::Set(d, 1.0f / kNf4Steps);
    Unroll<kSums>([&](auto i) SWITCHYARD_INLINE_LAMBDA { totals[i] = hn::Mul(totals[i], step); });
  }
  Unroll<kRows * kNumBlocks>([&](auto i) SWITCHYARD_INLINE_LAMBDA {
    constexpr size_t kFirst = i % kNumBlocks * QuantizedMatrix::kBlockRows;  // only the last block may have fewer
    StoreRow(totals + i * kVectors, std::min<size_t>(QuantizedMatrix::kBlockRows, outs - kFirst),
             y + i / kNumBlocks * y_stride + kFirst);
  });
}

#endif

template <typename Form, Int8Dot kDot>
void MultiplyBlocks(const ActivationGroup* packed_rows, size_t rows, const QuantizedMatrix& weight, size_t block_begin,
                    size_t block_end, float* y) {
  const size_t out_features = weight.spec().out_features;
  const size_t column_groups = NumActivationGroups(weight.spec().in_features);
  const BlockShape shape = {.column_groups = column_groups,
                            .scale_groups = weight.spec().quantization.group_size / kGroupColumns,
                            .block_bytes = weight.block_bytes()};
  PassTiles<Int8Rows, 1, kRegisterRows, kBlocksOf<kRegisterRows>>(
      packed_rows, rows, column_groups, weight, block_begin, block_end,
      [&](auto count, const ActivationGroup* x, size_t x_step, size_t row, size_t begin, size_t end)
          SWITCHYARD_INLINE_LAMBDA {
            ForBlocks<kBlocksOf<count>>(
                weight, begin, end,
                [&](auto number, const QuantizedMatrix::Block* blocks, size_t column, size_t outs)
                    SWITCHYARD_INLINE_LAMBDA {
                      MultiplyTile<Form, kDot, count, number>(x, x_step, blocks, shape, outs,
                                                              y + row * out_features + column, out_features);
                    });
          });
}

void Multiply(Int8Dot dot, const ActivationGroup* packed_rows, int64_t rows, const QuantizedMatrix& weight,
              int64_t block_begin, int64_t block_end, float* y) {
  WithWeightForm(weight.spec().quantization, [&](auto form) HWY_ATTR {
    using Form = decltype(form);
#if HWY_TARGET == HWY_AVX3
    if (dot == Int8Dot::kVnni) {
      return MultiplyBlocks<Form, Int8Dot::kVnni>(packed_rows, rows, weight, block_begin, block_end, y);
    }
#endif
    MultiplyBlocks<Form, Int8Dot::kPlain>(packed_rows, rows, weight, block_begin, block_end, y);
  });
}

bool IsForVnni() { return HWY_TARGET == HWY_AVX3; }

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {

HWY_EXPORT(Multiply);
HWY_EXPORT(IsForVnni);

void Int8Rows::PackTile(int64_t rows, int64_t tile, const QuantizedMatrix& weight,
                        absl::FunctionRef<const float*(int64_t)> source, ActivationGroup* packed) {
  const int64_t columns = weight.spec().in_features;
  const int64_t begin = TileBegin(rows, tile);
  const int64_t tile_rows = TileBegin(rows, tile + 1) - begin;
  const int32_t zero = weight.spec().quantization.format == WeightFormat::kInt4 ? 8 : 128;
  for (int64_t r = 0; r < tile_rows; ++r) {
    RoundActivations(source(begin + r), columns, zero, tile_rows, packed + PackedSize(begin, columns) + r);
  }
}

Int8Dot BestInt8Dot() {
  const bool has_vnni = HWY_DYNAMIC_DISPATCH(IsForVnni)() && __builtin_cpu_supports("avx512vnni") != 0;
  return has_vnni ? Int8Dot::kVnni : Int8Dot::kPlain;
}

void MultiplyInt8Blocks(Int8Dot dot, const ActivationGroup* packed_rows, int64_t rows, const QuantizedMatrix& weight,
                        int64_t block_begin, int64_t block_end, float* y) {
  HWY_DYNAMIC_DISPATCH(Multiply)(dot, packed_rows, rows, weight, block_begin, block_end, y);
}

}  // namespace switchyard
#endif  // HWY_ONCE
