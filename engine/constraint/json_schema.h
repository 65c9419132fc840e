// JSON Schema (2020-12, the part that docs/CONSTRAINTS.md lists) to rules of an automaton whose every word is a valid
// document. Not every valid document is a word: members come in the order of `properties`, white space is one optional
// space after ':' and ',', numbers and formats are bounded, and an object with `properties` but no
// `additionalProperties` is closed.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "engine/constraint/automaton.h"
#include "engine/constraint/schema_facts.h"

namespace switchyard {

// The schema's text, checked: size, depth, members of an object, no name twice. Null with the fault in the budget.
std::unique_ptr<SchemaJson> ParseJsonSchema(std::string_view text, CompileBudget* budget);

// The rule of the schema's documents. Faults go to the automaton's budget: INVALID_ARGUMENT names the keyword or the
// limit.
int32_t AddJsonSchema(std::string_view schema, Automaton* automaton);

}  // namespace switchyard
