// Plans with --offload-experts: what is counted, and how many places there are.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/memory_fit.h"
#include "engine/rank_model.h"
#include "parallel/communicators/in_process.h"
#include "tests/engine/planned_gpus.h"

namespace switchyard {
namespace {

constexpr int64_t kExpertBytes = int64_t{3} * 4096 * 14336 * 2;  // of Mixtral, in one layer
constexpr int64_t kPlaceBytes = 32 * kExpertBytes;               // in all

EngineConfig WithPlaces(EngineConfig config, int64_t places) {
  config.expert_places = places;
  return config;
}

TEST(OffloadPlan, CountsPlacesOnTheCardsAndAllExpertsInHostMemory) {
  const auto checkpoint = OpenMixtral();
  const RankMemory whole = MemoryOf(PlanFor(OnGpus(2), *checkpoint), *checkpoint, 0);
  EXPECT_EQ(whole.offloaded, 0);
  const EnginePlan plan = PlanFor(WithPlaces(OnGpus(2), 3), *checkpoint);
  const RankMemory memory = MemoryOf(plan, *checkpoint, 0);
  EXPECT_TRUE(plan.offloads_experts());
  EXPECT_EQ(memory.experts, 3 * kPlaceBytes + 32 * 256);  // a list of who has which in every layer
  EXPECT_EQ(memory.offloaded, 4 * kPlaceBytes);
  EXPECT_EQ(memory.graphs, 0);
  EXPECT_GT(whole.graphs, 0);
  EXPECT_EQ(memory.attention, whole.attention);
  EXPECT_EQ(memory.kv_cache, whole.kv_cache);
  // A guess at the next layer's choice of two experts: ids and weights for every row, and counts.
  EXPECT_EQ(memory.activations - whole.activations, 2 * (2050 * 2 * 4 + 240) + 256);
  EXPECT_EQ(memory.total(), memory.arena_bytes() + memory.nccl + memory.driver + memory.reserve);
}

TEST(OffloadPlan, ChangesNothingWhereARankHasNoMoreExpertsThanPlaces) {
  const auto checkpoint = OpenMixtral();
  const EnginePlan plan = PlanFor(WithPlaces(OnGpus(2), 4), *checkpoint);
  EXPECT_FALSE(plan.offloads_experts());
  EXPECT_TRUE(plan.records_steps());
  EXPECT_EQ(MemoryOf(plan, *checkpoint, 0).total(), MemoryOf(PlanFor(OnGpus(2), *checkpoint), *checkpoint, 0).total());
}

TEST(OffloadPlan, RefusesPlacesOutOfRange) {
  const auto checkpoint = OpenMixtral();
  for (const int64_t places : {-1, 9}) {
    const absl::Status status = MakeEnginePlan(WithPlaces(OnGpus(2), places), checkpoint->spec(), 2).status();
    ASSERT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_NE(status.message().find("--offload-experts"), std::string::npos) << status;
  }
}

TEST(OffloadPlan, AutoKeepsAllWhereAllFit) {
  const auto checkpoint = OpenMixtral();
  const auto plan = FitToMemory(PlanFor(WithPlaces(OnGpus(2), kAutoExpertPlaces), *checkpoint), *checkpoint,
                                std::vector<int64_t>(2, 80 * kGiB));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_FALSE(plan->offloads_experts());
  EXPECT_TRUE(plan->records_steps());
}

TEST(OffloadPlan, AutoGivesEveryCardThePlacesThatItHasRoomFor) {
  const auto checkpoint = OpenMixtral();
  const EnginePlan asked = PlanFor(WithPlaces(OnGpus(2), kAutoExpertPlaces), *checkpoint);
  const RankMemory one = MemoryOf(PlanFor(WithPlaces(OnGpus(2), 1), *checkpoint), *checkpoint, 0);
  // A byte short of two places, and room for three.
  const std::vector<int64_t> free_bytes = {one.total() + kPlaceBytes - 1, one.total() + 2 * kPlaceBytes};
  const auto plan = FitToMemory(asked, *checkpoint, free_bytes);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->expert_places, (std::vector<int64_t>{1, 3}));
  EXPECT_EQ(plan->placement.num_slots(0), 4);
  EXPECT_EQ(MemoryOf(*plan, *checkpoint, 1).experts, 3 * kPlaceBytes + 32 * 256);
  // Pages fill what is left, within the tightest card.
  EXPECT_GE(plan->kv_shape.num_pages, plan->pages_per_sequence());
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_LE(MemoryOf(*plan, *checkpoint, rank).total(), free_bytes[static_cast<size_t>(rank)]);
  }
  // Planned again, as `switchyard plan` does, it is the same.
  const auto again = FitToMemory(*plan, *checkpoint, free_bytes);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->expert_places, plan->expert_places);
}

TEST(OffloadPlan, AutoIsRefusedWhereNotEvenOnePlaceFits) {
  const auto checkpoint = OpenMixtral();
  const int64_t one = MemoryOf(PlanFor(WithPlaces(OnGpus(2), 1), *checkpoint), *checkpoint, 0).total();
  const EnginePlan asked = PlanFor(WithPlaces(OnGpus(2), kAutoExpertPlaces), *checkpoint);
  EXPECT_TRUE(FitToMemory(asked, *checkpoint, std::vector<int64_t>(2, one)).ok());
  const absl::Status status = FitToMemory(asked, *checkpoint, std::vector<int64_t>(2, one - kGiB)).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

TEST(OffloadPlan, IsAdvisedWhereNothingElseKeepsTheContext) {
  const auto checkpoint = OpenMixtral();
  const auto refusal = [&](int64_t gibibytes) {
    return std::string(
        FitToMemory(PlanFor(OnGpus(2), *checkpoint), *checkpoint, std::vector<int64_t>(2, gibibytes * kGiB))
            .status()
            .message());
  };
  EXPECT_NE(refusal(8).find("--offload-experts auto"), std::string::npos) << refusal(8);
  // In four bits it fits whole.
  EXPECT_EQ(refusal(16).find("--offload-experts"), std::string::npos) << refusal(16);
}

TEST(OffloadPlan, IsTheLastThatFittingFlagsTurnTo) {
  const auto checkpoint = OpenMixtral();
  const auto choice = ChooseFittingFlags(OnGpus(2), *checkpoint, 2, std::vector<int64_t>(2, 8 * kGiB));
  ASSERT_TRUE(choice.ok()) << choice.status();
  EXPECT_EQ(choice->config.expert_places, kAutoExpertPlaces);
  const auto roomier = ChooseFittingFlags(OnGpus(2), *checkpoint, 2, std::vector<int64_t>(2, 16 * kGiB));
  ASSERT_TRUE(roomier.ok()) << roomier.status();
  EXPECT_FALSE(roomier->config.expert_places.has_value());
}

// What CPU ranks take beside their file is what the plan says: their places are measured as they are made.
TEST(OffloadPlan, CountsPlacesInMemoryAndFilesOfCpuRanks) {
  for (const char* format : {"none", "int4"}) {
    const auto checkpoint = OpenConfig("models/tiny-mixtral", Quantized(format));
    EngineConfig config;
    config.num_threads = 1;
    config.kv_cache_bytes = int64_t{32} << 20;
    config.offload_dir = testing::TempDir();
    const RankMemory whole = MemoryOf(PlanFor(config, *checkpoint), *checkpoint, 0);
    const EnginePlan plan = PlanFor(WithPlaces(config, 3), *checkpoint);
    const RankMemory memory = MemoryOf(plan, *checkpoint, 0);
    EXPECT_EQ(memory.experts * 8, memory.offloaded * 3);
    EXPECT_GE(memory.offloaded, whole.experts);
    EXPECT_LE(memory.offloaded, whole.experts + 4 * 8 * 4096);  // whole pages

    const auto communicators = CreateInProcessCommunicators(1, absl::Seconds(60));
    const auto backend = CreateCpuBackend(plan.cpu_backend_options(0));
    auto model = CreateRankModel(plan, *checkpoint, *backend, *communicators[0]);
    ASSERT_TRUE(model.ok()) << model.status();
    int64_t place_bytes = 0;
    for (const LayerWeights& layer : model->decoder->weights().layers) {
      ASSERT_TRUE(layer.experts->is_offloaded());
      layer.experts->Prefetch(std::vector{7});
      place_bytes += static_cast<int64_t>(layer.experts->offload_stats().bytes_copied);
    }
    EXPECT_EQ(memory.experts, 3 * place_bytes);
    EXPECT_EQ(memory.offloaded, 8 * place_bytes);
  }
}

}  // namespace
}  // namespace switchyard
