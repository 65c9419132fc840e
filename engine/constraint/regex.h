// A safe subset of ECMAScript's regular expressions: what a finite automaton can follow.
//
//   taken     literals, ., [classes], \d \w \s \D \W \S, escapes, groups (also (?:...)), |, * + ? {n} {n,} {n,m},
//             lazy forms of these (the same language), ^ and $ at the ends of an alternative of the whole pattern
//   refused   by name: backreferences, lookaround, \b, \B, \p, named groups, ^ and $ elsewhere, flags
//   \d, \w and \s are ASCII's. `.`, negated classes, \D, \W and \S stand for no control character (U+0000 to U+001F).
#pragma once

#include <string_view>

#include "engine/constraint/byte_dfa.h"
#include "engine/constraint/characters.h"

namespace switchyard {

enum class RegexScope {
  kWhole,   // the text is the match: ^ and $ may be left out
  kSearch,  // as in JSON Schema: where ^ or $ is missing, any text may stand there
};

// The texts that match. Faults go to `budget`: INVALID_ARGUMENT names the construct and its place in the pattern.
ByteDfa CompileRegex(std::string_view pattern, RegexScope scope, TextForm form, CompileBudget* budget);

}  // namespace switchyard
