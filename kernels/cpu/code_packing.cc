#include "kernels/cpu/code_packing.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/code_packing.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/highway.h"
#include "kernels/cpu/vector_util-inl.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Words = hn::ScalableTag<uint32_t>;

constexpr size_t kRows = 16;  // of a block: the words of a slice

// Nibbles 0 to 3 of each word to the low halves of bytes 0 to 3, 4 to 7 to the high halves: columns 4 apart share a
// byte.
HWY_INLINE hn::Vec<Words> ToSliceOrder(hn::Vec<Words> codes) {
  const Words d;
  const auto spread = [d](hn::Vec<Words> value) HWY_ATTR {
    value = hn::And(hn::Or(value, hn::ShiftLeft<8>(value)), hn::Set(d, 0x00FF'00FFu));
    return hn::And(hn::Or(value, hn::ShiftLeft<4>(value)), hn::Set(d, 0x0F0F'0F0Fu));
  };
  const auto low = spread(hn::And(codes, hn::Set(d, 0xFFFFu)));
  return hn::Or(low, hn::ShiftLeft<4>(spread(hn::ShiftRight<16>(codes))));
}

void PackBlock(const uint8_t* HWY_RESTRICT rows, size_t row_bytes, bool has_nibbles, uint8_t* HWY_RESTRICT slices) {
  const Words d;
  const size_t lanes = hn::Lanes(d);
  const size_t row_words = row_bytes / sizeof(uint32_t);
  const auto* in = reinterpret_cast<const uint32_t*>(rows);
  auto* out = reinterpret_cast<uint32_t*>(slices);
  for (size_t word = 0; word < row_words; word += 4, out += 4 * kRows) {
    const size_t count = HWY_MIN(size_t{4}, row_words - word);
    for (size_t row = 0; row < kRows; row += 4) {
      const uint32_t* const four[4] = {in + row * row_words, in + (row + 1) * row_words, in + (row + 2) * row_words,
                                       in + (row + 3) * row_words};
      if (count == 4) {
        TransposeFour(four, word, out + row, kRows);
        continue;
      }
      for (size_t i = 0; i < count; ++i) {
        for (size_t j = 0; j < 4; ++j) out[i * kRows + row + j] = four[j][word + i];
      }
    }
    if (!has_nibbles) continue;
    for (size_t i = 0; i < count * kRows; i += lanes) hn::Store(ToSliceOrder(hn::Load(d, out + i)), d, out + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {

HWY_EXPORT(PackBlock);

void PackCodeBlock(const uint8_t* rows, size_t row_bytes, bool has_nibbles, uint8_t* slices) {
  HWY_DYNAMIC_DISPATCH(PackBlock)(rows, row_bytes, has_nibbles, slices);
}

}  // namespace switchyard
#endif  // HWY_ONCE
