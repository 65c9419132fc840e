#include "server/telemetry/trace_context.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

constexpr char kTrace[] = "0af7651916cd43dd8448eb211c80319c";
constexpr char kParent[] = "b7ad6b7169203331";

std::string Header(const std::string& version, const std::string& flags) {
  return version + "-" + kTrace + "-" + kParent + "-" + flags;
}

TEST(TraceContext, ContinuesTheCallersTraceWithASpanOfItsOwn) {
  const auto trace = ContinueTrace(Header("00", "01"));
  ASSERT_TRUE(trace.has_value());
  EXPECT_EQ(trace->trace_id, kTrace);
  EXPECT_EQ(trace->parent_span_id, kParent);
  EXPECT_EQ(trace->span_id.size(), 16u);
  EXPECT_NE(trace->span_id, kParent);
  EXPECT_TRUE(trace->sampled);
  EXPECT_FALSE(ContinueTrace(Header("00", "00"))->sampled);
  EXPECT_TRUE(ContinueTrace(Header("00", "ff"))->sampled);
}

TEST(TraceContext, ReadsLaterVersionsAsFarAsItKnowsThem) {
  EXPECT_TRUE(ContinueTrace(Header("01", "01") + "-what-comes-next").has_value());
  EXPECT_FALSE(ContinueTrace(Header("01", "01") + "x").has_value());
  EXPECT_FALSE(ContinueTrace(Header("00", "01") + "-more").has_value());
}

TEST(TraceContext, IgnoresWhatIsMalformed) {
  EXPECT_FALSE(ContinueTrace("").has_value());
  EXPECT_FALSE(ContinueTrace("nonsense").has_value());
  EXPECT_FALSE(ContinueTrace(Header("ff", "01")).has_value());
  EXPECT_FALSE(ContinueTrace(Header("0x", "01")).has_value());
  EXPECT_FALSE(ContinueTrace(Header("00", "0g")).has_value());
  std::string upper = Header("00", "01");
  upper[4] = 'A';
  EXPECT_FALSE(ContinueTrace(upper).has_value());
  EXPECT_FALSE(ContinueTrace("00-00000000000000000000000000000000-b7ad6b7169203331-01").has_value());
  EXPECT_FALSE(ContinueTrace("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01").has_value());
  EXPECT_FALSE(ContinueTrace("00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").has_value());
}

TEST(TraceContext, BeginsTracesWithIdsOfTheirOwn) {
  const TraceContext one = BeginTrace();
  EXPECT_EQ(one.trace_id.size(), 32u);
  EXPECT_TRUE(one.parent_span_id.empty());
  EXPECT_NE(BeginTrace().trace_id, one.trace_id);
}

}  // namespace
}  // namespace switchyard
