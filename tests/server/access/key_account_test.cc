#include "server/access/key_account.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"

namespace switchyard {
namespace {

constexpr absl::Time kNoon = absl::FromUnixSeconds(1'700'000'000);

TEST(KeyAccount, LimitsRequestsInFlight) {
  const auto account = std::make_shared<KeyAccount>("team", KeyLimits{.max_concurrent = 2});
  KeyRefusal refusal;
  auto first = account->Admit(1, &refusal);
  const auto second = account->Admit(1, &refusal);
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(account->Admit(1, &refusal), nullptr);
  EXPECT_TRUE(absl::StrContains(refusal.message, "\"team\" has 2 requests in flight, and 2 is its limit"))
      << refusal.message;
  first.reset();
  EXPECT_NE(account->Admit(1, &refusal), nullptr);
  EXPECT_EQ(account->usage().running, 1);
  EXPECT_EQ(account->usage().requests, 3u);
  EXPECT_EQ(account->usage().refused_concurrency, 1u);
}

TEST(KeyAccount, RefillsAMinutesTokensEvenly) {
  const auto account = std::make_shared<KeyAccount>("team", KeyLimits{.tokens_per_minute = 600});
  KeyRefusal refusal;
  const auto ticket = account->Admit(400, &refusal, kNoon);
  ASSERT_NE(ticket, nullptr);
  ticket->Charge(150, kNoon);
  EXPECT_EQ(account->Admit(100, &refusal, kNoon), nullptr);
  EXPECT_EQ(refusal.retry_after_seconds, 5);  // 50 of 10 a second
  EXPECT_TRUE(absl::StrContains(refusal.message, "600 tokens a minute")) << refusal.message;
  EXPECT_TRUE(absl::StrContains(refusal.message, "50 are left, and the prompt has 100: retry in 5 s"));
  EXPECT_EQ(account->Admit(100, &refusal, kNoon + absl::Seconds(4)), nullptr);
  EXPECT_NE(account->Admit(100, &refusal, kNoon + absl::Seconds(5)), nullptr);
  EXPECT_EQ(account->usage().prompt_tokens, 500u);
  EXPECT_EQ(account->usage().generation_tokens, 150u);
  EXPECT_EQ(account->usage().refused_tokens, 2u);
}

TEST(KeyAccount, ALongAnswerLeavesADebtThatNewRequestsWaitFor) {
  const auto account = std::make_shared<KeyAccount>("team", KeyLimits{.tokens_per_minute = 60});
  KeyRefusal refusal;
  account->Admit(10, &refusal, kNoon)->Charge(110, kNoon);
  EXPECT_EQ(account->Admit(0, &refusal, kNoon + absl::Seconds(59)), nullptr);
  EXPECT_NE(account->Admit(0, &refusal, kNoon + absl::Seconds(62)), nullptr);
}

TEST(KeyAccount, APromptLongerThanAMinutesTokensGetsAFullBucket) {
  const auto account = std::make_shared<KeyAccount>("team", KeyLimits{.tokens_per_minute = 60});
  KeyRefusal refusal;
  EXPECT_NE(account->Admit(1000, &refusal, kNoon), nullptr);
  EXPECT_EQ(account->Admit(1, &refusal, kNoon), nullptr);
  EXPECT_EQ(refusal.retry_after_seconds, 941);
}

TEST(KeyAccount, AClockSetBackTakesNothing) {
  const auto account = std::make_shared<KeyAccount>("team", KeyLimits{.tokens_per_minute = 60});
  KeyRefusal refusal;
  EXPECT_NE(account->Admit(30, &refusal, kNoon), nullptr);
  EXPECT_NE(account->Admit(30, &refusal, kNoon - absl::Hours(1)), nullptr);
}

}  // namespace
}  // namespace switchyard
