// Processes as threads that share memory.
#include "engine/heartbeat.h"

#include <gtest/gtest.h>

#include <future>

#include "absl/time/clock.h"
#include "parallel/communicators/in_process.h"

namespace switchyard {
namespace {

constexpr absl::Duration kPeriod = absl::Milliseconds(5);

TEST(Heartbeat, AProcessThatLeavesOnPurposeAlarmsNobody) {
  const auto processes = CreateInProcessCommunicators(3, absl::Seconds(120));
  std::atomic<int> num_alarms = 0;
  std::vector<std::unique_ptr<Heartbeat>> hearts;
  for (const auto& process : processes) {
    hearts.push_back(std::make_unique<Heartbeat>(process.get(), kPeriod, [&](const absl::Status&) { ++num_alarms; }));
  }
  absl::SleepFor(10 * kPeriod);
  for (auto& heart : hearts) heart.reset();
  EXPECT_EQ(num_alarms, 0);
}

TEST(Heartbeat, ASilentProcessIsNamedWithinTheTimeLimit) {
  const auto processes = CreateInProcessCommunicators(2, absl::Milliseconds(200));
  std::promise<absl::Status> alarm;
  const absl::Time begin = absl::Now();
  const Heartbeat heart(processes[0].get(), kPeriod, [&](const absl::Status& why) { alarm.set_value(why); });
  const absl::Status why = alarm.get_future().get();
  EXPECT_TRUE(absl::IsUnavailable(why)) << why;
  EXPECT_NE(why.message().find("rank 1 did not take part within 200ms"), std::string::npos) << why;
  EXPECT_GE(absl::Now() - begin, absl::Milliseconds(200));
}

TEST(Heartbeat, BeatsForNobodyWhereThereIsOneProcess) {
  const Heartbeat heart(nullptr, kPeriod, [](const absl::Status& why) { ADD_FAILURE() << why; });
}

}  // namespace
}  // namespace switchyard
