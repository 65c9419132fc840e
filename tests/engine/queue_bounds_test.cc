#include "engine/queue_bounds.h"

#include <gtest/gtest.h>

#include "engine/retry_after.h"
#include "tests/engine/recorded_sequence.h"

namespace switchyard {
namespace {

const absl::Time kNow = absl::UnixEpoch();

class QueueBoundsTest : public testing::Test {
 protected:
  absl::Status Arrive(int64_t prompt_tokens) { return bounds_.Arrive(prompt_tokens, now_, reason_); }

  // One more waits at the scheduler, of which one may run.
  void Queue(int64_t prompt_tokens) {
    GenerationRequest request;
    request.id = "r";
    request.prompt.assign(static_cast<size_t>(prompt_tokens), 1);
    scheduler_.Add(MakeSequence(request, &record_));
    bounds_.Update(scheduler_);
  }

  Record record_;
  Scheduler scheduler_{{.pages_per_domain = 100, .max_running_requests = 1}};
  QueueBounds bounds_{{.max_requests = 3, .max_tokens = 20, .max_running = 2}};
  RejectReason reason_ = RejectReason::kQueueTime;
  absl::Time now_ = kNow;
};

TEST_F(QueueBoundsTest, TakesThePlacesThatAreFreeAndAsManyAsMayWait) {
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(Arrive(1).ok()) << i;
  const absl::Status refusal = Arrive(1);
  EXPECT_TRUE(absl::IsResourceExhausted(refusal)) << refusal;
  EXPECT_EQ(reason_, RejectReason::kQueuedRequests);
  EXPECT_NE(refusal.message().find("5 requests of 5 prompt tokens wait"), std::string::npos) << refusal;
  EXPECT_NE(refusal.message().find("--max-queued-requests 3"), std::string::npos) << refusal;
}

TEST_F(QueueBoundsTest, CountsNoPlaceAsFreeWhileSomebodyWaits) {
  Queue(1);
  EXPECT_TRUE(Arrive(1).ok());
  EXPECT_TRUE(Arrive(1).ok());
  EXPECT_FALSE(Arrive(1).ok());
}

TEST_F(QueueBoundsTest, BoundsTheTokensOfPromptsButNotOfOneThatFindsNobodyWaiting) {
  EXPECT_TRUE(Arrive(50).ok());
  const absl::Status refusal = Arrive(1);
  EXPECT_TRUE(absl::IsResourceExhausted(refusal)) << refusal;
  EXPECT_EQ(reason_, RejectReason::kQueuedTokens);
  EXPECT_NE(refusal.message().find("--max-queued-tokens 20, and this prompt has 1"), std::string::npos) << refusal;
}

TEST_F(QueueBoundsTest, CountsARequestOnceOnItsWayToTheScheduler) {
  EXPECT_TRUE(Arrive(4).ok());
  bounds_.TakeIn();
  EXPECT_EQ(bounds_.waiting().requests, 1);
  EXPECT_TRUE(Arrive(5).ok());
  Queue(4);
  EXPECT_EQ(bounds_.waiting().requests, 2);
  EXPECT_EQ(bounds_.waiting().prompt_tokens, 9);
}

TEST_F(QueueBoundsTest, EstimatesTheRetryFromTheRateOfLateWithinBounds) {
  EXPECT_EQ(bounds_.RetryAfterSeconds(now_), 1);  // nothing is known
  for (int i = 0; i < 30; ++i) {
    now_ += absl::Seconds(2);
    bounds_.Start(1, now_);
  }
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(Arrive(1).ok());
  EXPECT_NEAR(static_cast<double>(RetryAfterSeconds(Arrive(1)).value_or(0)), 10, 2);
  now_ += absl::Hours(1);
  EXPECT_EQ(RetryAfterSeconds(Arrive(1)), 60);
}

}  // namespace
}  // namespace switchyard
