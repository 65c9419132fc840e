#include "server/rpc/pending_responses.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

v1::GenerateResponse Delta(const std::string& id, int token, const std::string& text) {
  v1::GenerateResponse response;
  response.set_request_id(id);
  response.add_token_ids(token);
  response.set_text(text);
  return response;
}

v1::GenerateResponse End(const std::string& id, int code) {
  v1::GenerateResponse response;
  response.set_request_id(id);
  response.mutable_status()->set_code(code);
  return response;
}

TEST(PendingResponses, MergesTheDeltasOfARequestAndKeepsRequestsApart) {
  PendingResponses pending(1 << 20);
  ASSERT_TRUE(pending.Add(Delta("a", 1, "x")));
  ASSERT_TRUE(pending.Add(Delta("b", 2, "p")));
  ASSERT_TRUE(pending.Add(Delta("a", 3, "y")));
  const auto first = pending.Take();
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->text(), "xy");
  EXPECT_EQ(first->token_ids_size(), 2);
  EXPECT_EQ(pending.Take()->text(), "p");
  EXPECT_FALSE(pending.Take().has_value());
}

TEST(PendingResponses, NothingMergesIntoWhatWasTaken) {
  PendingResponses pending(1 << 20);
  ASSERT_TRUE(pending.Add(Delta("a", 1, "x")));
  ASSERT_TRUE(pending.Take().has_value());
  ASSERT_TRUE(pending.Add(Delta("a", 2, "y")));
  EXPECT_EQ(pending.Take()->text(), "y");
}

TEST(PendingResponses, AnIdUsedAgainAfterItsEndStartsAnew) {
  PendingResponses pending(1 << 20);
  ASSERT_TRUE(pending.Add(Delta("a", 1, "x")));
  ASSERT_TRUE(pending.Add(End("a", 0)));
  ASSERT_TRUE(pending.Add(Delta("a", 2, "y")));
  const auto first = pending.Take();
  EXPECT_EQ(first->text(), "x");
  EXPECT_TRUE(first->has_status());
  EXPECT_EQ(pending.Take()->text(), "y");
}

TEST(PendingResponses, AnErrorStaysApartFromTheRequestOfTheSameId) {
  PendingResponses pending(1 << 20);
  ASSERT_TRUE(pending.Add(Delta("a", 1, "x")));
  ASSERT_TRUE(pending.Add(End("a", 6)));
  ASSERT_TRUE(pending.Add(Delta("a", 2, "y")));
  EXPECT_FALSE(pending.Take()->has_status());
  EXPECT_EQ(pending.Take()->status().code(), 6);
  EXPECT_EQ(pending.Take()->text(), "y");
}

TEST(PendingResponses, RefusesWhatPassesTheLimitButNeverTheFirst) {
  PendingResponses pending(100);
  ASSERT_TRUE(pending.Add(Delta("a", 1, std::string(1000, 'x'))));
  EXPECT_FALSE(pending.Add(Delta("a", 2, "y")));
  EXPECT_EQ(pending.Take()->text().size(), 1000u);
  EXPECT_TRUE(pending.empty());
  EXPECT_TRUE(pending.Add(Delta("a", 2, "y")));
}

TEST(PendingResponses, ForgetsTheSizeOfWhatWasTaken) {
  PendingResponses pending(100);
  ASSERT_TRUE(pending.Add(Delta("always", 1, "x")));
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(pending.Add(Delta("a", i, "0123456789")));
    ASSERT_TRUE(pending.Add(Delta("a", i, "0123456789")));
    ASSERT_TRUE(pending.Take().has_value());
  }
}

}  // namespace
}  // namespace switchyard
