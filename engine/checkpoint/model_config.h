// config.json -> DecoderSpec: every field that changes the mathematics is honoured or refused by name.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "engine/model/decoder_spec.h"

namespace switchyard {

// `config` is the object in the file `file`. Absent fields take transformers' defaults for the family, except the
// shape of the model, which must be stated. Absent and null sliding_window both mean full attention, as in
// transformers' MixtralConfig. Fields that are not understood and not known to be harmless end in spec.warnings.
// INVALID_ARGUMENT names `file`, the field, its value and the limit or the remedy. What quantization_config says is not
// looked at here.
absl::StatusOr<DecoderSpec> ParseModelConfig(const std::string& file, const nlohmann::json& config);

}  // namespace switchyard
