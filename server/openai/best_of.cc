#include "server/openai/best_of.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace switchyard::openai {
namespace {

double LogProbPerToken(const RequestUpdate& update) {
  if (update.tokens.empty()) return -std::numeric_limits<double>::infinity();
  double sum = 0;
  for (const GeneratedToken& token : update.tokens) sum += token.logprob;
  return sum / static_cast<double>(update.tokens.size());
}

}  // namespace

std::vector<size_t> BestCandidates(std::span<const RequestUpdate> updates, int32_t candidates, int32_t n) {
  std::vector<size_t> order(updates.size());
  std::iota(order.begin(), order.end(), size_t{0});
  if (n >= candidates) return order;
  std::vector<double> scores;
  for (const RequestUpdate& update : updates) scores.push_back(LogProbPerToken(update));
  std::vector<size_t> best;
  for (auto begin = order.begin(); begin != order.end(); begin += candidates) {
    std::stable_sort(begin, begin + candidates, [&](size_t a, size_t b) { return scores[a] > scores[b]; });
    best.insert(best.end(), begin, begin + n);
  }
  return best;
}

}  // namespace switchyard::openai
