#include "kernels/cpu/bf16_layout.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/cpu/float_convert.h"
#include "kernels/cpu/onednn_gemm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/bf16_layout.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/highway.h"
#include "kernels/cpu/vector_util-inl.h"

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kChunk = PackedMatrix::kChunk;
constexpr int64_t kGroupRows = PackedMatrix::kGroupRows;
constexpr int64_t kColumns = OneDnnGemm::kPanelColumns;

void Round(const float* HWY_RESTRICT in, int64_t count, uint16_t* HWY_RESTRICT out) {
  const hn::ScalableTag<float> d;
  const hn::RebindToUnsigned<decltype(d)> bits_tag;
  const hn::RebindToSigned<decltype(d)> signed_tag;
  const hn::Rebind<uint16_t, decltype(d)> half_tag;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto one = hn::Set(bits_tag, 1u);
  const auto half = hn::Set(bits_tag, 0x7FFFu);
  const auto quiet = hn::Set(bits_tag, 0x40u);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto value = hn::LoadU(d, in + i);
    const auto bits = hn::BitCast(bits_tag, value);
    const auto high = hn::ShiftRight<16>(bits);
    const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(half, hn::And(high, one))));
    const auto is_nan = hn::RebindMask(bits_tag, hn::IsNaN(value));
    const auto result = hn::IfThenElse(is_nan, hn::Or(high, quiet), rounded);
    hn::StoreU(hn::DemoteTo(half_tag, hn::BitCast(signed_tag, result)), half_tag, out + i);
  }
  for (; i < count; ++i) out[i] = BFloat16FromFloat(in[i]);
}

// One chunk of one group, [4 rows][16 columns], to [8 pairs][64 rows][2] at the group's 4 rows.
void TransposePairs(const uint16_t* HWY_RESTRICT chunk, uint16_t* HWY_RESTRICT out) {
  const auto* in = reinterpret_cast<const uint32_t*>(chunk);
  auto* dst = reinterpret_cast<uint32_t*>(out);
  constexpr int64_t kRowPairs = kChunk / 2;
  const uint32_t* const rows[kGroupRows] = {in, in + kRowPairs, in + 2 * kRowPairs, in + 3 * kRowPairs};
  for (int64_t pair = 0; pair < kRowPairs; pair += 4) {
    TransposeFour(rows, pair, dst + pair * kColumns, kColumns);
  }
}

void Unpack(const PackedMatrix& weight, int64_t panel, int64_t depth, uint16_t* HWY_RESTRICT out) {
  const int64_t chunks = weight.num_chunks();
  const int64_t first_group = panel * kColumns / kGroupRows;
  const int64_t groups = std::min(kColumns / kGroupRows, weight.num_groups() - first_group);
  const auto* first = static_cast<const uint16_t*>(weight.data()) + first_group * chunks * kGroupRows * kChunk;
  if (groups * kGroupRows < kColumns) std::fill_n(out, depth * kColumns, uint16_t{0});
  // Chunk by chunk: the panel is written in one stream, the weight read in as many as there are groups.
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    for (int64_t group = 0; group < groups; ++group) {
      TransposePairs(first + (group * chunks + chunk) * kGroupRows * kChunk,
                     out + chunk * kChunk * kColumns + group * kGroupRows * 2);
    }
  }
  std::fill_n(out + chunks * kChunk * kColumns, (depth - chunks * kChunk) * kColumns, uint16_t{0});
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {

HWY_EXPORT(Round);
HWY_EXPORT(Unpack);

void RoundToBFloat16(const float* in, int64_t count, int64_t padded, uint16_t* out) {
  HWY_DYNAMIC_DISPATCH(Round)(in, count, out);
  std::fill_n(out + count, padded - count, uint16_t{0});
}

void UnpackPanel(const PackedMatrix& weight, int64_t panel, int64_t depth, uint16_t* out) {
  CHECK(weight.spec().dtype == DType::kBFloat16);
  HWY_DYNAMIC_DISPATCH(Unpack)(weight, panel, depth, out);
}

}  // namespace switchyard
#endif  // HWY_ONCE
