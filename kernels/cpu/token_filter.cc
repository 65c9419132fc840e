#include "kernels/cpu/token_filter.h"

#include <algorithm>

namespace switchyard {
namespace {

struct Candidate {
  float weight;
  int32_t id;
  bool operator<(const Candidate& other) const {  // the more likely one is "less": it comes first
    return weight > other.weight || (weight == other.weight && id < other.id);
  }
};
using Candidates = std::vector<Candidate>;

Candidates AtLeast(std::span<const float> values, float floor) {
  Candidates found;
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] >= floor) found.push_back({values[i], static_cast<int32_t>(i)});
  }
  return found;
}

double Mass(std::span<const Candidate> candidates) {
  double mass = 0;
  for (const Candidate& candidate : candidates) mass += candidate.weight;
  return mass;
}

// The last candidate of the shortest prefix, in order, that holds `mass`: selection by halves around a pivot, which
// takes linear time on average where sorting would not. Reorders the candidates.
Candidate PrefixEnd(std::span<Candidate> candidates, double mass) {
  while (candidates.size() > 1) {
    const auto middle = candidates.begin() + static_cast<std::ptrdiff_t>((candidates.size() - 1) / 2);
    std::nth_element(candidates.begin(), middle, candidates.end());
    const std::span<Candidate> front(candidates.begin(), middle + 1);
    const double front_mass = Mass(front);
    if (front_mass >= mass) {
      candidates = front;
    } else {
      mass -= front_mass;
      candidates = candidates.subspan(front.size());
    }
  }
  return candidates.front();
}

}  // namespace

std::vector<int32_t> LargestIds(std::span<const float> values, int64_t count) {
  const size_t wanted = std::min<size_t>(values.size(), std::max<int64_t>(0, count));
  Candidates heap;  // its front is the one to be displaced next
  for (size_t i = 0; i < values.size() && wanted > 0; ++i) {
    if (heap.size() == wanted) {
      if (!(values[i] > heap.front().weight)) continue;
      std::pop_heap(heap.begin(), heap.end());
      heap.pop_back();
    }
    heap.push_back({values[i], static_cast<int32_t>(i)});
    std::push_heap(heap.begin(), heap.end());
  }
  std::sort_heap(heap.begin(), heap.end());
  std::vector<int32_t> ids;
  for (const Candidate& candidate : heap) ids.push_back(candidate.id);
  return ids;
}

TokenFilter::TokenFilter(std::span<const float> weights, int32_t top_k, float top_p, float min_p) {
  const bool limits_count = top_k > 0 && static_cast<size_t>(top_k) < weights.size();
  if (limits_count || top_p < 1) {
    double total = 0;
    if (!limits_count) {
      for (const float weight : weights) total += weight;
    }
    // Most of a vocabulary has next to no weight: look among the heavy tokens first.
    Candidates candidates;
    for (const float floor : {1e-2f, 1e-4f, 1e-7f, 0.0f}) {
      candidates = AtLeast(weights, floor);
      const bool enough = limits_count ? candidates.size() >= static_cast<size_t>(top_k)
                                       : Mass(candidates) >= static_cast<double>(top_p) * total;
      if (enough) break;
    }
    if (limits_count) {
      std::nth_element(candidates.begin(), candidates.begin() + (top_k - 1), candidates.end());
      candidates.resize(top_k);
      total = Mass(candidates);
    }
    const double mass = top_p < 1 ? top_p * total : total;
    const Candidate last =
        top_p < 1 ? PrefixEnd(candidates, mass) : *std::max_element(candidates.begin(), candidates.end());
    last_weight_ = last.weight;
    last_id_ = static_cast<size_t>(last.id);
  }
  if (min_p > 0) {
    const float floor = min_p * *std::max_element(weights.begin(), weights.end());
    if (floor > last_weight_) {
      last_weight_ = floor;
      last_id_ = SIZE_MAX;
    }
  }
}

}  // namespace switchyard
