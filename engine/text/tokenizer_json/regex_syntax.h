// Regular expressions of tokenizer.json (Oniguruma with Ruby's syntax) in PCRE2's syntax.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace switchyard::tokenizer_json {

// A pattern with the same matches under PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE. Written out, because the two differ:
//   \p{L} \d          with the characters that PCRE2 does not know yet (unicode_additions.h)
//   \s \w \b \h \v \u  other sets of characters, or another meaning
//   [a[bc]]           the inner brackets are a union
//   (?m:…) {,n}       (?s:…) and {0,n} there
// UNIMPLEMENTED names what has no translation and its position: verbs, calls and callouts, \g \k \X \K, {n,m}+,
// intersections, negated classes and POSIX names in brackets, scripts other than a few.
absl::StatusOr<std::string> ToPcre2Syntax(std::string_view pattern);

}  // namespace switchyard::tokenizer_json
