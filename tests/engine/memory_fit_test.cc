#include "engine/memory_fit.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/planned_gpus.h"

namespace switchyard {
namespace {

TEST(FitToMemory, FillsTheRestOfEachCardWithPages) {
  const auto checkpoint = OpenMixtral();
  for (const AttentionParallelism mode : kAttentionModes) {
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

std::vector<int> ExpertsOfRanks(const EnginePlan& plan) {
  std::vector<int> counts;
  for (int rank = 0; rank < plan.world_size; ++rank) counts.push_back(plan.placement.num_slots(rank));
  return counts;
}

TEST(FitToMemory, GivesCardsOfUnequalSizeUnequalNumbersOfExperts) {
  const auto checkpoint = OpenMixtral();
  const std::vector<int64_t> free_bytes = {80 * kGiB, 60 * kGiB};
  const auto plan = FitToMemory(PlanFor(OnGpus(2), *checkpoint), *checkpoint, free_bytes);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(ExpertsOfRanks(*plan), (std::vector<int>{5, 3}));
  EXPECT_EQ(plan->ShardOf(1).experts, (std::vector<int>{5, 6, 7}));
  // 10.5 GiB an expert: 52.5 and 31.5 leave 27.5 and 28.5 for all else, where 42 on both would leave 18 on one.
  const auto equal = FitToMemory(PlanFor(OnGpus(2), *checkpoint), *checkpoint, std::vector<int64_t>(2, 60 * kGiB));
  ASSERT_TRUE(equal.ok()) << equal.status();
  EXPECT_EQ(ExpertsOfRanks(*equal), (std::vector<int>{4, 4}));
  EXPECT_GT(plan->config.kv_cache_bytes, equal->config.kv_cache_bytes + 9 * kGiB);
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_LE(MemoryOf(*plan, *checkpoint, rank).total(), free_bytes[static_cast<size_t>(rank)]);
  }
}

TEST(FitToMemory, NoOtherDivisionOfTheExpertsHoldsMorePages) {
  const auto checkpoint = OpenMixtral();
  for (const int64_t second : {40, 55, 62, 79, 120}) {
    const std::vector<int64_t> free_bytes = {80 * kGiB, second * kGiB};
    EnginePlan minimal = PlanFor(OnGpus(2), *checkpoint);
    const auto plan = FitToMemory(minimal, *checkpoint, free_bytes);
    ASSERT_TRUE(plan.ok()) << plan.status();
    for (int first = 0; first <= 8; ++first) {
      minimal.SetExpertCounts(std::vector<int>{first, 8 - first});
      minimal.SetPages(plan->kv_shape.num_pages + 1);
      const bool fits = MemoryOf(minimal, *checkpoint, 0).total() <= free_bytes[0] &&
                        MemoryOf(minimal, *checkpoint, 1).total() <= free_bytes[1];
      EXPECT_FALSE(fits) << first << " experts beside " << second << " GiB";
    }
  }
}

TEST(FitToMemory, RanksThatShareACardHaveFewerExpertsThanOneThatHasItsOwn) {
  const auto checkpoint = OpenMixtral();
  EngineConfig config = OnGpus(3);
  config.gpus = {0, 0, 1};
  const std::vector<GpuInfo> gpus = {{.index = 0, .free_bytes = 80 * kGiB}, {.index = 1, .free_bytes = 80 * kGiB}};
  const auto free_bytes = FreeBytesOfRanks(config, gpus);
  ASSERT_TRUE(free_bytes.ok());
  const auto plan = FitToMemory(PlanFor(config, *checkpoint), *checkpoint, *free_bytes);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(ExpertsOfRanks(*plan), (std::vector<int>{2, 2, 4}));
  config.gpus = {0, 0, 0};
  const auto alike = FitToMemory(PlanFor(config, *checkpoint), *checkpoint, std::vector<int64_t>(3, 60 * kGiB));
  ASSERT_TRUE(alike.ok()) << alike.status();
  EXPECT_EQ(ExpertsOfRanks(*alike), (std::vector<int>{3, 3, 2}));
}

TEST(FitToMemory, KeepsTheExpertsEvenWhereTheCacheThatWasAskedForFits) {
  const auto checkpoint = OpenMixtral();
  EngineConfig config = OnGpus(2);
  config.kv_cache_bytes = 5 * kGiB;
  const auto plan = FitToMemory(PlanFor(config, *checkpoint), *checkpoint, std::vector<int64_t>{80 * kGiB, 60 * kGiB});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(ExpertsOfRanks(*plan), (std::vector<int>{4, 4}));
}

TEST(FitToMemory, FillsTheRestWithPagesThatHaveScales) {
  const auto checkpoint = OpenMixtral();
  for (const DType dtype : {DType::kFloat8E4M3, DType::kInt8}) {
    EngineConfig config = OnGpus(2);
    config.kv_dtype = dtype;
    config.page_size = 3;  // scales of no whole number of 256 bytes
    auto plan = FitToMemory(PlanFor(config, *checkpoint), *checkpoint, std::vector<int64_t>(2, 50 * kGiB));
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_GT(plan->kv_shape.num_pages * 3, 50'000);
    EXPECT_LE(MemoryOf(*plan, *checkpoint, 0).total(), 50 * kGiB);
    plan->SetPages(plan->kv_shape.num_pages + 1);
    EXPECT_GT(MemoryOf(*plan, *checkpoint, 0).total(), 50 * kGiB);
  }
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
  ExpectRefused(OnGpus(2), *OpenMixtral(), {3 * kGiB, 3 * kGiB}, {"no number of such GPUs holds this model"});
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

// The reason people come: 46.7 billion parameters on two cards of 16 GiB.
TEST(FitToMemory, HoldsMixtralInFourBitsWith32kTokensOnTwoSmallCards) {
  const QuantizationChoices quantize = Quantized("nf4");
  const auto checkpoint = OpenMixtral(quantize);
  for (const std::optional<DType> kv_dtype : {std::optional<DType>(), std::optional(DType::kFloat8E4M3)}) {
    EngineConfig config = OnGpus(2);
    config.gpus.clear();
    config.gpu_memory_bytes = {16 * kGiB, 16 * kGiB};
    config.quantize = quantize;
    config.kv_dtype = kv_dtype;
    config.attention = AttentionParallelism::kTensorParallel;
    config.max_model_len = 32768;
    const auto plan = FitToMemory(PlanFor(config, *checkpoint), *checkpoint, config.gpu_memory_bytes);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_GE(plan->kv_shape.num_pages * plan->config.page_size, kv_dtype.has_value() ? 2 * 32768 : 32768);
    const RankMemory memory = MemoryOf(*plan, *checkpoint, 1);
    // 4.127 bits a weight, and what alignment and the kernels' order of them add.
    EXPECT_NEAR(static_cast<double>(memory.experts), 32.0 * 4 * 3 * 4096 * 14336 * 4.127 / 8, 0.01 * 11.6e9);
    EXPECT_NEAR(static_cast<double>(memory.attention), 32.0 * 5120 * 4096 * 4.127 / 8, 0.01 * 0.35e9);
    EXPECT_EQ(memory.embeddings, int64_t{2} * 32000 * 4096 * 2);
    EXPECT_LE(memory.total(), 16 * kGiB);
  }
}

TEST(FitToMemory, AdvisesFourBitsWhereSixteenDoNotFit) {
  const auto checkpoint = OpenMixtral();
  ExpectRefused(OnGpus(2), *checkpoint, {16 * kGiB, 16 * kGiB},
                {"it would fit with --quantize nf4 --attention tensor-parallel, or 8 such GPUs and --attention "});
  // Where the cache alone is too large, fewer bits of it are enough.
  EngineConfig config = OnGpus(2);
  config.attention = AttentionParallelism::kTensorParallel;
  config.max_batch_tokens = 64;
  const int64_t have = MemoryOf(PlanFor(config, *checkpoint), *checkpoint, 0).total() - kGiB / 2;
  ExpectRefused(config, *checkpoint, {have, have}, {"it would fit with --max-model-len 24", ", or --kv-dtype fp8, or"});
}

}  // namespace
}  // namespace switchyard
