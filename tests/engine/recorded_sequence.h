// Sequences for tests, with all that they tell their front end.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/sequence.h"

namespace switchyard {

struct Record {
  std::vector<RequestUpdate> updates;

  std::string Text() const {
    std::string text;
    for (const RequestUpdate& update : updates) text += update.text;
    return text;
  }
  std::vector<int32_t> TokenIds() const {
    std::vector<int32_t> ids;
    for (const RequestUpdate& update : updates) {
      for (const GeneratedToken& token : update.tokens) ids.push_back(token.id);
    }
    return ids;
  }
  const RequestUpdate& last() const { return updates.back(); }
};

// What a sequence is made from besides its request.
struct SequenceSetting {
  const Tokenizer* tokenizer = nullptr;
  std::vector<int32_t> eos_ids;
  int64_t max_length = 1000;
  uint64_t seed = 0;
  absl::Time submitted = absl::UnixEpoch();
};

// `record` outlives the sequence.
inline std::unique_ptr<Sequence> MakeSequence(GenerationRequest request, Record* record,
                                              const SequenceSetting& setting = {}) {
  return std::make_unique<Sequence>(
      std::move(request), [record](RequestUpdate update) { record->updates.push_back(std::move(update)); },
      setting.tokenizer, setting.eos_ids, setting.max_length, setting.seed, setting.submitted);
}

}  // namespace switchyard
