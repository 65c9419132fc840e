#include "engine/text/jinja/template.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/text/jinja/evaluator.h"
#include "engine/text/jinja/parser.h"
#include "engine/text/jinja/scope.h"

namespace switchyard::jinja {

absl::StatusOr<Template> Template::Parse(std::string_view source) {
  if (source.size() > kMaxSourceBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", source.size(), " bytes, more than the ", kMaxSourceBytes, " that a template may have"));
  }
  absl::StatusOr<Statements> statements = jinja::Parse(source);
  if (!statements.ok()) return statements.status();
  return Template(*std::move(statements));
}

absl::StatusOr<std::string> Template::Render(const std::vector<std::pair<std::string, Value>>& variables,
                                             const Options& options) const {
  Context context(options.limits);
  Scope scope(nullptr);
  AddGlobals(&scope);
  for (const auto& [name, value] : variables) scope.Set(name, value);
  std::string output;
  Evaluator(&context, options.now).Run(statements_, &scope, &output);
  if (!context.ok()) return context.status();
  return output;
}

}  // namespace switchyard::jinja
