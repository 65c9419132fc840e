#include "server/openai/best_of.h"

#include <gtest/gtest.h>

namespace switchyard::openai {
namespace {

RequestUpdate Answer(std::vector<float> logprobs) {
  RequestUpdate update;
  for (float logprob : logprobs) update.tokens.push_back({.logprob = logprob});
  return update;
}

TEST(BestCandidates, TakesTheHighestLogProbabilityPerTokenOfEachPrompt) {
  const std::vector<RequestUpdate> updates = {Answer({-1, -1}), Answer({-0.9f}),      Answer({-0.1f, -0.2f, -3}),
                                              Answer({-2}),     Answer({-1, -1, -1}), Answer({-3, -1})};
  EXPECT_EQ(BestCandidates(updates, 3, 1), (std::vector<size_t>{1, 4}));
  EXPECT_EQ(BestCandidates(updates, 3, 2), (std::vector<size_t>{1, 0, 4, 3}));
}

TEST(BestCandidates, KeepsTheOrderWhereAllAreReturned) {
  const std::vector<RequestUpdate> updates = {Answer({-3}), Answer({-1}), Answer({-2})};
  EXPECT_EQ(BestCandidates(updates, 3, 3), (std::vector<size_t>{0, 1, 2}));
}

TEST(BestCandidates, PutsEmptyAnswersLast) {
  const std::vector<RequestUpdate> updates = {Answer({}), Answer({-9}), Answer({})};
  EXPECT_EQ(BestCandidates(updates, 3, 2), (std::vector<size_t>{1, 0}));
}

}  // namespace
}  // namespace switchyard::openai
