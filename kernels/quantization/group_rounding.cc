#include "kernels/quantization/group_rounding.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#include "kernels/check.h"
#include "kernels/quantization/quantization.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantization/group_rounding.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Ints = hn::RebindToSigned<Floats>;
using FloatVector = hn::Vec<Floats>;
using IntVector = hn::Vec<Ints>;

constexpr size_t kMaxGroup = 128;
constexpr size_t kMaxLanes = HWY_MAX_BYTES / sizeof(float);

// body(vector, index) for a group's vectors; the last is filled up with zeros.
template <typename Body>
HWY_INLINE void ForEachVector(const float* HWY_RESTRICT x, size_t count, const Body& body) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) body(hn::LoadU(d, x + i), i);
  if (i == count) return;
  HWY_ALIGN float tail[kMaxLanes] = {};
  std::copy(x + i, x + count, tail);
  body(hn::Load(d, tail), i);
}

// body(group, first element, number of elements).
template <typename Body>
HWY_INLINE void ForEachGroup(size_t columns, size_t group_size, const Body& body) {
  for (size_t begin = 0, group = 0; begin < columns; begin += group_size, ++group) {
    body(group, begin, std::min(group_size, columns - begin));
  }
}

void Magnitudes(const float* HWY_RESTRICT row, size_t columns, size_t group_size, float* HWY_RESTRICT magnitudes) {
  const Ints di;
  ForEachGroup(columns, group_size, [&](size_t group, size_t begin, size_t count) HWY_ATTR {
    // Magnitudes compare as integers do, and what is not finite is larger than all that is.
    IntVector largest = hn::Zero(di);
    ForEachVector(row + begin, count,
                  [&](FloatVector x, size_t) HWY_ATTR { largest = hn::Max(largest, hn::BitCast(di, hn::Abs(x))); });
    magnitudes[group] = std::bit_cast<float>(hn::GetLane(hn::MaxOfLanes(di, largest)));
  });
}

void Ranges(const float* HWY_RESTRICT row, size_t columns, size_t group_size, float* HWY_RESTRICT lows,
            float* HWY_RESTRICT highs) {
  const Floats d;
  ForEachGroup(columns, group_size, [&](size_t group, size_t begin, size_t count) HWY_ATTR {
    FloatVector low = hn::Zero(d);
    FloatVector high = hn::Zero(d);
    ForEachVector(row + begin, count, [&](FloatVector x, size_t) HWY_ATTR {
      low = hn::Min(low, x);
      high = hn::Max(high, x);
    });
    lows[group] = hn::GetLane(hn::MinOfLanes(d, low));
    highs[group] = hn::GetLane(hn::MaxOfLanes(d, high));
  });
}

// Codes of one group, a byte each. What is below 0 becomes 0.
struct GroupCodes {
  HWY_ALIGN uint8_t bytes[kMaxGroup + kMaxLanes];

  HWY_INLINE void Store(IntVector codes, size_t index) {
    const hn::Rebind<uint8_t, Ints> d8;
    hn::StoreU(hn::DemoteTo(d8, codes), d8, bytes + index);
  }

  // Two to a byte, (count + 1) / 2 of them.
  HWY_INLINE void PackTo(size_t count, uint8_t* HWY_RESTRICT out) {
    if (count % 2 != 0) bytes[count] = 0;
    for (size_t i = 0; i < (count + 1) / 2; ++i) {
      out[i] = static_cast<uint8_t>(bytes[2 * i] | bytes[2 * i + 1] << 4);
    }
  }
};

void Nf4(const float* HWY_RESTRICT row, size_t columns, size_t group_size, const float* HWY_RESTRICT magnitudes,
         uint8_t* HWY_RESTRICT codes) {
  const Floats d;
  const Ints di;
  const IntVector one = hn::Set(di, 1);
  GroupCodes group_codes;
  ForEachGroup(columns, group_size, [&](size_t group, size_t begin, size_t count) HWY_ATTR {
    // bitsandbytes' least divisor.
    const FloatVector inverse = hn::Set(d, 1.0f / std::max(magnitudes[group], 1e-38f));
    ForEachVector(row + begin, count, [&](FloatVector x, size_t index) HWY_ATTR {
      const FloatVector scaled = hn::Mul(x, inverse);
      IntVector code = hn::Zero(di);
      for (size_t k = 0; k + 1 < kNf4Values.size(); ++k) {
        const FloatVector middle = hn::Set(d, (kNf4Values[k] + kNf4Values[k + 1]) / 2);
        code = hn::Add(code, hn::IfThenElseZero(hn::RebindMask(di, hn::Gt(scaled, middle)), one));
      }
      group_codes.Store(code, index);
    });
    group_codes.PackTo(count, codes + begin / 2);
  });
}

void Levels(const float* HWY_RESTRICT row, size_t columns, size_t group_size, const LinearLevels& levels,
            uint8_t* HWY_RESTRICT codes) {
  const Floats d;
  const Ints di;
  const IntVector largest = hn::Set(di, (1 << levels.bits) - 1);
  GroupCodes group_codes;
  ForEachGroup(columns, group_size, [&](size_t group, size_t begin, size_t count) HWY_ATTR {
    const float scale = levels.scales[group];
    const FloatVector divisor = hn::Set(d, scale == 0.0f ? 1.0f : scale);
    const IntVector zero = hn::Set(di, levels.zeros != nullptr ? levels.zeros[group] : levels.default_zero);
    ForEachVector(row + begin, count, [&](FloatVector x, size_t index) HWY_ATTR {
      const IntVector code = hn::Add(hn::NearestInt(hn::Div(x, divisor)), zero);
      group_codes.Store(hn::Min(code, largest), index);
    });
    if (levels.bits == 4) {
      group_codes.PackTo(count, codes + begin / 2);
    } else {
      std::memcpy(codes + begin, group_codes.bytes, count);
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {

HWY_EXPORT(Magnitudes);
HWY_EXPORT(Ranges);
HWY_EXPORT(Nf4);
HWY_EXPORT(Levels);

void FindGroupMagnitudes(std::span<const float> row, int64_t group_size, float* magnitudes) {
  HWY_DYNAMIC_DISPATCH(Magnitudes)(row.data(), row.size(), group_size, magnitudes);
}

void FindGroupRanges(std::span<const float> row, int64_t group_size, float* lows, float* highs) {
  HWY_DYNAMIC_DISPATCH(Ranges)(row.data(), row.size(), group_size, lows, highs);
}

void RoundToNf4(std::span<const float> row, int64_t group_size, const float* magnitudes, uint8_t* codes) {
  CHECK(group_size == 64 || group_size == 128);
  HWY_DYNAMIC_DISPATCH(Nf4)(row.data(), row.size(), group_size, magnitudes, codes);
}

void RoundToLevels(std::span<const float> row, int64_t group_size, const LinearLevels& levels, uint8_t* codes) {
  CHECK(group_size == 64 || group_size == 128);
  HWY_DYNAMIC_DISPATCH(Levels)(row.data(), row.size(), group_size, levels, codes);
}

}  // namespace switchyard
#endif  // HWY_ONCE
