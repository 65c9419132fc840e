#include "engine/memory_plan.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace switchyard {
namespace {

constexpr int64_t kGiB = int64_t{1} << 30;
constexpr AttentionParallelism kModes[] = {AttentionParallelism::kReplicated, AttentionParallelism::kTensorParallel};

std::unique_ptr<Checkpoint> Open(const std::string& path) {
  auto checkpoint = Checkpoint::OpenConfig(std::string(SWITCHYARD_SOURCE_DIR "/") + path);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return checkpoint.ok() ? *std::move(checkpoint) : nullptr;
}
std::unique_ptr<Checkpoint> OpenMixtral() { return Open("tests/engine/data/mixtral-8x7b/config.json"); }

EngineConfig OnGpus(int count) {
  EngineConfig config;
  config.device = DeviceKind::kCuda;
  for (int i = 0; i < count; ++i) config.gpus.push_back(i);
  config.num_local_ranks = count;
  return config;
}

EnginePlan PlanFor(const EngineConfig& config, const Checkpoint& checkpoint) {
  auto plan = MakeEnginePlan(config, checkpoint.spec(), static_cast<int>(config.gpus.size()));
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *std::move(plan);
}

RankMemory MemoryOf(const EnginePlan& plan, const Checkpoint& checkpoint, int rank) {
  const auto memory = PlanRankMemory(plan, checkpoint, rank);
  EXPECT_TRUE(memory.ok()) << memory.status();
  return memory.ok() ? *memory : RankMemory();
}

TEST(PlanRankMemory, CountsTheWeightsOfMixtral) {
  const auto checkpoint = OpenMixtral();
  for (const AttentionParallelism mode : kModes) {
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
  const auto checkpoint = Open("models/tiny-mixtral");
  for (const AttentionParallelism mode : kModes) {
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

TEST(FitToMemory, FillsTheRestOfEachCardWithPages) {
  const auto checkpoint = OpenMixtral();
  for (const AttentionParallelism mode : kModes) {
    EngineConfig config = OnGpus(2);
    config.attention = mode;
    const std::vector<int64_t> free_bytes = {80 * kGiB, 80 * kGiB};
    const EnginePlan minimal = PlanFor(config, *checkpoint);
    auto plan = FitToMemory(minimal, *checkpoint, free_bytes);
    ASSERT_TRUE(plan.ok()) << plan.status();
    const int64_t bytes_per_page = mode == AttentionParallelism::kTensorParallel ? 1 << 20 : 2 << 20;
    const RankMemory before = MemoryOf(minimal, *checkpoint, 0);
    EXPECT_EQ(plan->kv_shape.num_pages, (80 * kGiB - (before.total() - before.kv_cache)) / bytes_per_page);
    EXPECT_EQ(plan->scheduler.pages_per_domain, plan->kv_shape.num_pages);
    EXPECT_EQ(plan->config.kv_cache_bytes, plan->kv_shape.num_pages * bytes_per_page);
    // Weights leave 35 GiB; what else there is stays within 5.
    EXPECT_GT(plan->config.kv_cache_bytes, 29 * kGiB);

    EXPECT_LE(MemoryOf(*plan, *checkpoint, 1).total(), 80 * kGiB);
    plan->SetPages(plan->kv_shape.num_pages + 1);
    EXPECT_GT(MemoryOf(*plan, *checkpoint, 1).total(), 80 * kGiB);
  }
}

TEST(FitToMemory, TheTightestCardDecidesForAll) {
  const auto checkpoint = OpenMixtral();
  const EnginePlan plan = PlanFor(OnGpus(2), *checkpoint);
  const auto equal = FitToMemory(plan, *checkpoint, std::vector<int64_t>{60 * kGiB, 60 * kGiB});
  const auto unequal = FitToMemory(plan, *checkpoint, std::vector<int64_t>{80 * kGiB, 60 * kGiB});
  ASSERT_TRUE(equal.ok() && unequal.ok()) << unequal.status();
  EXPECT_EQ(unequal->kv_shape.num_pages, equal->kv_shape.num_pages);
}

TEST(FitToMemory, TakesNoMorePagesThanRequestsCanUse) {
  const auto checkpoint = OpenMixtral();
  EngineConfig config = OnGpus(2);
  config.max_running_requests = 3;
  config.max_model_len = 1000;
  const auto plan = FitToMemory(PlanFor(config, *checkpoint), *checkpoint, std::vector<int64_t>{80 * kGiB, 80 * kGiB});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->kv_shape.num_pages, 2 * 63);  // two requests on the rank with more, 63 pages of 16 tokens each
}

TEST(FitToMemory, KeepsTheCacheThatWasAskedFor) {
  const auto checkpoint = OpenMixtral();
  EngineConfig config = OnGpus(2);
  config.kv_cache_bytes = 5 * kGiB;
  const auto plan = FitToMemory(PlanFor(config, *checkpoint), *checkpoint, std::vector<int64_t>{80 * kGiB, 80 * kGiB});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->kv_shape.num_pages, 2560);
}

void ExpectRefused(const EngineConfig& config, const Checkpoint& checkpoint, const std::vector<int64_t>& free_bytes,
                   const std::vector<std::string>& parts) {
  const absl::Status status = FitToMemory(PlanFor(config, checkpoint), checkpoint, free_bytes).status();
  ASSERT_TRUE(absl::IsFailedPrecondition(status)) << status;
  for (const std::string& part : parts) EXPECT_NE(status.message().find(part), std::string::npos) << status << part;
}

TEST(FitToMemory, RefusesMixtralOnTwoSmallCardsWithNeedHaveAndRemedy) {
  ExpectRefused(OnGpus(2), *OpenMixtral(), {16 * kGiB, 15 * kGiB},
                {"rank 1 (GPU 1): needs ", "experts 42.00", "attention 2.50", "embeddings 0.49", "KV cache 4.00",
                 "has 15.00 GiB free", "one sequence of --max-model-len 32768", "such GPUs"});
}

// What a message advises must fit, and be the most that does.
TEST(FitToMemory, AdvisesTheLongestSequenceThatFits) {
  const auto checkpoint = OpenMixtral();
  EngineConfig config = OnGpus(2);
  const RankMemory need = MemoryOf(PlanFor(config, *checkpoint), *checkpoint, 0);
  const std::vector<int64_t> free_bytes(2, need.total() - kGiB);
  const absl::Status status = FitToMemory(PlanFor(config, *checkpoint), *checkpoint, free_bytes).status();
  ASSERT_TRUE(absl::IsFailedPrecondition(status)) << status;
  const std::string flag = "--max-model-len ";
  const size_t advice = status.message().rfind(flag);
  ASSERT_NE(advice, std::string::npos) << status;
  config.max_model_len = std::stoll(std::string(status.message().substr(advice + flag.size())));
  EXPECT_GE(config.max_model_len, 24576);  // a gibibyte less of four
  EXPECT_TRUE(FitToMemory(PlanFor(config, *checkpoint), *checkpoint, free_bytes).ok()) << status;
  config.max_model_len += config.page_size;
  EXPECT_FALSE(FitToMemory(PlanFor(config, *checkpoint), *checkpoint, free_bytes).ok());
}

TEST(FitToMemory, AdvisesToDivideTheAttentionOrMoreCards) {
  const auto checkpoint = OpenMixtral();
  EngineConfig config = OnGpus(2);
  const int64_t have = MemoryOf(PlanFor(config, *checkpoint), *checkpoint, 0).total() - kGiB;
  ExpectRefused(config, *checkpoint, {have, have}, {"--attention tensor-parallel (needs ", "3 such GPUs"});
  config.attention = AttentionParallelism::kTensorParallel;
  EXPECT_TRUE(FitToMemory(PlanFor(config, *checkpoint), *checkpoint, std::vector<int64_t>(2, have)).ok());
  EXPECT_TRUE(FitToMemory(PlanFor(OnGpus(3), *checkpoint), *checkpoint, std::vector<int64_t>(3, have)).ok());
}

TEST(FitToMemory, AdvisesFlagsTogetherWhereNoneIsEnoughAlone) {
  const auto checkpoint = OpenMixtral();
  ExpectRefused(
      OnGpus(4), *checkpoint, std::vector<int64_t>(4, 24 * kGiB),
      {"it would fit with --attention tensor-parallel --max-batch-tokens 256 --max-model-len ", "8 such GPUs"});
}

TEST(FitToMemory, SaysWhenNoNumberOfCardsHelps) {
  ExpectRefused(OnGpus(2), *OpenMixtral(), {8 * kGiB, 8 * kGiB}, {"no number of such GPUs holds this model"});
}

TEST(FitToMemory, AdvisesSmallerBatchesWhereTheyAreWhatIsLarge) {
  const auto checkpoint = OpenMixtral();
  EngineConfig config = OnGpus(2);
  config.max_model_len = 4096;
  const int64_t have = MemoryOf(PlanFor(config, *checkpoint), *checkpoint, 0).total();
  config.max_batch_tokens = 16384;
  // A few page tables and the like lie between the two.
  ExpectRefused(config, *checkpoint, {have, have}, {"--max-batch-tokens 2048"});
}

TEST(FitToMemory, RefusesACacheThatIsTooLarge) {
  EngineConfig config = OnGpus(2);
  config.kv_cache_bytes = 60 * kGiB;
  ExpectRefused(config, *OpenMixtral(), {80 * kGiB, 80 * kGiB}, {"KV cache 60.00", "--kv-cache 0"});
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
