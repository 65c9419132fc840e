// Decode steps of fixed sizes, recorded once and replayed (CUDA graphs), so that a step costs one launch.
//
// A step that gives each of its sequences one token, and draws from each, is padded to the next size of a fixed list.
// Which size, follows from the batch alone, so that all ranks take the same.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/batch.h"
#include "engine/step_layout.h"
#include "kernels/backend.h"

namespace switchyard {

// Padded sizes up to `max_tokens`, ascending: powers of two, then steps of 8, 16 and 32; the last is max_tokens itself.
std::vector<int64_t> RecordedSizes(int64_t max_tokens);

// Whether `batch` is a decode step: one token of each sequence, each drawn, none scored.
bool IsDecodeStep(const Batch& batch);

class RecordedSteps {
 public:
  // `max_tokens` bounds the padded size. None are recorded yet.
  RecordedSteps(int64_t max_tokens, int world_size) : sizes_(RecordedSizes(max_tokens)), world_size_(world_size) {}

  const std::vector<int64_t>& sizes() const { return sizes_; }
  // Rows of a step of `size` tokens under `layout`, as MakeStepLayout's padded_tokens: sliced ones divide among ranks.
  int64_t PaddedTokens(TokenLayout layout, int64_t size) const;
  // padded_tokens for `batch`; 0: not a decode step, or too large.
  int64_t PaddedTokens(TokenLayout layout, const Batch& batch) const;

  struct Step {
    std::unique_ptr<RecordedWork> work;
    uint64_t exchange_bytes = 0;  // that it hands to the collectives for other ranks
  };

  void Add(ExchangeStrategy exchange, int64_t padded_tokens, Step step) {
    steps_[{exchange, padded_tokens}] = std::move(step);
  }
  int64_t size() const { return static_cast<int64_t>(steps_.size()); }
  // Null where that was not recorded.
  const Step* Find(ExchangeStrategy exchange, int64_t padded_tokens) const;

 private:
  const std::vector<int64_t> sizes_;
  const int world_size_;
  std::map<std::pair<ExchangeStrategy, int64_t>, Step> steps_;
};

}  // namespace switchyard
