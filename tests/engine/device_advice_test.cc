#include "engine/device_advice.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

using Level = DeviceAdvice::Level;

GpuInfo Gpu(int index, int64_t gib = 16) {
  return {.index = index,
          .name = "NVIDIA GeForce RTX 4060 Ti",
          .major = 8,
          .minor = 9,
          .multiprocessors = 34,
          .total_bytes = gib << 30,
          .free_bytes = (gib << 30) - (int64_t{400} << 20),
          .uuid = absl::StrCat("GPU-", index),
          .driver_version = "13.0"};
}

// Two equal cards that reach each other, all well.
DeviceReport Healthy() {
  DeviceReport report = {.ranks = {0, 1}, .gpus = {Gpu(0), Gpu(1)}, .nccl_version = "2.28.9"};
  for (const auto& [from, to] : {std::pair(0, 1), std::pair(1, 0)}) {
    report.pairs.push_back(
        {.from = from, .to = to, .copy = {.peer_access = true, .intact = true, .bytes_per_second = 2e10}});
  }
  report.transport = "nccl 2.28.9";
  report.collectives = {{"all_to_all", 30e-6, 2e-3, true},
                        {"all_gather", 25e-6, 2e-3, true},
                        {"reduce_scatter", 35e-6, 2e-3, true},
                        {"all_reduce", 40e-6, 4e-3, true}};
  return report;
}

void TakePeerAccessAway(DeviceReport& report) {
  for (PairReport& pair : report.pairs) pair.copy.peer_access = false;
}

// Some advice of this level has all of `parts`.
bool Advises(const DeviceReport& report, Level level, const std::vector<std::string>& parts) {
  const std::vector<DeviceAdvice> advice = AdviseOn(report);
  return std::any_of(advice.begin(), advice.end(), [&](const DeviceAdvice& entry) {
    return entry.level == level && std::all_of(parts.begin(), parts.end(), [&entry](const std::string& part) {
             return absl::StrContains(entry.text, part);
           });
  });
}

int CountAbove(const DeviceReport& report, Level level) {
  const std::vector<DeviceAdvice> advice = AdviseOn(report);
  return static_cast<int>(
      std::count_if(advice.begin(), advice.end(), [level](const DeviceAdvice& entry) { return entry.level < level; }));
}

bool IsUsable(const DeviceReport& report) { return IsUsable(AdviseOn(report)); }

TEST(DeviceAdvice, HasNothingAgainstEqualCardsThatReachEachOther) {
  const DeviceReport report = Healthy();
  EXPECT_EQ(CountAbove(report, Level::kNote), 0);
  EXPECT_TRUE(IsUsable(report));
  EXPECT_FALSE(Advises(report, Level::kNote, {"no peer access"}));
  EXPECT_FALSE(Advises(report, Level::kNote, {"cards differ"}));
  EXPECT_EQ(ServeLine(report), "switchyard serve --device cuda --gpus 0,1 --model DIR");
  EXPECT_TRUE(Advises(report, Level::kNote, {ServeLine(report)}));
}

TEST(DeviceAdvice, SumsLatenciesOverTheLayersFastestFirst) {
  const std::vector<LatencyFloor> floors = LatencyFloors(Healthy());
  ASSERT_EQ(floors.size(), 3u);
  EXPECT_EQ(floors[0].flags, "--attention replicated --exchange all_reduce");
  EXPECT_NEAR(floors[0].seconds_per_token, 32 * 40e-6, 1e-9);
  EXPECT_EQ(floors[1].flags, "--attention replicated --exchange all_gather");
  EXPECT_NEAR(floors[1].seconds_per_token, 32 * 60e-6, 1e-9);
  EXPECT_NEAR(floors[2].seconds_per_token, 32 * 80e-6, 1e-9);
  EXPECT_TRUE(Advises(Healthy(), Level::kNote, {"all_reduce", "32 layers", "1.28 ms"}));
  DeviceReport alone = Healthy();
  alone.collectives.clear();
  EXPECT_TRUE(LatencyFloors(alone).empty());
}

TEST(DeviceAdvice, PrefersTheFastestCollectivesWithoutPeerAccess) {
  DeviceReport report = Healthy();
  TakePeerAccessAway(report);
  EXPECT_TRUE(IsUsable(report));
  EXPECT_TRUE(Advises(report, Level::kNote, {"no peer access", "0 and 1", "host memory", "--exchange all_reduce"}));
  EXPECT_TRUE(absl::StrContains(ServeLine(report), "--attention replicated --exchange all_reduce"));
  report.collectives[3].small_seconds = 100e-6;
  EXPECT_TRUE(absl::StrContains(ServeLine(report), "--attention replicated --exchange all_gather"));
}

TEST(DeviceAdvice, NamesThePairWhoseCopiesArriveChanged) {
  DeviceReport report = Healthy();
  report.pairs[1].copy.intact = false;
  EXPECT_TRUE(Advises(report, Level::kWarning, {"GPU 1 to GPU 0", "NCCL_P2P_DISABLE=1", "IOMMU", "ACS"}));
  EXPECT_TRUE(IsUsable(report)) << "the collectives do not go this way";
  report.collectives[0].intact = false;
  EXPECT_TRUE(Advises(report, Level::kFault, {"GPU 1 to GPU 0", "NCCL_P2P_DISABLE=1"}));
  EXPECT_TRUE(Advises(report, Level::kFault, {"all_to_all", "nccl 2.28.9", "wrong"}));
  EXPECT_FALSE(IsUsable(report));
  EXPECT_TRUE(absl::StrContains(ServeLine(report), "--collectives staged"));
}

TEST(DeviceAdvice, TakesAFailedTestForAFault) {
  DeviceReport report = Healthy();
  report.pairs[0].status = absl::InternalError("unspecified launch failure");
  EXPECT_TRUE(Advises(report, Level::kFault, {"GPU 0 to GPU 1", "unspecified launch failure"}));
  report = Healthy();
  report.collectives.clear();
  report.collectives_status = absl::InternalError("ncclSystemError");
  EXPECT_TRUE(Advises(report, Level::kFault, {"ncclSystemError", "NCCL_DEBUG=INFO", "--collectives staged"}));
  EXPECT_FALSE(IsUsable(report));
}

TEST(DeviceAdvice, RefusesCardsWithoutKernelsAndGoesOnWithTheOthers) {
  DeviceReport report = Healthy();
  report.gpus[0].name = "NVIDIA GeForce GTX 1080 Ti";
  report.gpus[0].major = 6;
  report.gpus[0].minor = 1;
  EXPECT_FALSE(IsUsable(report));
  EXPECT_TRUE(Advises(report, Level::kFault, {"GPU 0", "GTX 1080 Ti", "6.1", "8.0", "--gpus"}));
  EXPECT_EQ(ServeLine(report), "switchyard serve --device cuda --gpus 1 --model DIR");
  report.gpus[1].major = 7;
  EXPECT_EQ(ServeLine(report), "");
  EXPECT_FALSE(IsUsable(DeviceReport()));
}

TEST(DeviceAdvice, NamesTheCardThatADesktopUses) {
  DeviceReport report = Healthy();
  report.gpus[1].free_bytes = int64_t{13} << 30;
  EXPECT_TRUE(Advises(report, Level::kWarning, {"GPU 1", "13.0 of 16.0 GiB", "--gpu-reserve", "KV pages"}));
  EXPECT_EQ(CountAbove(report, Level::kNote), 1);
  EXPECT_TRUE(IsUsable(report));
}

TEST(DeviceAdvice, SaysThatTheSmallerOfTwoCardsDecides) {
  DeviceReport report = Healthy();
  report.gpus[1] = Gpu(1, 12);
  EXPECT_TRUE(Advises(report, Level::kNote, {"cards differ", "GPU 1", "12.0 GiB against 16.0", "KV pages"}));
}

TEST(DeviceAdvice, AsksForANewerNcclWhereRanksShareAGpu) {
  DeviceReport report = Healthy();
  report.ranks = {0, 0};
  report.gpus.pop_back();
  report.pairs.clear();
  report.transport = "staged over shared memory";
  report.staged_because = "NCCL 2.28.9 is too old";
  EXPECT_TRUE(Advises(report, Level::kWarning, {"NCCL 2.28.9", "2.30"}));
  EXPECT_EQ(CountAbove(report, Level::kNote), 1) << "said once";
  EXPECT_TRUE(Advises(report, Level::kNote, {"share a GPU", "development"}));
  report.staged_because.clear();
  for (const char* version : {"2.30.1", "3.0.0"}) {
    report.nccl_version = version;
    EXPECT_EQ(CountAbove(report, Level::kNote), 0) << version;
  }
}

TEST(DeviceAdvice, SaysWhyCollectivesAreStaged) {
  DeviceReport report = Healthy();
  report.nccl_version = "none";
  report.staged_because = "this build has no NCCL";
  EXPECT_TRUE(Advises(report, Level::kWarning, {"host memory", "this build has no NCCL"}));
}

TEST(DeviceAdvice, ListsFaultsFirst) {
  DeviceReport report = Healthy();
  report.gpus[1].free_bytes = int64_t{1} << 30;
  report.collectives[2].intact = false;
  const std::vector<DeviceAdvice> advice = AdviseOn(report);
  EXPECT_EQ(advice.front().level, Level::kFault);
  EXPECT_TRUE(std::is_sorted(advice.begin(), advice.end(),
                             [](const DeviceAdvice& a, const DeviceAdvice& b) { return a.level < b.level; }));
}

}  // namespace
}  // namespace switchyard
