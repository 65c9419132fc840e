#include "engine/checkpoint/quantized_location.h"

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "kernels/quantization/quantized_rows.h"

namespace switchyard {
namespace {

constexpr absl::string_view kWeight = ".weight";
constexpr int64_t kWordBits = 32;
constexpr int64_t kNf4Block = 64;
constexpr absl::string_view kFloats[] = {"F16", "BF16", "F32"};

// A tensor that the weight consists of, as it must be.
struct ExpectedPart {
  absl::string_view suffix;
  std::span<const absl::string_view> dtypes;  // any of them
  std::vector<int64_t> shape;
  bool is_optional = false;
};

constexpr absl::string_view kBytes[] = {"U8"};
constexpr absl::string_view kInts[] = {"I32"};
constexpr absl::string_view kHalves[] = {"F16"};
constexpr absl::string_view kSingles[] = {"F32"};

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

std::vector<ExpectedPart> PartsOfBitsAndBytes(int64_t rows, int64_t columns, bool double_quantized,
                                              int64_t state_bytes) {
  const int64_t blocks = rows * columns / kNf4Block;
  std::vector<ExpectedPart> parts = {
      {.suffix = "", .dtypes = kBytes, .shape = {rows * columns / 2, 1}},
      {.suffix = "absmax", .dtypes = double_quantized ? kBytes : kSingles, .shape = {blocks}},
      {.suffix = "quant_map", .dtypes = kSingles, .shape = {16}},
      {.suffix = kQuantStateSuffix, .dtypes = kBytes, .shape = {state_bytes}},
  };
  if (double_quantized) {
    parts.push_back({.suffix = "nested_absmax", .dtypes = kSingles, .shape = {CeilDivide(blocks, kNestedBlock)}});
    parts.push_back({.suffix = "nested_quant_map", .dtypes = kSingles, .shape = {256}});
  }
  return parts;
}

std::vector<ExpectedPart> PartsOfGptq(const QuantizationConfig& config, int64_t rows, int64_t columns) {
  const int64_t groups = CeilDivide(columns, config.FileGroupSize(columns));
  return {
      {.suffix = "qweight", .dtypes = kInts, .shape = {columns * config.bits / kWordBits, rows}},
      {.suffix = "qzeros", .dtypes = kInts, .shape = {groups, rows * config.bits / kWordBits}},
      {.suffix = "scales", .dtypes = kHalves, .shape = {groups, rows}},
      {.suffix = "g_idx", .dtypes = kInts, .shape = {columns}, .is_optional = !config.act_order || groups == 1},
      {.suffix = "bias", .dtypes = kFloats, .shape = {rows}, .is_optional = true},
  };
}

std::vector<ExpectedPart> PartsOfAwq(const QuantizationConfig& config, int64_t rows, int64_t columns) {
  const int64_t groups = CeilDivide(columns, config.FileGroupSize(columns));
  return {
      {.suffix = "qweight", .dtypes = kInts, .shape = {columns, rows * config.bits / kWordBits}},
      {.suffix = "qzeros", .dtypes = kInts, .shape = {groups, rows * config.bits / kWordBits}},
      {.suffix = "scales", .dtypes = kHalves, .shape = {groups, rows}},
      {.suffix = "bias", .dtypes = kFloats, .shape = {rows}, .is_optional = true},
  };
}

// What every message says of the weight: "4-bit gptq of [16, 128] in groups of 128".
std::string Describe(const QuantizationConfig& config, std::span<const int64_t> shape) {
  const std::string groups =
      config.group_size == -1 ? "one group per row" : absl::StrCat("groups of ", config.group_size);
  return absl::StrCat(config.bits, "-bit ", Name(config.storage), " of ", ShapeText(shape), " in ", groups);
}

// INVALID_ARGUMENT if whole words cannot hold the codes, or no backend could hold the result.
absl::StatusOr<Quantization> CheckForm(const QuantizationConfig& config, const std::string& where,
                                       std::span<const int64_t> shape) {
  const int64_t per_word = kWordBits / config.bits;
  const bool is_gptq = config.storage == WeightStorage::kGptq;
  const bool is_awq = config.storage == WeightStorage::kAwq;
  if ((is_gptq && shape[1] % per_word != 0) || ((is_gptq || is_awq) && shape[0] % per_word != 0) ||
      (is_awq && config.FileGroupSize(shape[1]) < shape[1] && shape[1] % config.group_size != 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " cannot be ", Describe(config, shape), ": its sides do not divide evenly"));
  }
  absl::StatusOr<Quantization> neutral = config.Neutral(shape[1]);
  if (!neutral.ok()) return absl::InvalidArgumentError(absl::StrCat(where, ": ", neutral.status().message()));
  return neutral;
}

absl::StatusOr<TensorPart> MakePart(const ShardTensors& tensors, const ShardTensor& tensor,
                                    const ExpectedPart& expected, const std::string& because) {
  const SafetensorsEntry& entry = *tensor.entry;
  absl::Status checked = tensors.Check(tensor, expected.shape, because);
  if (!checked.ok()) return checked;
  if (std::find(expected.dtypes.begin(), expected.dtypes.end(), entry.dtype) == expected.dtypes.end()) {
    return absl::InvalidArgumentError(absl::StrCat(tensors.Where(tensor), " has dtype ", entry.dtype, " but ", because,
                                                   " implies ", absl::StrJoin(expected.dtypes, " or ")));
  }
  return TensorPart{.suffix = std::string(expected.suffix),
                    .file = tensor.file,
                    .dtype = std::string(entry.dtype),
                    .shape = entry.shape,
                    .begin = entry.begin,
                    .bytes = entry.end - entry.begin};
}

// The first tensor that makes the weight a quantised one.
const ShardTensor* FirstPart(const ShardTensors& tensors, WeightStorage storage, absl::string_view name) {
  if (storage != WeightStorage::kBitsAndBytes) return tensors.Find(PartName(storage, name, "qweight"));
  const ShardTensor* const state = tensors.Find(PartName(storage, name, kQuantStateSuffix));
  return state != nullptr ? state : tensors.Find(PartName(storage, name, "absmax"));
}

absl::Status CheckStatedMethod(const std::string& where, WeightStorage storage, const QuantizationConfig* config) {
  const absl::string_view found = storage == WeightStorage::kBitsAndBytes ? Name(storage) : "gptq or awq";
  if (config == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(where, " is part of a weight that ", found,
                                                   " quantised, but config.json has no quantization_config and there "
                                                   "is no quantize_config.json that says how"));
  }
  if ((config->storage == WeightStorage::kBitsAndBytes) == (storage == WeightStorage::kBitsAndBytes)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(where, " is part of a weight that ", found, " quantised, but ",
                                                 config->place, " says ", Name(config->storage)));
}

}  // namespace

std::string PartName(WeightStorage storage, absl::string_view weight, absl::string_view suffix) {
  if (storage == WeightStorage::kBitsAndBytes) return absl::StrCat(weight, suffix.empty() ? "" : ".", suffix);
  return absl::StrCat(absl::StripSuffix(weight, kWeight), ".", suffix);
}

WeightStorage StorageOf(const ShardTensors& tensors, absl::string_view name) {
  if (!absl::EndsWith(name, kWeight)) return WeightStorage::kDense;
  for (const WeightStorage storage : {WeightStorage::kBitsAndBytes, WeightStorage::kGptq}) {
    if (FirstPart(tensors, storage, name) != nullptr) return storage;
  }
  return WeightStorage::kDense;
}

absl::StatusOr<TensorLocation> LocateQuantized(ShardTensors& tensors, const std::string& name,
                                               std::span<const int64_t> shape, const QuantizationConfig* config) {
  CHECK_EQ(shape.size(), size_t{2});
  const WeightStorage found = StorageOf(tensors, name);
  CHECK(found != WeightStorage::kDense);
  const ShardTensor& first = *FirstPart(tensors, found, name);
  const std::string where = tensors.Where(first);
  absl::Status stated = CheckStatedMethod(where, found, config);
  if (!stated.ok()) return stated;
  const WeightStorage storage = config->storage;
  if (storage != WeightStorage::kBitsAndBytes && tensors.Find(name) != nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, " is beside ", QuoteName(name), "; a weight must be either quantised or dense"));
  }
  const absl::StatusOr<Quantization> neutral = CheckForm(*config, where, shape);
  if (!neutral.ok()) return neutral.status();

  std::vector<ExpectedPart> expected;
  if (storage == WeightStorage::kBitsAndBytes) {
    const int64_t state_bytes = first.entry->shape.size() == 1 ? first.entry->shape[0] : 0;
    expected = PartsOfBitsAndBytes(shape[0], shape[1], config->double_quantized,
                                   std::clamp<int64_t>(state_bytes, 1, kMaxQuantStateBytes));
  } else {
    expected = storage == WeightStorage::kGptq ? PartsOfGptq(*config, shape[0], shape[1])
                                               : PartsOfAwq(*config, shape[0], shape[1]);
  }
  const std::string because = absl::StrCat(config->double_quantized ? "double-quantised " : "",
                                           Describe(*config, shape), " (", config->place, ")");
  TensorLocation location{.name = name,
                          .shape = {shape.begin(), shape.end()},
                          .storage = storage,
                          .quantization = *neutral,
                          .file_group_size = config->FileGroupSize(shape[1]),
                          .zeros_minus_one = config->zeros_minus_one};
  for (const ExpectedPart& part : expected) {
    const std::string part_name = PartName(storage, name, part.suffix);
    const ShardTensor* const tensor = tensors.Find(part_name);
    if (tensor == nullptr && part.is_optional) continue;
    if (tensor == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, " has no ", QuoteName(part_name), " beside it, but ", because, " implies one"));
    }
    absl::StatusOr<TensorPart> made = MakePart(tensors, *tensor, part, because);
    if (!made.ok()) return made.status();
    location.parts.push_back(*std::move(made));
  }
  for (const TensorPart& part : location.parts) tensors.Claim(PartName(storage, name, part.suffix));
  std::sort(location.parts.begin(), location.parts.end(), [](const TensorPart& a, const TensorPart& b) {
    return std::tie(a.file, a.begin) < std::tie(b.file, b.begin);
  });
  location.file = location.parts.front().file;
  return location;
}

}  // namespace switchyard
