// exp for softmax weights, compiled once for each instruction set by the file that includes this one.
// No include guard in the usual sense: hwy/foreach_target.h includes the including file repeatedly.
#if defined(SWITCHYARD_KERNELS_CPU_EXP_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SWITCHYARD_KERNELS_CPU_EXP_INL_H_
#undef SWITCHYARD_KERNELS_CPU_EXP_INL_H_
#else
#define SWITCHYARD_KERNELS_CPU_EXP_INL_H_
#endif

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// NaN stays NaN. Highway's Exp makes 0 of it, and a key that is no number would merely go unheeded.
template <class D>
HWY_INLINE hn::Vec<D> ExpOrNaN(D d, hn::Vec<D> x) {
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(d, x));
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#endif  // include guard
