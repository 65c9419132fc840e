// What the products with a block of QuantizedMatrix share, compiled once for each instruction set by the file that
// includes this one. No include guard in the usual sense: hwy/foreach_target.h includes the including file repeatedly.
#if defined(SWITCHYARD_KERNELS_CPU_QUANTIZED_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SWITCHYARD_KERNELS_CPU_QUANTIZED_BLOCK_INL_H_
#undef SWITCHYARD_KERNELS_CPU_QUANTIZED_BLOCK_INL_H_
#else
#define SWITCHYARD_KERNELS_CPU_QUANTIZED_BLOCK_INL_H_
#endif

#include <algorithm>

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

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#endif  // include guard
