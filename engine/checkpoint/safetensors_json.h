// The JSON of a safetensors header (safetensors.h), read into its entries and nothing else: no check across fields.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace switchyard {

// What the JSON says of one tensor, before any check across fields.
struct RawSafetensorsEntry {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<uint64_t>> shape;
  std::optional<std::vector<uint64_t>> offsets;
};

// In the order of the JSON. INVALID_ARGUMENT names `file`, the tensor and the field of what is not of the format's
// structure. Memory used is proportional to json.size(), never to a number read from it.
absl::StatusOr<std::vector<RawSafetensorsEntry>> ReadSafetensorsJson(absl::string_view file, absl::string_view json);

}  // namespace switchyard
