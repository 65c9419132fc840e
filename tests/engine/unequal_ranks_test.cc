// A model whose experts are divided unevenly among CPU ranks computes what it computes on one rank.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/engine_plan.h"
#include "engine/rank_model.h"
#include "parallel/communicators/in_process.h"
#include "tests/parallel/rank_threads.h"

namespace switchyard {
namespace {

constexpr float kTolerance = 1e-4f;
constexpr int32_t kTokens = 24;  // of each of the two sequences

// Two sequences, every position scored; where ranks hold their own sequences, the second is the last rank's.
Batch TwoSequences(const EnginePlan& plan, ExchangeStrategy exchange) {
  Batch batch = {.exchange = exchange};
  const int32_t num_pages = kTokens / static_cast<int32_t>(plan.config.page_size) + 1;
  for (int32_t s = 0; s < 2; ++s) {
    const bool other_domain = s == 1 && plan.scheduler.num_kv_domains > 1;
    batch.sequences.push_back({.owner = other_domain ? plan.world_size - 1 : 0,
                               .token_begin = s * kTokens,
                               .num_tokens = kTokens,
                               .page_begin = s * num_pages,
                               .num_pages = num_pages});
    for (int32_t i = 0; i < num_pages; ++i) batch.pages.push_back((other_domain ? 0 : s * num_pages) + i);
    for (int32_t i = 0; i < kTokens; ++i) {
      batch.tokens.push_back((s * 733 + i * 97 + 5) % 2048);
      batch.scores.push_back({.token = s * kTokens + i, .row = {.target = (i * 31 + s) % 2048}});
    }
  }
  return batch;
}

// The log-probability of every target, on as many ranks as there are counts of experts.
std::vector<float> ScoresWith(const std::vector<int>& counts, AttentionParallelism attention,
                              ExchangeStrategy exchange) {
  const auto checkpoint = Checkpoint::Open(SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral");
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  const int ranks = static_cast<int>(counts.size());
  const EngineConfig config = {.num_local_ranks = ranks,
                               .attention = attention,
                               .exchange = exchange,
                               .num_threads = 1,
                               .max_model_len = 64,
                               .max_batch_tokens = 64,
                               .max_running_requests = 4};
  auto plan = MakeEnginePlan(config, (*checkpoint)->spec(), ranks);
  EXPECT_TRUE(plan.ok()) << plan.status();
  plan->SetExpertCounts(counts);
  std::vector<float> scores(2 * kTokens);
  const auto communicators = CreateInProcessCommunicators(ranks, absl::Seconds(60));
  RunRanks(ranks, [&](int rank) {
    const auto backend = CreateCpuBackend(plan->cpu_backend_options(rank));
    auto model = CreateRankModel(*plan, **checkpoint, *backend, *communicators[rank]);
    ASSERT_TRUE(model.ok()) << model.status();
    ASSERT_TRUE(
        (*checkpoint)
            ->FillWeights(plan->ShardOf(rank), *backend, model->decoder->weights(), {}, [](const LoadProgress&) {})
            .ok());
    const auto output = model->decoder->Step(TwoSequences(*plan, exchange));
    ASSERT_TRUE(output.ok()) << output.status();
    for (const StepOutput::Scored& scored : output->scores) scores[scored.index] = scored.token.logprob;
  });
  return scores;
}

TEST(UnequalRanks, ScoreAsOneRankDoes) {
  const std::vector<float> expected = ScoresWith({8}, AttentionParallelism::kReplicated, ExchangeStrategy::kAllToAll);
  for (const float score : expected) ASSERT_LT(score, 0);
  const std::vector<std::vector<int>> divisions = {{5, 3}, {8, 0}, {0, 8}};
  for (const auto attention : {AttentionParallelism::kReplicated, AttentionParallelism::kTensorParallel}) {
    for (const auto exchange :
         {ExchangeStrategy::kAllToAll, ExchangeStrategy::kAllGather, ExchangeStrategy::kAllReduce}) {
      for (const std::vector<int>& counts : divisions) {
        const std::string where = absl::StrCat(counts[0], "+", counts[1], " ", Name(attention), " ", Name(exchange));
        const std::vector<float> scores = ScoresWith(counts, attention, exchange);
        for (size_t i = 0; i < scores.size(); ++i) ASSERT_NEAR(scores[i], expected[i], kTolerance) << where << " " << i;
      }
    }
  }
}

}  // namespace
}  // namespace switchyard
