// Helpers of the vector kernels, compiled once for each instruction set by the file that includes this one.
// No include guard in the usual sense: hwy/foreach_target.h includes the including file repeatedly.
#if defined(SWITCHYARD_KERNELS_CPU_VECTOR_UTIL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SWITCHYARD_KERNELS_CPU_VECTOR_UTIL_INL_H_
#undef SWITCHYARD_KERNELS_CPU_VECTOR_UTIL_INL_H_
#else
#define SWITCHYARD_KERNELS_CPU_VECTOR_UTIL_INL_H_
#endif

#include <type_traits>
#include <utility>

#include "hwy/highway.h"

// For lambdas in kernels: compiled for the target, and never a call.
#undef SWITCHYARD_INLINE_LAMBDA
#define SWITCHYARD_INLINE_LAMBDA HWY_ATTR __attribute__((always_inline))

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// body(0), body(1), ... with constants: the compiler keeps arrays indexed by them in registers.
template <size_t kCount, typename Body>
HWY_INLINE void Unroll(Body body) {
  [&]<size_t... kIndex>(std::index_sequence<kIndex...>) SWITCHYARD_INLINE_LAMBDA {
    (body(std::integral_constant<size_t, kIndex>()), ...);
  }
  (std::make_index_sequence<kCount>());
}

// body(constant) for the constant that is min(count, kMost); count >= 1.
template <size_t kMost, typename Body>
HWY_INLINE void WithConstant(size_t count, Body body) {
  if constexpr (kMost > 1) {
    if (count < kMost) return WithConstant<kMost - 1>(count, body);
  }
  body(std::integral_constant<size_t, kMost>());
}

// out [4][4] = transposed in [4][4], of 4-byte elements; rows[i] + x is row i of `in`.
template <typename T>
HWY_INLINE void TransposeFour(const T* const* rows, size_t x, T* HWY_RESTRICT out, size_t out_stride) {
  static_assert(sizeof(T) == 4);
#if HWY_TARGET == HWY_SCALAR
  for (size_t i = 0; i < 4; ++i) {
    for (size_t j = 0; j < 4; ++j) out[j * out_stride + i] = rows[i][x + j];
  }
#else
  const hn::Full128<T> d;
  const hn::Full128<uint64_t> wide;
  const auto a = hn::LoadU(d, rows[0] + x);
  const auto b = hn::LoadU(d, rows[1] + x);
  const auto c = hn::LoadU(d, rows[2] + x);
  const auto e = hn::LoadU(d, rows[3] + x);
  const auto ab_low = hn::BitCast(wide, hn::InterleaveLower(d, a, b));
  const auto ce_low = hn::BitCast(wide, hn::InterleaveLower(d, c, e));
  const auto ab_high = hn::BitCast(wide, hn::InterleaveUpper(d, a, b));
  const auto ce_high = hn::BitCast(wide, hn::InterleaveUpper(d, c, e));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(wide, ab_low, ce_low)), d, out);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(wide, ab_low, ce_low)), d, out + out_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(wide, ab_high, ce_high)), d, out + 2 * out_stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(wide, ab_high, ce_high)), d, out + 3 * out_stride);
#endif
}

// What lanes are folded by.
struct BySum {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Add(a, b);
  }
};
struct ByMax {
  template <class V>
  HWY_INLINE V operator()(V a, V b) const {
    return hn::Max(a, b);
  }
};

// out[i] = all lanes of v[i] folded, for four vectors of 4-byte lanes together: fewer shuffles than one after the
// other.
#if HWY_TARGET == HWY_SCALAR
template <class Fold, class D>
HWY_INLINE void FoldFour(D d, const hn::Vec<D>* v, hn::TFromD<D>* HWY_RESTRICT out) {
  for (int i = 0; i < 4; ++i) out[i] = hn::GetLane(v[i]);
}
#else
// All lanes, folded to 4 lanes.
template <class Fold, class D>
HWY_INLINE auto FoldToFour(D d, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) > 4) {
    const hn::Half<D> half;
    return FoldToFour<Fold>(half, Fold()(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  } else {
    return v;
  }
}

template <class Fold, class D>
HWY_INLINE void FoldFour(D d, const hn::Vec<D>* v, hn::TFromD<D>* HWY_RESTRICT out) {
  const hn::Full128<hn::TFromD<D> > d4;
  const Fold fold;
  const auto a = FoldToFour<Fold>(d, v[0]);
  const auto b = FoldToFour<Fold>(d, v[1]);
  const auto c = FoldToFour<Fold>(d, v[2]);
  const auto e = FoldToFour<Fold>(d, v[3]);
  const auto ab = fold(hn::InterleaveLower(d4, a, b), hn::InterleaveUpper(d4, a, b));  // a02 b02 a13 b13
  const auto ce = fold(hn::InterleaveLower(d4, c, e), hn::InterleaveUpper(d4, c, e));
  hn::StoreU(fold(hn::ConcatLowerLower(d4, ce, ab), hn::ConcatUpperUpper(d4, ce, ab)), d4, out);
}
#endif

// Vectors that StoreFolded takes together: as many as there are lanes, four at least.
inline constexpr size_t kFoldedVectors = HWY_MAX(size_t{4}, hn::MaxLanes(hn::ScalableTag<float>()));

// out[i] = all lanes of v[i] folded, i < kFoldedVectors: three instructions a vector where there are 16.
#if HWY_MAX_BYTES <= 16
template <class Fold, class D>
HWY_INLINE void StoreFolded(D d, const hn::Vec<D>* v, hn::TFromD<D>* HWY_RESTRICT out) {
  FoldFour<Fold>(d, v, out);
}
#else
template <class Fold, class D>
HWY_INLINE void StoreFolded(D d, const hn::Vec<D>* v, hn::TFromD<D>* HWY_RESTRICT out) {
  const hn::Repartition<uint64_t, D> wide;
  const Fold fold;
  // Every block: what it adds to the lanes of v[4 n], ..., v[4 n + 3].
  const auto four = [&](size_t n) SWITCHYARD_INLINE_LAMBDA {
    const auto* u = v + 4 * n;
    const auto ab = hn::BitCast(wide, fold(hn::InterleaveLower(d, u[0], u[1]), hn::InterleaveUpper(d, u[0], u[1])));
    const auto ce = hn::BitCast(wide, fold(hn::InterleaveLower(d, u[2], u[3]), hn::InterleaveUpper(d, u[2], u[3])));
    return fold(hn::BitCast(d, hn::InterleaveLower(wide, ab, ce)), hn::BitCast(d, hn::InterleaveUpper(wide, ab, ce)));
  };
  const auto fold_halves = [&](auto low, auto high) SWITCHYARD_INLINE_LAMBDA {
    return fold(hn::ConcatLowerLower(d, high, low), hn::ConcatUpperUpper(d, high, low));
  };
  if constexpr (hn::MaxLanes(D()) == 8) {
    hn::StoreU(fold_halves(four(0), four(1)), d, out);
  } else {
    static_assert(hn::MaxLanes(D()) == 16);
    const auto a = fold_halves(four(0), four(2));  // blocks 0 0 2 2
    const auto b = fold_halves(four(1), four(3));  // blocks 1 1 3 3
    hn::StoreU(fold(hn::OddEvenBlocks(hn::SwapAdjacentBlocks(b), a), hn::OddEvenBlocks(b, hn::SwapAdjacentBlocks(a))),
               d, out);
  }
}
#endif

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#endif  // include guard
