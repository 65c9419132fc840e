#include "kernels/quantization/quantization.h"

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace switchyard {
namespace {

constexpr int64_t kNf4Group = 64;
constexpr int64_t kSmallGroup = 64;
constexpr int64_t kLargeGroup = 128;

const char* Name(WeightFormat format) {
  switch (format) {
    case WeightFormat::kDense:
      return "none";
    case WeightFormat::kNf4:
      return "nf4";
    case WeightFormat::kInt4:
      return "int4";
    case WeightFormat::kInt8:
      return "int8";
  }
  return "?";
}

absl::Status UnknownRecipe(absl::string_view text) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is no quantisation; take none, nf4, int4 (groups of 128, symmetric), int4-g64, ",
                   "int4-asym, int4-g64-asym, int8 (per channel), int8-g64 or int8-g128"));
}

}  // namespace

absl::Status ValidateQuantization(const Quantization& quantization, int64_t in_features) {
  if (quantization.is_dense()) return absl::OkStatus();
  const bool is_nf4 = quantization.format == WeightFormat::kNf4;
  const int64_t group = quantization.group_size;
  const bool known_group = group == kSmallGroup || (group == kLargeGroup && !is_nf4);
  if (!known_group || (is_nf4 && quantization.has_zeros) || (!is_nf4 && quantization.double_quantized)) {
    return absl::InvalidArgumentError(absl::StrCat(Describe(quantization), " is not supported"));
  }
  if (is_nf4 && in_features % kNf4Group != 0) {
    return absl::InvalidArgumentError(absl::StrCat("nf4 needs rows that are a multiple of ", kNf4Group, " wide, not ",
                                                   in_features, "; int4-g64 and int8 have no such limit"));
  }
  return absl::OkStatus();
}

absl::StatusOr<QuantizationRecipe> ParseQuantizationRecipe(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '-');
  QuantizationRecipe recipe;
  Quantization& stored = recipe.stored;
  if (parts[0] == "none") {
    stored.format = WeightFormat::kDense;
  } else if (parts[0] == "nf4") {
    stored = {.format = WeightFormat::kNf4, .group_size = kNf4Group, .double_quantized = true};
  } else if (parts[0] == "int4") {
    stored = {.format = WeightFormat::kInt4, .group_size = kLargeGroup};
  } else if (parts[0] == "int8") {
    stored = {.format = WeightFormat::kInt8, .group_size = kLargeGroup};
    recipe.per_channel = true;
  } else {
    return UnknownRecipe(text);
  }
  const bool takes_group = stored.format == WeightFormat::kInt4 || stored.format == WeightFormat::kInt8;
  size_t next = 1;
  if (takes_group && next < parts.size() && (parts[next] == "g64" || parts[next] == "g128")) {
    stored.group_size = parts[next] == "g64" ? kSmallGroup : kLargeGroup;
    recipe.per_channel = false;
    ++next;
  }
  if (stored.format == WeightFormat::kInt4 && next < parts.size() && parts[next] == "asym") {
    stored.has_zeros = true;
    ++next;
  }
  if (next != parts.size()) return UnknownRecipe(text);
  return recipe;
}

std::string Name(const QuantizationRecipe& recipe) {
  const Quantization& stored = recipe.stored;
  std::string name = Name(stored.format);
  const bool is_int8_group = stored.format == WeightFormat::kInt8 && !recipe.per_channel;
  if (is_int8_group || (stored.format == WeightFormat::kInt4 && stored.group_size != kLargeGroup)) {
    absl::StrAppend(&name, "-g", stored.group_size);
  }
  if (stored.has_zeros) absl::StrAppend(&name, "-asym");
  return name;
}

std::string Describe(const Quantization& quantization) {
  if (quantization.is_dense()) return "dense";
  std::string text = absl::StrCat(Name(quantization.format), " in groups of ", quantization.group_size);
  if (quantization.has_zeros) absl::StrAppend(&text, ", asymmetric");
  if (quantization.double_quantized) absl::StrAppend(&text, ", double quantised");
  if (quantization.reordered) absl::StrAppend(&text, ", act-order");
  return text;
}

}  // namespace switchyard
