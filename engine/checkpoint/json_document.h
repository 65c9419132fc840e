// JSON files of a model directory: size, depth and duplicate names checked while parsing.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/checkpoint/random_access_file.h"

namespace switchyard {

// INVALID_ARGUMENT names `file` and the byte or the name at fault: not JSON, not an object, a name twice in one
// object, or nested more than 64 deep.
absl::StatusOr<nlohmann::json> ParseJsonObject(absl::string_view file, absl::string_view text);

// ReadTextFile, then ParseJsonObject.
absl::StatusOr<nlohmann::json> ReadJsonFile(const FileOpener& open, const std::string& path, int64_t max_bytes);

}  // namespace switchyard
