// Which tokens of a distribution survive top-k, top-p and min-p, in that order, without sorting the vocabulary.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace switchyard {

// Ids of the `count` largest values (all where count exceeds the row), descending, lowest id first among equals.
std::vector<int32_t> LargestIds(std::span<const float> values, int64_t count);

// The kept tokens as a bound: a token is kept if it comes no later than the last kept one in the order "larger weight
// first, lowest id first among equals".
class TokenFilter {
 public:
  // weights: unnormalised probabilities, finite, >= 0, not all 0. top_k 0: all; exactly top_k tokens are kept, also
  // among equals. top_p: the smallest prefix that holds this share of what top-k left. min_p: at least this share of
  // the largest weight. The largest weight is always kept.
  TokenFilter(std::span<const float> weights, int32_t top_k, float top_p, float min_p);

  bool Keeps(float weight, size_t id) const {
    return weight > last_weight_ || (weight == last_weight_ && id <= last_id_);
  }

 private:
  float last_weight_ = 0;
  size_t last_id_ = SIZE_MAX;
};

}  // namespace switchyard
