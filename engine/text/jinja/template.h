// A Jinja template as the chat templates of checkpoints use them: jinja2's ImmutableSandboxedEnvironment with
// trim_blocks, lstrip_blocks and loop controls, and transformers' raise_exception, strftime_now, tojson and generation.
// docs/CHAT.md lists what it knows.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/text/jinja/ast.h"
#include "engine/text/jinja/context.h"
#include "engine/text/jinja/value.h"

namespace switchyard::jinja {

// Thread safety: immutable; rendered from any thread.
class Template {
 public:
  static constexpr size_t kMaxSourceBytes = size_t{1} << 20;

  // INVALID_ARGUMENT: malformed or longer than kMaxSourceBytes; UNIMPLEMENTED: a tag, filter, test or operator that is
  // not known. Both name the line.
  static absl::StatusOr<Template> Parse(std::string_view source);

  struct Options {
    absl::Time now;  // of strftime_now
    Limits limits;
  };
  // FAILED_PRECONDITION: the template's own raise_exception, with its message. With the line: INVALID_ARGUMENT for a
  // fault such as the use of an undefined value, UNIMPLEMENTED for an unknown method, RESOURCE_EXHAUSTED past a limit.
  absl::StatusOr<std::string> Render(const std::vector<std::pair<std::string, Value>>& variables,
                                     const Options& options) const;

 private:
  explicit Template(Statements statements) : statements_(std::move(statements)) {}

  Statements statements_;
};

}  // namespace switchyard::jinja
