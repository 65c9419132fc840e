#include "engine/checkpoint/rope_frequencies.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

constexpr NumberRange kPositive{.min = 0, .max = 1e12, .min_allowed = false};
// Mixtral's own default in transformers, not Llama's 10000.
constexpr double kDefaultTheta = 1e6;

// YaRN's temperature, arXiv:2309.00071, section 3.4.
double YarnMagnitude(double factor, double scale) { return factor <= 1 ? 1.0 : 0.1 * scale * std::log(factor) + 1.0; }

float YarnAttentionFactor(JsonFields& rope, double factor) {
  const std::optional<double> given = rope.Number("attention_factor", kPositive);
  const std::optional<double> mscale = rope.Number("mscale", {});
  const std::optional<double> mscale_all_dim = rope.Number("mscale_all_dim", {});
  if (given) return static_cast<float>(*given);
  if (mscale.value_or(0) > 0 && mscale_all_dim.value_or(0) > 0) {
    return static_cast<float>(YarnMagnitude(factor, *mscale) / YarnMagnitude(factor, *mscale_all_dim));
  }
  return static_cast<float>(YarnMagnitude(factor, 1.0));
}

// Partial rotary embedding would change the mathematics of attention: a factor of 1 is the only one understood.
void RefusePartialRotary(JsonFields& fields) {
  const std::optional<double> factor = fields.Number("partial_rotary_factor", {});
  if (factor && *factor != 1.0) {
    fields.Fail("partial_rotary_factor", absl::StrCat("is ", *factor, "; only 1 is supported for mixtral"));
  }
}

RopeFrequencies Scale(JsonFields& rope, const std::string& type, double theta, int64_t head_dim,
                      int64_t max_position_embeddings, std::optional<int64_t> original_outside) {
  std::vector<float> base = DefaultInvFreq(theta, head_dim);
  if (type == "default") return {.inv_freq = std::move(base)};
  if (type == "linear") {
    const auto factor = static_cast<float>(rope.RequiredNumber("factor", kPositive));
    for (float& value : base) value /= factor;
    return {.inv_freq = std::move(base)};
  }
  const std::optional<int64_t> original_inside =
      rope.Integer("original_max_position_embeddings", {.min = 1, .max = int64_t{1} << 40});
  const auto original =
      static_cast<double>(original_outside.value_or(original_inside.value_or(max_position_embeddings)));
  if (type == "llama3") {
    const Llama3Scaling scaling{.factor = rope.RequiredNumber("factor", kPositive),
                                .low_freq_factor = rope.RequiredNumber("low_freq_factor", kPositive),
                                .high_freq_factor = rope.RequiredNumber("high_freq_factor", kPositive),
                                .original_max_position_embeddings = original};
    if (scaling.high_freq_factor <= scaling.low_freq_factor) {
      rope.Fail("high_freq_factor", absl::StrCat("is ", scaling.high_freq_factor, "; it must be above low_freq_factor ",
                                                 scaling.low_freq_factor));
    }
    return {.inv_freq = Llama3InvFreq(std::move(base), scaling)};
  }
  if (type == "yarn") {
    const double implied = static_cast<double>(max_position_embeddings) / original;
    const YarnScaling scaling{.factor = rope.Number("factor", kPositive).value_or(implied),
                              .beta_fast = rope.Number("beta_fast", kPositive).value_or(32),
                              .beta_slow = rope.Number("beta_slow", kPositive).value_or(1),
                              .original_max_position_embeddings = original,
                              .truncate = rope.Boolean("truncate").value_or(true)};
    return {.inv_freq = YarnInvFreq(theta, head_dim, scaling),
            .attention_factor = YarnAttentionFactor(rope, scaling.factor)};
  }
  rope.Fail("rope_type", absl::StrCat("is '", type, "'; supported are default, linear, llama3 and yarn"));
  return {.inv_freq = std::move(base)};
}

}  // namespace

std::vector<float> DefaultInvFreq(double theta, int64_t head_dim) {
  std::vector<float> inv_freq;
  for (int64_t i = 0; i < head_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(head_dim);
    inv_freq.push_back(1.0f / std::pow(static_cast<float>(theta), exponent));
  }
  return inv_freq;
}

std::vector<float> Llama3InvFreq(std::vector<float> inv_freq, const Llama3Scaling& scaling) {
  const double original = scaling.original_max_position_embeddings;
  const auto low = static_cast<float>(scaling.low_freq_factor);
  const auto high = static_cast<float>(scaling.high_freq_factor);
  const auto factor = static_cast<float>(scaling.factor);
  for (float& value : inv_freq) {
    const float wavelength = static_cast<float>(2 * std::numbers::pi) / value;
    if (wavelength < static_cast<float>(original / high)) continue;
    if (wavelength > static_cast<float>(original / low)) {
      value /= factor;
    } else {
      const float smooth = (static_cast<float>(original) / wavelength - low) / (high - low);
      value = (1.0f - smooth) * value / factor + smooth * value;
    }
  }
  return inv_freq;
}

std::vector<float> YarnInvFreq(double theta, int64_t head_dim, const YarnScaling& scaling) {
  // The dimension that turns `rotations` times over the original context.
  const auto dimension_of = [&](double rotations) {
    return static_cast<double>(head_dim) *
           std::log(scaling.original_max_position_embeddings / (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
  };
  double low = dimension_of(scaling.beta_fast);
  double high = dimension_of(scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(head_dim - 1));
  if (low == high) high += 0.001;  // a ramp without width would divide by zero

  std::vector<float> inv_freq = DefaultInvFreq(theta, head_dim);
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    const float ramp = (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low);
    const float keep = 1.0f - std::clamp(ramp, 0.0f, 1.0f);
    const float interpolated = inv_freq[i] / static_cast<float>(scaling.factor);
    inv_freq[i] = interpolated * (1.0f - keep) + inv_freq[i] * keep;
  }
  return inv_freq;
}

RopeFrequencies ReadRopeFrequencies(JsonFields& config, int64_t head_dim, int64_t max_position_embeddings,
                                    std::vector<std::string>& warnings) {
  const double outer_theta =
      config.Number("rope_theta", {.min = 1, .max = 1e12, .min_allowed = false}).value_or(kDefaultTheta);
  const std::optional<int64_t> original =
      config.Integer("original_max_position_embeddings", {.min = 1, .max = int64_t{1} << 40});
  RefusePartialRotary(config);

  // transformers 4 wrote rope_scaling, 5 writes rope_parameters; where both are present the former wins there too.
  const bool old_name = config.Has("rope_scaling");
  const bool new_name = config.Has("rope_parameters");
  if (!old_name && !new_name) return {.inv_freq = DefaultInvFreq(outer_theta, head_dim)};
  const char* const name = old_name ? "rope_scaling" : "rope_parameters";
  const nlohmann::json& object = *config.Find(name);
  if (!object.is_object()) {
    config.Fail(name, absl::StrCat("is ", JsonText(object), "; it must be an object or null"));
    return {.inv_freq = DefaultInvFreq(outer_theta, head_dim)};
  }
  JsonFields rope(absl::StrCat(config.place(), ": ", name), object);
  const double theta = rope.Number("rope_theta", {.min = 1, .max = 1e12, .min_allowed = false}).value_or(outer_theta);
  RefusePartialRotary(rope);
  const std::optional<std::string> old_type = rope.String("type");
  const std::string type = rope.String("rope_type").value_or(old_type.value_or("default"));
  RopeFrequencies frequencies = Scale(rope, type, theta, head_dim, max_position_embeddings, original);
  for (const std::string& field : rope.Unread()) {
    if (object[field].is_object())
      rope.Fail(field, "gives one layer type its own frequencies; not supported for mixtral");
    warnings.push_back(
        absl::StrCat(rope.place(), ": ", field, " means nothing to rope type '", type, "' and is ignored"));
  }
  config.Adopt(rope.status());
  return frequencies;
}

}  // namespace switchyard
