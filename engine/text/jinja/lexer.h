// A template's source to tokens, with jinja2's white-space rules under trim_blocks and lstrip_blocks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace switchyard::jinja {

struct Token {
  enum class Kind {
    kData,        // text between tags, white space already cut
    kOutputOpen,  // {{
    kOutputClose,
    kBlockOpen,  // {%
    kBlockClose,
    kName,
    kInteger,
    kFloat,
    kString,  // escapes already read
    kOperator,
    kEnd
  };
  Kind kind = Kind::kEnd;
  std::string text;
  int line = 1;
};

// Ends with kEnd. INVALID_ARGUMENT names the line and the fault.
absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source);

// An error that starts with "line N: ".
absl::Status LineError(int line, const std::string& message);

}  // namespace switchyard::jinja
