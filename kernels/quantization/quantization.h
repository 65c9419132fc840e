// How the elements of a weight matrix are held in fewer bits than its type, and how a user names that.
//
// Codes are unsigned. Consecutive input features of one row form a group with one scale:
//   kInt4, kInt8:  w = scale * (code - zero), zero of the group where has_zeros, else kInt4: 8, kInt8: 128
//   kNf4:          w = scale * kNf4Values[code]                       (Dettmers et al. 2023, arXiv:2305.14314)
// The last group of a row may be short. This is the one form that files are converted to and that backends pack from
// (quantized_rows.h); files with other groups are brought to it: a larger group is several with the same scale.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace switchyard {

enum class WeightFormat : uint8_t { kDense, kNf4, kInt4, kInt8 };

// In ascending order. Source: bitsandbytes, the quantiles of a normal distribution with an exact 0.
inline constexpr std::array<float, 16> kNf4Values = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f,
};

// What a backend needs to know of a matrix before it allocates. Dense unless said otherwise.
struct Quantization {
  WeightFormat format = WeightFormat::kDense;
  int64_t group_size = 0;         // input features with one scale: kNf4 64; kInt4, kInt8 64 or 128
  bool has_zeros = false;         // kInt4, kInt8: asymmetric; a zero point per group
  bool double_quantized = false;  // kNf4: scales are held in 8 bits (NestedScales)
  // The input features were sorted by group (GPTQ's act-order): stored column i multiplies x[order[i]].
  bool reordered = false;

  bool is_dense() const { return format == WeightFormat::kDense; }
  int64_t bits() const { return format == WeightFormat::kInt8 ? 8 : 4; }  // of a code; not for kDense
  // Of a row of `columns`.
  int64_t NumGroups(int64_t columns) const { return (columns + group_size - 1) / group_size; }
  int64_t CodeBytes(int64_t columns) const { return (columns * bits() + 7) / 8; }
  int default_zero() const { return format == WeightFormat::kInt8 ? 128 : 8; }
  bool operator==(const Quantization&) const = default;
};

// INVALID_ARGUMENT if no backend holds a matrix with `in_features` that way: NF4 needs a multiple of 64.
absl::Status ValidateQuantization(const Quantization& quantization, int64_t in_features);

// How dense weights are quantised.
struct QuantizationRecipe {
  Quantization stored;
  bool per_channel = false;  // kInt8: one scale per row, which all its groups hold

  bool is_dense() const { return stored.is_dense(); }
  bool operator==(const QuantizationRecipe&) const = default;
};

// "none", "nf4" (double quantised), "int4" (groups of 128, symmetric), "int8" (per channel), and with suffixes:
// "int4-g64", "int4-g128", "int4-asym", "int4-g64-asym", "int8-g64", "int8-g128". INVALID_ARGUMENT lists them.
absl::StatusOr<QuantizationRecipe> ParseQuantizationRecipe(absl::string_view text);
// As above, in the shortest form.
std::string Name(const QuantizationRecipe& recipe);
// For people: "nf4 in groups of 64, double quantised", "int4 in groups of 128, asymmetric, act-order", "dense".
std::string Describe(const Quantization& quantization);

}  // namespace switchyard
