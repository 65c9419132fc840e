#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kernels/check.h"
#include "kernels/quantization/quantize.h"

namespace switchyard {
namespace {

// The sum of torch.Tensor.mean() on one thread, to the last bit: a file's offset says which order of summation made it.
// 32 interleaved sums (4 vectors of 8), each in a cascade of 4 levels of 2^power terms that keeps the terms of a sum of
// about one magnitude (Higham 1993, "The accuracy of floating point summation").
constexpr size_t kLanes = 8;
constexpr size_t kVectors = 4;
constexpr size_t kLevels = 4;

template <size_t kWidth>
using Sums = std::array<float, kWidth>;

template <size_t kWidth>
void AddTo(Sums<kWidth>& sums, const float* x) {
  for (size_t i = 0; i < kWidth; ++i) sums[i] += x[i];
}

// Sums over `count` rows of kWidth.
template <size_t kWidth>
Sums<kWidth> SumRowsInCascade(const float* x, size_t count) {
  const size_t log_count = count <= 2 ? 1 : std::bit_width(count - 1);
  const size_t power = std::max<size_t>(4, log_count / kLevels);
  const size_t step = size_t{1} << power;
  std::array<Sums<kWidth>, kLevels> levels = {};
  size_t i = 0;
  while (i + step <= count) {
    for (const size_t end = i + step; i < end; ++i) AddTo(levels[0], x + i * kWidth);
    for (size_t level = 1; level < kLevels; ++level) {
      AddTo(levels[level], levels[level - 1].data());
      levels[level - 1] = {};
      if ((i & ((step - 1) << (level * power))) != 0) break;
    }
  }
  for (; i < count; ++i) AddTo(levels[0], x + i * kWidth);
  for (size_t level = 1; level < kLevels; ++level) AddTo(levels[0], levels[level].data());
  return levels[0];
}

// Sums over `count` rows of kWidth, four interleaved at a time.
template <size_t kWidth>
Sums<kWidth> SumRows(const float* x, size_t count) {
  const size_t quads = count / kVectors;
  const Sums<kVectors* kWidth> parts = SumRowsInCascade<kVectors * kWidth>(x, quads);
  Sums<kWidth> sums;
  std::copy_n(parts.begin(), kWidth, sums.begin());
  for (size_t i = quads * kVectors; i < count; ++i) AddTo(sums, x + i * kWidth);
  for (size_t k = 1; k < kVectors; ++k) AddTo(sums, parts.data() + k * kWidth);
  return sums;
}

float Mean(std::span<const float> values) {
  float sum = 0.0f;
  if (values.size() < kLanes) {
    sum = SumRows<1>(values.data(), values.size())[0];
  } else {
    const size_t vectors = values.size() / kLanes;
    for (size_t i = vectors * kLanes; i < values.size(); ++i) sum += values[i];
    for (const float lane : SumRows<kLanes>(values.data(), vectors)) sum += lane;
  }
  return sum / static_cast<float>(values.size());
}

// The nearest value of DynamicMap() for x in [-1, 1]; of two as near that with the even code, which is how
// bitsandbytes' search ends.
class NearestCode {
 public:
  NearestCode() {
    const std::span<const float, 256> map = DynamicMap();
    for (size_t i = 0; i + 1 < map.size(); ++i) middles_[i] = (map[i] + map[i + 1]) * 0.5f;
    middles_.back() = std::numeric_limits<float>::infinity();
    for (size_t bucket = 0; bucket < first_codes_.size(); ++bucket) {
      const bool negative = bucket >= kBuckets;
      const auto bits = static_cast<uint32_t>(bucket % kBuckets) << kBucketShift;
      const auto inner = std::bit_cast<float>(bits);
      const auto outer = std::bit_cast<float>(bits | ((1u << kBucketShift) - 1));
      const size_t first = CountBelow(negative ? -outer : inner);
      CHECK_LE(CountBelow(negative ? -inner : outer), first + 1);
      first_codes_[bucket] = static_cast<uint8_t>(first);
    }
  }

  uint8_t operator()(float x) const {
    const auto bits = std::bit_cast<uint32_t>(x);
    size_t code = first_codes_[((bits & 0x7FFFFFFFu) >> kBucketShift) + (bits >> 31) * kBuckets];
    code += x > middles_[code] ? 1 : 0;
    return static_cast<uint8_t>(code + (x == middles_[code] ? code % 2 : 0));
  }

 private:
  // Numbers of one sign with equal leading bits, down to a range so small that it holds one of middles_ at most. Up to
  // just over 1, for x that rounding left there.
  static constexpr int kBucketShift = 17;
  static constexpr size_t kBuckets = (0x3F800000u >> kBucketShift) + 1;

  size_t CountBelow(float x) const {
    return static_cast<size_t>(std::lower_bound(middles_.begin(), middles_.end(), x) - middles_.begin());
  }

  std::array<float, 256> middles_;  // between values i and i + 1
  std::array<uint8_t, 2 * kBuckets> first_codes_;
};

}  // namespace

void DoubleQuantize(ScaleArrays& scales) {
  const size_t count = scales.values.size();
  scales.nested_codes.resize(count);
  scales.nested_scales.assign(static_cast<size_t>(scales.rows * NumNestedScales(scales.groups)), 0.0f);
  scales.nested_change.resize(static_cast<size_t>(scales.rows));
  if (count == 0) return;
  const std::span<float> values = scales.values;
  const float offset = Mean(values);
  scales.nested_offsets.assign(static_cast<size_t>(scales.rows), offset);

  static const NearestCode kNearest;
  const std::span<const float, 256> map = DynamicMap();
  std::vector<float> block_scales;
  for (size_t begin = 0; begin < count; begin += kNestedBlock) {
    const size_t end = std::min<size_t>(begin + kNestedBlock, count);
    float magnitude = 0.0f;
    for (size_t i = begin; i < end; ++i) magnitude = std::max(magnitude, std::abs(values[i] - offset));
    const float inverse = 1.0f / std::max(magnitude, 1e-38f);  // bitsandbytes' least divisor
    for (size_t i = begin; i < end; ++i) {
      const uint8_t code = kNearest((values[i] - offset) * inverse);
      scales.nested_codes[i] = code;
      values[i] = map[code] * magnitude + offset;
    }
    block_scales.push_back(magnitude);
  }

  const int64_t width = NumNestedScales(scales.groups);
  for (int64_t row = 0; row < scales.rows; ++row) {
    const int64_t first = row * scales.groups;
    const int64_t last = first + scales.groups - 1;
    scales.nested_change[static_cast<size_t>(row)] = static_cast<int32_t>(kNestedBlock - first % kNestedBlock);
    std::copy(block_scales.begin() + first / kNestedBlock, block_scales.begin() + last / kNestedBlock + 1,
              scales.nested_scales.begin() + row * width);
  }
}

}  // namespace switchyard
