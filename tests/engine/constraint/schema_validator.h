// Whether a document satisfies a schema: written from the specification, for the keywords that tests use, and knowing
// nothing of automata.
#pragma once

#include <nlohmann/json.hpp>

namespace switchyard {

bool IsValid(const nlohmann::json& document, const nlohmann::json& schema, const nlohmann::json& root);

}  // namespace switchyard
