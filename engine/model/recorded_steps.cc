#include "engine/model/recorded_steps.h"

#include <algorithm>

namespace switchyard {

std::vector<int64_t> RecordedSizes(int64_t max_tokens) {
  std::vector<int64_t> sizes;
  int64_t size = 1;
  while (size < max_tokens) {
    sizes.push_back(size);
    // Padding costs at most a third of a small step and an eighth of a large one.
    size += size < 8 ? size : size < 64 ? 8 : size < 128 ? 16 : 32;
  }
  if (max_tokens > 0) sizes.push_back(max_tokens);
  return sizes;
}

bool IsDecodeStep(const Batch& batch) {
  return !batch.tokens.empty() && batch.scores.empty() && batch.samples.size() == batch.tokens.size() &&
         batch.sequences.size() == batch.tokens.size();
}

int64_t RecordedSteps::PaddedTokens(TokenLayout layout, int64_t size) const {
  if (layout != TokenLayout::kSliced) return size;
  return (size + world_size_ - 1) / world_size_ * world_size_;
}

int64_t RecordedSteps::PaddedTokens(TokenLayout layout, const Batch& batch) const {
  if (!IsDecodeStep(batch)) return 0;
  const int64_t tokens = layout == TokenLayout::kDivided
                             ? MakeStepLayout(batch, layout, 0, world_size_).max_residual_rows
                             : static_cast<int64_t>(batch.tokens.size());
  const auto size = std::lower_bound(sizes_.begin(), sizes_.end(), tokens);
  return size == sizes_.end() ? 0 : PaddedTokens(layout, *size);
}

const RecordedSteps::Step* RecordedSteps::Find(ExchangeStrategy exchange, int64_t padded_tokens) const {
  const auto found = steps_.find({exchange, padded_tokens});
  return found == steps_.end() ? nullptr : &found->second;
}

}  // namespace switchyard
