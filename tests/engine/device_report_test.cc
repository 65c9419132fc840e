// On emulated GPUs: what is looked at and what becomes of failures. Times mean nothing here but that there are some.
#include "engine/device_report.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "tests/emulation/devices.h"
#include "tests/emulation/fake_nccl/fake_nccl.h"

namespace switchyard {
namespace {

class DeviceReportTest : public testing::Test {
 protected:
  void SetUp() override {
    emulation::SetDevices({});
    fake_nccl::Reset();
  }
  void TearDown() override {
    emulation::SetDevices({});
    fake_nccl::Reset();
  }

  static DeviceReportOptions Options(std::vector<int> gpus = {}) {
    return {.gpus = std::move(gpus),
            .collective_timeout = absl::Seconds(120),
            .sizes = {.small_bytes = 1'000, .large_bytes = 200'000}};
  }
  static DeviceReport Collect(const DeviceReportOptions& options) {
    absl::StatusOr<DeviceReport> report = CollectDeviceReport(options, [](const std::string&) {});
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *std::move(report) : DeviceReport();
  }
  static void ExpectAllCollectives(const DeviceReport& report) {
    ASSERT_TRUE(report.collectives_status.ok()) << report.collectives_status;
    std::vector<std::string> names;
    for (const CollectiveTiming& timing : report.collectives) {
      names.push_back(timing.name);
      EXPECT_TRUE(timing.intact) << timing.name;
      EXPECT_GT(timing.small_seconds, 0) << timing.name;
      EXPECT_GT(timing.large_seconds, 0) << timing.name;
    }
    EXPECT_EQ(names, (std::vector<std::string>{"all_to_all", "all_gather", "reduce_scatter", "all_reduce"}));
  }
};

TEST_F(DeviceReportTest, TakesAllGpusAndMeasuresEveryPairAndCollective) {
  emulation::SetDevices({.count = 3});
  const DeviceReport report = Collect(Options());
  EXPECT_EQ(report.ranks, (std::vector<int>{0, 1, 2}));
  ASSERT_EQ(report.gpus.size(), 3u);
  EXPECT_EQ(report.gpus[2].index, 2);
  EXPECT_EQ(report.nccl_version, "2.28.9");
  EXPECT_EQ(report.pairs.size(), 6u);
  for (const PairReport& pair : report.pairs) {
    EXPECT_TRUE(pair.status.ok()) << pair.status;
    EXPECT_TRUE(pair.copy.intact);
    EXPECT_FALSE(pair.copy.peer_access);
    EXPECT_GT(pair.copy.bytes_per_second, 0);
  }
  EXPECT_EQ(report.transport, "nccl 2.28.9");
  EXPECT_EQ(report.staged_because, "");
  EXPECT_EQ(report.sizes.small_bytes % (3 * 32), 0);
  EXPECT_GE(report.sizes.small_bytes, 1'000);
  ExpectAllCollectives(report);
}

TEST_F(DeviceReportTest, SeesPeerAccess) {
  emulation::SetDevices({.peer_access = true});
  const DeviceReport report = Collect(Options());
  ASSERT_EQ(report.pairs.size(), 2u);
  EXPECT_TRUE(report.pairs[0].copy.peer_access && report.pairs[1].copy.peer_access);
}

TEST_F(DeviceReportTest, HasNothingToMeasureBetweenOneGpu) {
  const DeviceReport report = Collect(Options({1}));
  ASSERT_EQ(report.gpus.size(), 1u);
  EXPECT_EQ(report.gpus[0].index, 1);
  EXPECT_TRUE(report.pairs.empty());
  EXPECT_TRUE(report.collectives.empty());
  EXPECT_TRUE(report.collectives_status.ok());
}

TEST_F(DeviceReportTest, StagesCollectivesWhereItIsAskedTo) {
  DeviceReportOptions options = Options({0, 1});
  options.staged_collectives = true;
  const DeviceReport report = Collect(options);
  EXPECT_TRUE(absl::StrContains(report.transport, "staged")) << report.transport;
  EXPECT_NE(report.staged_because, "");
  ExpectAllCollectives(report);
}

TEST_F(DeviceReportTest, PutsTwoRanksOnAGpuThatIsNamedTwice) {
  const DeviceReport staged = Collect(Options({1, 1}));
  EXPECT_TRUE(staged.shares_gpu());
  EXPECT_EQ(staged.gpus.size(), 1u);
  EXPECT_TRUE(staged.pairs.empty());
  EXPECT_TRUE(absl::StrContains(staged.staged_because, "2.28.9")) << staged.staged_because;
  ExpectAllCollectives(staged);
  fake_nccl::SetVersion(23000);
  const DeviceReport shared = Collect(Options({1, 1}));
  EXPECT_EQ(shared.transport, "nccl 2.30.0");
  EXPECT_EQ(shared.staged_because, "");
  ExpectAllCollectives(shared);
}

TEST_F(DeviceReportTest, RefusesAGpuThatIsNotThere) {
  const absl::Status status = CollectDeviceReport(Options({0, 7}), [](const std::string&) {}).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_TRUE(absl::StrContains(status.message(), "no GPU 7")) << status;
}

TEST_F(DeviceReportTest, GoesOnWhereTheCollectivesFailAndNamesTheCause) {
  fake_nccl::InjectAsyncError(1, ncclSystemError);
  const DeviceReport report = Collect(Options());
  EXPECT_FALSE(report.collectives_status.ok());
  EXPECT_TRUE(absl::StrContains(report.collectives_status.message(), "rank 1")) << report.collectives_status;
  EXPECT_TRUE(report.collectives.empty());
  EXPECT_EQ(report.pairs.size(), 2u);
}

TEST_F(DeviceReportTest, GoesOnWhereMemoryLacksForTheCopies) {
  emulation::SetDevices({.memory_bytes = size_t{32} << 20});
  const DeviceReport report = Collect(Options());
  ASSERT_EQ(report.pairs.size(), 2u);
  EXPECT_TRUE(absl::IsResourceExhausted(report.pairs[0].status)) << report.pairs[0].status;
  ExpectAllCollectives(report);
}

TEST_F(DeviceReportTest, LeavesNoMemoryBehind) {
  (void)Collect(Options());
  EXPECT_EQ(emulation::DeviceBytesInUse(0), 0u);
  EXPECT_EQ(emulation::DeviceBytesInUse(1), 0u);
}

}  // namespace
}  // namespace switchyard
