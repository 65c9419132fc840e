// config.json and the generation_config.json beside it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/random_access_file.h"
#include "engine/model/decoder_spec.h"

namespace switchyard {

struct ConfigFiles {
  DecoderSpec spec;
  GenerationDefaults defaults;        // none where there is no generation_config.json
  std::vector<std::string> warnings;  // of both files
};

// Errors name the file and the field.
absl::StatusOr<ConfigFiles> ReadConfigFiles(const std::string& config_path, const FileOpener& open);

// The path's directory, "." where it names none.
std::string DirectoryOf(const std::string& path);

}  // namespace switchyard
