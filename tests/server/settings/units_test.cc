#include "server/settings/units.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

TEST(ParseBytes, ReadsDecimalAndBinaryUnits) {
  EXPECT_EQ(*ParseBytes("4096"), 4096);
  EXPECT_EQ(*ParseBytes("4GiB"), int64_t{4} << 30);
  EXPECT_EQ(*ParseBytes("512MB"), 512'000'000);
  EXPECT_EQ(*ParseBytes("512 mib"), int64_t{512} << 20);
  EXPECT_EQ(*ParseBytes("1.5k"), 1500);
  EXPECT_EQ(*ParseBytes("2T"), 2'000'000'000'000);
  EXPECT_EQ(*ParseBytes("0"), 0);
}

TEST(ParseBytes, RefusesWhatIsNoSize) {
  for (const char* text : {"", "GiB", "-1", "4XB", "4GiBs", "1e3", "nan", "1.2.3", "99999999999GiB", "4 G iB"}) {
    EXPECT_EQ(ParseBytes(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(FormatBytes, ReadsBackAsTheSame) {
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{1023}, int64_t{1} << 20, int64_t{3} << 29}) {
    EXPECT_EQ(*ParseBytes(FormatBytes(bytes)), bytes);
  }
  EXPECT_EQ(FormatBytes(int64_t{4} << 30), "4GiB");
}

TEST(ParseDuration, ReadsUnitsAndBareSeconds) {
  EXPECT_EQ(*ParseDuration("30s"), absl::Seconds(30));
  EXPECT_EQ(*ParseDuration("1m30s"), absl::Seconds(90));
  EXPECT_EQ(*ParseDuration("250ms"), absl::Milliseconds(250));
  EXPECT_EQ(*ParseDuration("2.5"), absl::Milliseconds(2500));
}

TEST(ParseDuration, RefusesWhatDoesNotEnd) {
  for (const char* text : {"", "-1s", "-3", "inf", "nan", "fast", "10 parsecs"}) {
    EXPECT_EQ(ParseDuration(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(ParseEndpoint, ReadsNamesAndBothAddressFamilies) {
  EXPECT_EQ(*ParseEndpoint("127.0.0.1:8000"), (Endpoint{"127.0.0.1", 8000}));
  EXPECT_EQ(*ParseEndpoint("localhost:0"), (Endpoint{"localhost", 0}));
  EXPECT_EQ(*ParseEndpoint("[::1]:8000"), (Endpoint{"::1", 8000}));
  EXPECT_EQ(*ParseEndpoint(":80"), (Endpoint{"0.0.0.0", 80}));
  EXPECT_EQ(Format(Endpoint{"::1", 8000}), "[::1]:8000");
}

TEST(ParseEndpoint, RefusesWhatIsNoEndpoint) {
  for (const char* text : {"", "8000", "localhost", "host:", "host:65536", "host:-1", "host:x", "::1:80", "[::1]",
                           "[host]:1", "http://host:80", "host:99999999999999999999"}) {
    EXPECT_EQ(ParseEndpoint(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(IsLoopback, KnowsWhatOnlyThisHostReaches) {
  for (const char* host : {"127.0.0.1", "127.3.2.1", "::1", "localhost"}) EXPECT_TRUE(IsLoopback({host, 1})) << host;
  for (const char* host : {"0.0.0.0", "::", "10.0.0.1", "127.example.org"}) EXPECT_FALSE(IsLoopback({host, 1})) << host;
}

TEST(ParseEndpoint, ReadsUnixSocketsWithinTheKernelsLength) {
  const auto endpoint = ParseEndpoint("unix:/run/a.sock");
  ASSERT_TRUE(endpoint.ok()) << endpoint.status();
  EXPECT_EQ(endpoint->unix_path, "/run/a.sock");
  EXPECT_EQ(Format(*endpoint), "unix:/run/a.sock");
  EXPECT_TRUE(IsLoopback(*endpoint));
  EXPECT_TRUE(ParseEndpoint("unix:/" + std::string(106, 'a')).ok());
  EXPECT_FALSE(ParseEndpoint("unix:/" + std::string(107, 'a')).ok());
  EXPECT_FALSE(ParseEndpoint("unix:a.sock").ok());
}

TEST(ParseHttpUrl, ReadsHostPortAndPath) {
  EXPECT_EQ(*ParseHttpUrl("http://127.0.0.1:4318"), (HttpUrl{{"127.0.0.1", 4318}, "/"}));
  EXPECT_EQ(*ParseHttpUrl("http://collector/otlp"), (HttpUrl{{"collector", 80}, "/otlp"}));
  EXPECT_EQ(*ParseHttpUrl("http://[::1]"), (HttpUrl{{"::1", 80}, "/"}));
  EXPECT_EQ(Format(*ParseHttpUrl("http://[::1]:1/a")), "http://[::1]:1/a");
}

TEST(ParseHttpUrl, RefusesWhatIsNoPlainHttpUrl) {
  for (const char* text : {"", "127.0.0.1:4318", "https://a", "http://", "http://:80", "http://a:b", "http://u@a",
                           "http://a/?q", "http://a/b c", "http://a/\r\nX: y", "http://a:0", "http://unix:/a"}) {
    EXPECT_FALSE(ParseHttpUrl(text).ok()) << text;
  }
}

TEST(ParseIntList, ReadsListsWithinLimits) {
  EXPECT_EQ(*ParseIntList("1,5, 9", 0, 10), (std::vector<int32_t>{1, 5, 9}));
  EXPECT_TRUE(ParseIntList("", 0, 10)->empty());
  for (const char* text : {"1,,2", "1;2", "11", "-1", "1,x", "4294967297"}) {
    EXPECT_FALSE(ParseIntList(text, 0, 10).ok()) << text;
  }
}

}  // namespace
}  // namespace switchyard
