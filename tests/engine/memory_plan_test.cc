#include "engine/memory_plan.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "tests/engine/planned_gpus.h"

namespace switchyard {
namespace {

TEST(PlanRankMemory, CountsTheWeightsOfMixtral) {
  const auto checkpoint = OpenMixtral();
  for (const AttentionParallelism mode : kAttentionModes) {
    EngineConfig config = OnGpus(2);
    config.attention = mode;
    const EnginePlan plan = PlanFor(config, *checkpoint);
    const int64_t share = mode == AttentionParallelism::kTensorParallel ? 2 : 1;
    for (int rank = 0; rank < 2; ++rank) {
      const RankMemory memory = MemoryOf(plan, *checkpoint, rank);
      EXPECT_EQ(memory.experts, int64_t{32} * 4 * 3 * 4096 * 14336 * 2);
      EXPECT_EQ(memory.attention, int64_t{32} * (4096 + 2 * 1024 + 4096) * 4096 * 2 / share);
      EXPECT_EQ(memory.embeddings, int64_t{2} * 32000 * 4096 * 2);
      EXPECT_EQ(memory.other_weights, int64_t{32} * 8 * 4096 * 2 + int64_t{65} * 4096 * 4);
      // One sequence of 32768 tokens: 128 KiB per token, or half of that with half of the heads.
      EXPECT_EQ(memory.kv_cache, 4 * kGiB / share);
    }
  }
}

TEST(PlanRankMemory, HoldsEveryParameterOfMixtralOnOneRank) {
  const auto checkpoint = OpenMixtral();
  const RankMemory memory = MemoryOf(PlanFor(OnGpus(1), *checkpoint), *checkpoint, 0);
  // 46,702,792,704 parameters, of which norms are held in four bytes instead of two.
  EXPECT_EQ(memory.experts + memory.attention + memory.embeddings + memory.other_weights,
            int64_t{46'702'792'704} * 2 + int64_t{65} * 4096 * 2);
  EXPECT_EQ(memory.nccl, 0);
}

TEST(PlanRankMemory, CountsTheBundledModel) {
  const auto checkpoint = OpenConfig("models/tiny-mixtral");
  for (const AttentionParallelism mode : kAttentionModes) {
    EngineConfig config = OnGpus(2);
    config.attention = mode;
    const int64_t share = mode == AttentionParallelism::kTensorParallel ? 2 : 1;
    const RankMemory memory = MemoryOf(PlanFor(config, *checkpoint), *checkpoint, 1);
    EXPECT_EQ(memory.experts, 4 * 4 * 3 * 256 * 256 * 2);
    EXPECT_EQ(memory.attention, 4 * (256 + 2 * 128 + 256) * 256 * 2 / share);
    EXPECT_EQ(memory.embeddings, 2 * 2048 * 256 * 2);
    EXPECT_EQ(memory.other_weights, 4 * 8 * 256 * 2 + 9 * 256 * 4);
    EXPECT_EQ(memory.kv_cache, 4096 * 4 * 2 * 2 * 64 * 2 / share);
  }
}

TEST(PlanRankMemory, ActivationsAndScratchFollowTheBatchAndNothingElseDoes) {
  const auto checkpoint = OpenMixtral();
  EngineConfig config = OnGpus(2);
  config.max_batch_tokens = 1024;
  const RankMemory small = MemoryOf(PlanFor(config, *checkpoint), *checkpoint, 0);
  config.max_batch_tokens = 4096;
  const RankMemory large = MemoryOf(PlanFor(config, *checkpoint), *checkpoint, 0);
  // At least the float32 residual stream, and the gathered rows and their sums of both ranks in two bytes.
  EXPECT_GE(large.activations - small.activations, int64_t{3072} * 4096 * (4 + 2 * 2 * 2));
  // At least what lies between the products of the experts, top-2 of both ranks' rows.
  EXPECT_GE(large.scratch - small.scratch, int64_t{3072} * 2 * 2 * 14336 * 2);
  EXPECT_EQ(large.experts, small.experts);
  EXPECT_EQ(large.attention, small.attention);
  EXPECT_EQ(large.kv_cache, small.kv_cache);
}

TEST(PlanRankMemory, RanksWithMoreExpertsTakeMore) {
  const auto checkpoint = OpenMixtral();
  const EnginePlan plan = PlanFor(OnGpus(3), *checkpoint);
  const RankMemory first = MemoryOf(plan, *checkpoint, 0);
  const RankMemory last = MemoryOf(plan, *checkpoint, 2);
  EXPECT_EQ(first.experts * 2, last.experts * 3);  // three experts per layer, and two
  EXPECT_GT(first.total(), last.total());
}

TEST(PlanRankMemory, LeavesOutWhatFlagsTurnOff) {
  const auto checkpoint = OpenMixtral();
  EngineConfig config = OnGpus(2);
  const RankMemory with = MemoryOf(PlanFor(config, *checkpoint), *checkpoint, 0);
  config.cuda_graphs = false;
  config.staged_collectives = true;
  config.gpu_reserve_bytes = 0;
  const RankMemory without = MemoryOf(PlanFor(config, *checkpoint), *checkpoint, 0);
  EXPECT_GT(with.graphs, 0);
  EXPECT_GT(with.nccl, 0);
  EXPECT_EQ(without.graphs + without.nccl + without.reserve, 0);
}

TEST(PlanRankMemory, CountsTheScalesOfAnEightBitCache) {
  const auto checkpoint = OpenMixtral();
  for (const AttentionParallelism mode : kAttentionModes) {
    for (const DType dtype : {DType::kFloat8E4M3, DType::kInt8}) {
      EngineConfig config = OnGpus(2);
      config.attention = mode;
      config.kv_dtype = dtype;
      const int64_t kv_heads = mode == AttentionParallelism::kTensorParallel ? 4 : 8;
      EXPECT_EQ(MemoryOf(PlanFor(config, *checkpoint), *checkpoint, 0).kv_cache,
                int64_t{32768} * 32 * 2 * kv_heads * (128 + 4));
    }
  }
}

TEST(PlanRankMemory, AlignsEachTensorOfTheCacheByItself) {
  const auto checkpoint = OpenMixtral();
  EngineConfig config = OnGpus(2);
  config.kv_dtype = DType::kFloat8E4M3;
  config.page_size = 1;
  config.max_model_len = 3;  // elements of 3 * 8 * 128 bytes, scales of 3 * 8 * 4
  EXPECT_EQ(MemoryOf(PlanFor(config, *checkpoint), *checkpoint, 0).kv_cache, 32 * 2 * (3072 + 256));
}

// Rows that never leave their rank, or are never sliced, need no buffers for it.
TEST(PlanRankMemory, HasNoBuffersForExchangesThatNeverHappen) {
  const auto checkpoint = OpenMixtral();
  EngineConfig config = OnGpus(2);
  const int64_t rows = int64_t{4096} * 2;  // bytes of one
  const auto activations = [&](AttentionParallelism attention, std::optional<ExchangeStrategy> exchange) {
    config.attention = attention;
    config.exchange = exchange;
    return MemoryOf(PlanFor(config, *checkpoint), *checkpoint, 0).activations;
  };
  const int64_t travelling = activations(AttentionParallelism::kReplicated, std::nullopt);
  const int64_t staying = activations(AttentionParallelism::kReplicated, ExchangeStrategy::kAllReduce);
  // What is received, sent and returned, and the sums of what is received beyond a rank's own.
  EXPECT_GE(travelling - staying, (4096 + 4096 + 2048 + 2048 - 2) * rows);
  const int64_t sliced = activations(AttentionParallelism::kTensorParallel, std::nullopt);
  const int64_t whole = activations(AttentionParallelism::kTensorParallel, ExchangeStrategy::kAllReduce);
  EXPECT_GE(sliced - whole, (2050 + 2048 + 2048 + 1024 - 4) * rows);
  EXPECT_EQ(whole, staying - 2050 * (2 * 3072 + 2 * 2 * 2048));  // of half the heads
}

TEST(FreeBytesOfRanks, DividesACardAmongTheRanksThatShareIt) {
  EngineConfig config = OnGpus(0);
  config.gpus = {1, 0, 1};
  const std::vector<GpuInfo> gpus = {{.index = 0, .free_bytes = 100}, {.index = 1, .free_bytes = 60}};
  EXPECT_EQ(*FreeBytesOfRanks(config, gpus), (std::vector<int64_t>{30, 100, 30}));
  config.gpus = {2};
  const absl::Status status = FreeBytesOfRanks(config, gpus).status();
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_NE(status.message().find("GPU 2"), std::string::npos) << status;
}

TEST(FreeBytesOfRanks, TakesImaginedCardsAsTheyAre) {
  EngineConfig config = OnGpus(0);
  config.gpu_memory_bytes = {16 * kGiB, 24 * kGiB};
  EXPECT_EQ(*FreeBytesOfRanks(config, {}), config.gpu_memory_bytes);
}

}  // namespace
}  // namespace switchyard
