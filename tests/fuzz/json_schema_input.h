// What must hold for any text given as a JSON schema.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tests/engine/constraint/piece_tokenizer.h"

namespace switchyard {

// Empty, or the promise that was broken: what is refused is INVALID_ARGUMENT; what is taken can be followed, token by
// token, by tokens that the mask allows, and never comes to a dead end.
inline std::string CheckJsonSchemaInput(std::string_view schema) {
  const PieceTokenizer tokenizer({"{\"", "\"}", "\":", "\",\"", "}}", "[[", "]]", "null", "12", "abc", "\\u00"});
  const ConstraintLimits limits = {
      .max_bytes = 16 << 10, .max_states = 4096, .max_steps = 1'000'000, .max_time = absl::Seconds(20)};
  ConstraintCompiler compiler(&tokenizer, tokenizer.vocab_size(), /*max_kept=*/0, limits);
  const auto grammar = compiler.Compile(SchemaSpec(std::string(schema)));
  if (!grammar.ok()) return absl::IsInvalidArgument(grammar.status()) ? "" : grammar.status().ToString();
  GrammarMatcher matcher(*grammar);
  uint32_t choice = static_cast<uint32_t>(schema.size());
  for (int step = 0; step < 40; ++step) {
    const auto mask = matcher.Allowed();
    if (!mask.ok()) return absl::IsResourceExhausted(mask.status()) ? "" : mask.status().ToString();
    std::vector<int32_t> allowed;
    for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
      if (IsAllowed(*mask, id)) allowed.push_back(id);
    }
    if (allowed.empty()) return matcher.MayEnd() ? "" : "a dead end";
    choice = choice * 1664525 + 1013904223;
    const absl::Status status = matcher.Accept(allowed[(choice >> 8) % allowed.size()]);
    if (!status.ok()) return absl::IsResourceExhausted(status) ? "" : status.ToString();
  }
  return "";
}

}  // namespace switchyard
