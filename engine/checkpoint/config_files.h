// config.json, and beside it generation_config.json and quantize_config.json.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/quantization_config.h"
#include "engine/checkpoint/random_access_file.h"
#include "engine/model/decoder_spec.h"

namespace switchyard {

struct ConfigFiles {
  DecoderSpec spec;
  GenerationDefaults defaults;        // none where there is no generation_config.json
  std::vector<std::string> warnings;  // of all files
  // config.json's quantization_config, or else quantize_config.json; none: the weights are dense.
  std::optional<QuantizationConfig> quantization;

  const QuantizationConfig* quantization_or_null() const { return quantization ? &*quantization : nullptr; }
};

// Errors name the file and the field.
absl::StatusOr<ConfigFiles> ReadConfigFiles(const std::string& config_path, const FileOpener& open);

// The path's directory, "." where it names none.
std::string DirectoryOf(const std::string& path);

}  // namespace switchyard
