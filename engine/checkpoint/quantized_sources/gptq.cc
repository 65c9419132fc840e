#include "engine/checkpoint/quantized_sources/gptq.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/quantized_sources/group_arrays.h"
#include "engine/checkpoint/quantized_sources/word_tiles.h"

namespace switchyard {
namespace {

constexpr int64_t kWordBits = 32;

// [groups, out]. "Minus one" is undone on whole words, as gptqmodel does it, which recovers zero points of 0 (they had
// borrowed from their neighbours); of all others it is the same as adding one to each.
std::vector<uint8_t> UnpackZeros(const SourceParts& parts) {
  const TensorLocation& tensor = parts.tensor();
  const int64_t bits = tensor.quantization.bits();
  const int64_t per_word = kWordBits / bits;
  const uint32_t mask = bits == 8 ? 0xFF : 0xF;
  const uint32_t ones = ~uint32_t{0} / mask;
  const std::span<const uint32_t> words = parts.Get<uint32_t>("qzeros");
  std::vector<uint8_t> zeros(words.size() * static_cast<size_t>(per_word));
  uint8_t* out = zeros.data();
  for (uint32_t word : words) {
    if (tensor.zeros_minus_one) word += ones;
    for (int64_t i = 0; i < per_word; ++i) *out++ = static_cast<uint8_t>(word >> (i * bits) & mask);
  }
  return zeros;
}

// Without act-order the groups must lie as if there were no g_idx.
absl::Status CheckOrdered(const SourceParts& parts) {
  if (!parts.Has("g_idx")) return absl::OkStatus();
  const std::span<const int32_t> groups = parts.Get<int32_t>("g_idx");
  for (size_t c = 0; c < groups.size(); ++c) {
    const int64_t expected = static_cast<int64_t>(c) / parts.tensor().file_group_size;
    if (groups[c] == expected) continue;
    return parts.Fault("g_idx", absl::StrCat("puts column ", c, " into group ", groups[c], ", not ", expected,
                                             ", but the config says desc_act false"));
  }
  return absl::OkStatus();
}

// The columns by their groups, within a group as they are.
absl::StatusOr<std::vector<int32_t>> SortByGroup(const SourceParts& parts) {
  const TensorLocation& tensor = parts.tensor();
  const std::span<const int32_t> groups = parts.Get<int32_t>("g_idx");
  const int64_t num_groups = NumFileGroups(tensor);
  std::vector<int64_t> next(static_cast<size_t>(num_groups));
  for (int64_t group = 0; group < num_groups; ++group) {
    next[static_cast<size_t>(group)] = group * tensor.file_group_size;
  }
  std::vector<int32_t> order(groups.size());
  for (size_t c = 0; c < groups.size(); ++c) {
    const int32_t group = groups[c];
    if (group < 0 || group >= num_groups) {
      return parts.Fault("g_idx", absl::StrCat("puts column ", c, " into group ", group, "; there are ", num_groups));
    }
    const int64_t end = std::min((group + 1) * tensor.file_group_size, tensor.columns());
    int64_t& place = next[static_cast<size_t>(group)];
    if (place == end) {
      return parts.Fault("g_idx", absl::StrCat("puts more than ", end - group * tensor.file_group_size,
                                               " columns into group ", group));
    }
    order[static_cast<size_t>(place++)] = static_cast<int32_t>(c);
  }
  return order;
}

// The file's words already hold consecutive columns of one output.
void Transpose(std::span<const uint32_t> qweight, QuantizedTensor& tensor) {
  const int64_t rows = tensor.rows;
  const auto fill = [qweight, rows](int64_t word, int64_t row, int64_t n, uint32_t* words) {
    std::memcpy(words, qweight.data() + word * rows + row, static_cast<size_t>(n) * sizeof(uint32_t));
  };
  TransposeWords(static_cast<int64_t>(qweight.size()) / rows, rows, fill, tensor.codes.data());
}

// The same with the columns sorted: every code of a word comes from another one.
template <int kBits>
void TransposeSorted(std::span<const uint32_t> qweight, QuantizedTensor& tensor) {
  constexpr int64_t kPerWord = kWordBits / kBits;
  constexpr uint32_t kMask = (uint32_t{1} << kBits) - 1;
  const int64_t rows = tensor.rows;
  const int32_t* const order = tensor.order.data();
  const auto fill = [qweight, rows, order](int64_t word, int64_t row, int64_t n, uint32_t* words) {
    std::fill_n(words, n, 0);
    for (int64_t i = 0; i < kPerWord; ++i) {
      const int64_t column = order[word * kPerWord + i];
      const uint32_t* const source = qweight.data() + column / kPerWord * rows + row;
      const int64_t from = column % kPerWord * kBits;
      const int64_t to = i * kBits;
      for (int64_t r = 0; r < n; ++r) words[r] |= (source[r] >> from & kMask) << to;
    }
  };
  TransposeWords(static_cast<int64_t>(qweight.size()) / rows, rows, fill, tensor.codes.data());
}

}  // namespace

absl::StatusOr<QuantizedTensor> ConvertGptq(const SourceParts& parts) {
  absl::StatusOr<QuantizedTensor> tensor = MakeGrouped(parts, UnpackZeros(parts));
  if (!tensor.ok()) return tensor.status();
  const std::span<const uint32_t> qweight = parts.Get<uint32_t>("qweight");
  if (!tensor->quantization.reordered) {
    absl::Status ordered = CheckOrdered(parts);
    if (!ordered.ok()) return ordered;
    Transpose(qweight, *tensor);
    return tensor;
  }
  absl::StatusOr<std::vector<int32_t>> order = SortByGroup(parts);
  if (!order.ok()) return order.status();
  tensor->order = *std::move(order);
  if (tensor->quantization.bits() == 8) {
    TransposeSorted<8>(qweight, *tensor);
  } else {
    TransposeSorted<4>(qweight, *tensor);
  }
  return tensor;
}

}  // namespace switchyard
