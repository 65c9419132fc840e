#include "engine/rate_meter.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

const absl::Time kBegin = absl::UnixEpoch() + absl::Hours(1);

TEST(RateMeter, KnowsASteadyRateFromTheStart) {
  RateMeter meter(absl::Seconds(10));
  EXPECT_EQ(meter.PerSecond(kBegin), 0);
  absl::Time now = kBegin;
  for (int i = 0; i < 400; ++i) {
    now = kBegin + i * absl::Milliseconds(250);
    meter.Add(1, now);
    if (i > 20) {
      EXPECT_NEAR(meter.PerSecond(now), 4, 1) << i;
    }
  }
}

TEST(RateMeter, ForgetsWhatIsLongAgo) {
  RateMeter meter(absl::Seconds(10));
  for (int i = 0; i < 100; ++i) meter.Add(10, kBegin + i * absl::Seconds(1));
  EXPECT_NEAR(meter.PerSecond(kBegin + absl::Seconds(100)), 10, 1);
  EXPECT_LT(meter.PerSecond(kBegin + absl::Seconds(140)), 0.5);
}

TEST(RateMeter, DoesNotTakeABurstForARate) {
  RateMeter meter(absl::Seconds(10));
  meter.Add(5, kBegin);
  EXPECT_LT(meter.PerSecond(kBegin), 6);
}

}  // namespace
}  // namespace switchyard
