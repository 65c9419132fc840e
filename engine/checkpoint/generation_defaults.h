// generation_config.json -> GenerationDefaults.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"

namespace switchyard {

// `vocab_size` bounds the token ids. INVALID_ARGUMENT names `file`, the field, its value and the limit. Fields that
// would change what is generated and are not honoured end in `warnings`.
absl::StatusOr<GenerationDefaults> ParseGenerationConfig(const std::string& file, const nlohmann::json& config,
                                                         int64_t vocab_size, std::vector<std::string>& warnings);

}  // namespace switchyard
