#include "engine/stats.h"

#include <gtest/gtest.h>

#include "engine/request.h"

namespace switchyard {
namespace {

TEST(Histogram, CountsAValueInTheFirstBucketWhoseBoundIsNotBelowIt) {
  Histogram histogram({0.5, 1.0, 4.0});
  for (const double value : {0.25, 0.5, 0.75, 1.0, 4.0, 4.5, 1e9}) histogram.Observe(value);
  EXPECT_EQ(histogram.counts(), (std::vector<uint64_t>{2, 2, 1, 2}));
  EXPECT_EQ(histogram.count(), 7u);
  EXPECT_DOUBLE_EQ(histogram.sum(), 0.25 + 0.5 + 0.75 + 1.0 + 4.0 + 4.5 + 1e9);
}

TEST(Histogram, WithoutBoundsHasOneBucketForAll) {
  Histogram histogram;
  histogram.Observe(3);
  EXPECT_EQ(histogram.counts(), (std::vector<uint64_t>{1}));
  EXPECT_DOUBLE_EQ(histogram.sum(), 3);
}

TEST(FinishReason, HasTheNamesOfTheInterface) {
  EXPECT_STREQ(Name(FinishReason::kStop), "stop");
  EXPECT_STREQ(Name(FinishReason::kLength), "length");
  EXPECT_STREQ(Name(FinishReason::kAborted), "abort");
  EXPECT_STREQ(Name(FinishReason::kError), "error");
}

}  // namespace
}  // namespace switchyard
