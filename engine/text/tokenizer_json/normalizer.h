// The `normalizer` of tokenizer.json: what happens to a text before it is divided.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace switchyard::tokenizer_json {

// A stretch of the input between added tokens.
struct Stretch {
  std::string text;
  bool at_start = false;  // its first character is, or replaces, the input's first one
};

class NormalizerStep {
 public:
  virtual ~NormalizerStep() = default;
  virtual void Apply(Stretch* stretch) const = 0;
};

// Thread safety: immutable.
class Normalizer {
 public:
  // Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, ByteLevel, or null for none.
  // UNIMPLEMENTED names another kind, INVALID_ARGUMENT a bad field; `place` opens both.
  static absl::StatusOr<Normalizer> Parse(const std::string& place, const nlohmann::json& json);

  void Apply(Stretch* stretch) const {
    for (const auto& step : steps_) step->Apply(stretch);
  }

 private:
  std::vector<std::unique_ptr<const NormalizerStep>> steps_;
};

}  // namespace switchyard::tokenizer_json
