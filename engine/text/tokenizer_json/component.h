// One component of tokenizer.json: an object whose `type` says which.
#pragma once

#include <cstddef>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/json_fields.h"

namespace switchyard::tokenizer_json {

// `place` opens every message: "dir/tokenizer.json: normalizer.normalizers[1]".
using AddComponent = std::function<absl::Status(const std::string& type, JsonFields* fields)>;

// Calls `add` for `json` or, where it is a Sequence, for each of those in its field `list`, Sequences within it too, in
// order. Nothing for null. INVALID_ARGUMENT: no object, no type, or more than 64 components.
absl::Status ForEachComponent(const std::string& place, const nlohmann::json& json, const char* list,
                              const AddComponent& add);

// UNIMPLEMENTED: "<place>: <kind> 'Nmt' is not supported; <kinds> are".
absl::Status UnsupportedComponent(const JsonFields& fields, absl::string_view kind, const std::string& type,
                                  absl::string_view supported);

// A field that must be there.
std::string RequiredString(JsonFields* fields, const char* name);
// A string of one character.
char32_t RequiredCharacter(JsonFields* fields, const char* name);

}  // namespace switchyard::tokenizer_json
