// The `pre_tokenizer` of tokenizer.json: how a normalised text is divided before the model sees it.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/text/tokenizer_json/pieces.h"

namespace switchyard::tokenizer_json {

class PreTokenizerStep {
 public:
  virtual ~PreTokenizerStep() = default;
  virtual void Apply(Pieces* pieces) const = 0;
};

// Thread safety: immutable.
class PreTokenizer {
 public:
  // Sequence, ByteLevel, Metaspace, Split, Digits, Whitespace, WhitespaceSplit, Punctuation, or null for none.
  // UNIMPLEMENTED names another kind, INVALID_ARGUMENT a bad field; `place` opens both. `add_prefix_space`, where
  // given, goes before the field of a ByteLevel that stands alone, as in transformers.
  static absl::StatusOr<PreTokenizer> Parse(const std::string& place, const nlohmann::json& json,
                                            std::optional<bool> add_prefix_space);

  void Apply(Pieces* pieces) const {
    for (const auto& step : steps_) step->Apply(pieces);
  }

 private:
  std::vector<std::unique_ptr<const PreTokenizerStep>> steps_;
};

}  // namespace switchyard::tokenizer_json
