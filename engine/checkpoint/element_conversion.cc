#include "engine/checkpoint/element_conversion.h"

#include <cstdint>
#include <cstring>

#include "kernels/cpu/float_convert.h"

namespace switchyard {
namespace {

template <float (*Convert)(uint16_t)>
void WidenHalves(const std::byte* elements, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, elements + i * sizeof(bits), sizeof(bits));
    out[i] = Convert(bits);
  }
}

template <uint16_t (*Convert)(float)>
void NarrowToHalves(std::span<const float> values, std::byte* elements) {
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t bits = Convert(values[i]);
    std::memcpy(elements + i * sizeof(bits), &bits, sizeof(bits));
  }
}

}  // namespace

void WidenToFloat(DType dtype, const std::byte* elements, std::span<float> out) {
  switch (dtype) {
    case DType::kBFloat16:
      return WidenHalves<FloatFromBFloat16>(elements, out);
    case DType::kFloat16:
      return WidenHalves<FloatFromFloat16>(elements, out);
    case DType::kFloat32:
      std::memcpy(out.data(), elements, out.size_bytes());
      return;
    default:
      CHECK(false && "no weight has this element type");
  }
}

void NarrowFromFloat(DType dtype, std::span<const float> values, std::byte* elements) {
  switch (dtype) {
    case DType::kBFloat16:
      return NarrowToHalves<BFloat16FromFloat>(values, elements);
    case DType::kFloat16:
      return NarrowToHalves<Float16FromFloat>(values, elements);
    case DType::kFloat32:
      std::memcpy(elements, values.data(), values.size_bytes());
      return;
    default:
      CHECK(false && "no weight has this element type");
  }
}

}  // namespace switchyard
