#include "server/settings/quantization_flags.h"

#include <array>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace switchyard {
namespace {

Flag RecipeFlag(std::string name, std::string help, std::function<void(const QuantizationRecipe&)> store,
                std::function<std::optional<std::string>()> show) {
  Flag flag;
  flag.name = std::move(name);
  flag.group = "Model";
  flag.value = "FORMAT";
  flag.help = std::move(help);
  flag.read = [store = std::move(store)](const std::string& text) {
    const absl::StatusOr<QuantizationRecipe> recipe = ParseQuantizationRecipe(text);
    if (recipe.ok()) store(*recipe);
    return recipe.status();
  };
  flag.show = std::move(show);
  return flag;
}

}  // namespace

void AddQuantizationFlags(SettingsDraft* draft, std::vector<Flag>* flags) {
  QuantizationChoices* choices = &draft->settings.engine.quantize;
  const bool once = draft->settings.command == Command::kQuantize;
  flags->push_back(RecipeFlag(
      once ? "format" : "quantize",
      once ? "of the experts: nf4, int4 or int8 (int4-g64, int4-asym, int8-g128, ...)"
           : "hold the experts as nf4, int4, int8 (int4-g64, int4-asym, int8-g128, ...) or none",
      [choices](const QuantizationRecipe& recipe) { choices->experts = recipe; },
      [choices]() -> std::optional<std::string> { return Name(choices->experts); }));
  flags->push_back(RecipeFlag(
      "quantize-attention",
      once ? "the projections of attention: the same, or none; default: the same"
           : "the projections of attention, in the same words; default: as --quantize",
      [draft](const QuantizationRecipe& recipe) { draft->quantize_attention = recipe; },
      [draft]() -> std::optional<std::string> {
        if (!draft->quantize_attention.has_value()) return std::nullopt;
        return Name(*draft->quantize_attention);
      }));
  flags->push_back(RecipeFlag(
      "quantize-embeddings",
      once ? "token embeddings and the output projection: the same, or none; most other tools read only none"
           : "token embeddings and the output projection, in the same words",
      [choices](const QuantizationRecipe& recipe) { choices->embeddings = recipe; },
      [choices]() -> std::optional<std::string> { return Name(choices->embeddings); }));
}

Flag KvDTypeFlag(std::optional<DType>* target) {
  static constexpr std::array<DType, 2> kChoices = {DType::kFloat8E4M3, DType::kInt8};
  return ChoiceFlag(
      "kv-dtype", "of the KV cache; auto: as activations; fp8 (e4m3) and int8 have a scale per token and head",
      {"auto", "fp8", "int8"}, [target](size_t i) { *target = i == 0 ? std::nullopt : std::optional(kChoices[i - 1]); },
      [target]() {
        if (!target->has_value()) return size_t{0};
        return **target == kChoices[0] ? size_t{1} : size_t{2};
      });
}

void CompleteQuantization(SettingsDraft* draft) {
  QuantizationChoices& choices = draft->settings.engine.quantize;
  choices.attention = draft->quantize_attention.value_or(choices.experts);
}

}  // namespace switchyard
