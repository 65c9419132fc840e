#include "engine/checkpoint/config_files.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/generation_defaults.h"
#include "engine/checkpoint/json_document.h"
#include "engine/checkpoint/model_config.h"

namespace switchyard {
namespace {

constexpr int64_t kMaxConfigBytes = int64_t{16} << 20;

// A model without the file has no defaults of its own.
absl::StatusOr<GenerationDefaults> ReadGenerationDefaults(const std::string& path, const FileOpener& open,
                                                          int64_t vocab_size, std::vector<std::string>& warnings) {
  const absl::StatusOr<nlohmann::json> config = ReadJsonFile(open, path, kMaxConfigBytes);
  if (absl::IsNotFound(config.status())) return GenerationDefaults{};
  if (!config.ok()) return config.status();
  return ParseGenerationConfig(path, *config, vocab_size, warnings);
}

absl::StatusOr<std::optional<QuantizationConfig>> ReadQuantizationConfig(const std::string& config_path,
                                                                         const nlohmann::json& config,
                                                                         const FileOpener& open,
                                                                         std::vector<std::string>& warnings) {
  const auto stated = config.find("quantization_config");
  if (stated != config.end() && !stated->is_null()) {
    return ParseQuantizationConfig(absl::StrCat(config_path, ": quantization_config"), *stated, warnings);
  }
  const std::string path = absl::StrCat(DirectoryOf(config_path), "/quantize_config.json");
  const absl::StatusOr<nlohmann::json> beside = ReadJsonFile(open, path, kMaxConfigBytes);
  if (absl::IsNotFound(beside.status())) return std::nullopt;
  if (!beside.ok()) return beside.status();
  return ParseQuantizationConfig(path, *beside, warnings);
}

}  // namespace

absl::StatusOr<ConfigFiles> ReadConfigFiles(const std::string& config_path, const FileOpener& open) {
  const absl::StatusOr<nlohmann::json> config = ReadJsonFile(open, config_path, kMaxConfigBytes);
  if (!config.ok()) return config.status();
  absl::StatusOr<DecoderSpec> spec = ParseModelConfig(config_path, *config);
  if (!spec.ok()) return spec.status();
  ConfigFiles configs{.spec = *std::move(spec)};
  configs.warnings = configs.spec.warnings;
  absl::StatusOr<GenerationDefaults> defaults =
      ReadGenerationDefaults(absl::StrCat(DirectoryOf(config_path), "/generation_config.json"), open,
                             configs.spec.vocab_size, configs.warnings);
  if (!defaults.ok()) return defaults.status();
  configs.defaults = *std::move(defaults);
  absl::StatusOr<std::optional<QuantizationConfig>> quantization =
      ReadQuantizationConfig(config_path, *config, open, configs.warnings);
  if (!quantization.ok()) return quantization.status();
  configs.quantization = *std::move(quantization);
  return configs;
}

std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace switchyard
