#include "kernels/cpu/kv_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <type_traits>

#include "kernels/kv_scale.h"

namespace switchyard {
namespace {

Float8E4M3 Round(float value, Float8E4M3 /*type*/) { return Float8E4M3FromFloat(value); }
int8_t Round(float value, int8_t /*type*/) {
  return static_cast<int8_t>(std::clamp(std::nearbyint(value), -127.0f, 127.0f));
}

float Widen(Float8E4M3 element) { return FloatFromFloat8E4M3(element); }
float Widen(int8_t element) { return element; }

}  // namespace

void WriteKvRow(const float* values, const KvRows& rows, int64_t row) {
  const int64_t head_dim = rows.head_dim();
  DispatchKvElement(rows.dtype(), [&](auto type) {
    using Element = decltype(type);
    auto* elements = rows.Elements<Element>(row);
    if constexpr (std::is_same_v<Element, float>) {
      std::copy_n(values, head_dim, elements);
    } else {
      uint32_t largest = 0;
      for (int64_t i = 0; i < head_dim; ++i) {
        largest = std::max(largest, std::bit_cast<uint32_t>(values[i]) & 0x7FFFFFFFu);
      }
      const KvScale scale = KvScaleOf(largest, kLargestKvElement<Element>);
      rows.scale(row) = scale.scale;
      for (int64_t i = 0; i < head_dim; ++i) {
        elements[i] = scale.inverse == 0 ? Element{} : Round(values[i] * scale.inverse, Element());
      }
    }
  });
}

void ReadKvRow(const KvRows& rows, int64_t row, float* values) {
  DispatchKvElement(rows.dtype(), [&](auto type) {
    using Element = decltype(type);
    const Element* elements = rows.Elements<Element>(row);
    if constexpr (std::is_same_v<Element, float>) {
      std::copy_n(elements, rows.head_dim(), values);
    } else {
      for (int64_t i = 0; i < rows.head_dim(); ++i) values[i] = rows.scale(row) * Widen(elements[i]);
    }
  });
}

}  // namespace switchyard
