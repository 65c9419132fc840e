#include "server/http/cors.h"

#include <gtest/gtest.h>

#include <map>

namespace switchyard::http {
namespace {

Request From(const std::string& origin, const std::string& method = "POST") {
  return {.method = method, .path = "/v1/completions", .headers = {{"Origin", origin}}};
}

std::map<std::string, std::string> HeadersFor(const CorsPolicy& policy, const Request& request) {
  std::vector<Header> headers;
  policy.AddHeaders(request, &headers);
  std::map<std::string, std::string> by_name;
  for (const Header& header : headers) by_name[header.name] = header.value;
  return by_name;
}

TEST(CorsPolicy, IsSilentWithoutOrigins) {
  const CorsPolicy policy({});
  EXPECT_TRUE(HeadersFor(policy, From("https://a")).empty());
  Request preflight = From("https://a", "OPTIONS");
  preflight.headers.push_back({"Access-Control-Request-Method", "POST"});
  EXPECT_FALSE(policy.Preflight(preflight).has_value());
}

TEST(CorsPolicy, NamesTheOriginThatIsAllowedAndNoOther) {
  const CorsPolicy policy({"https://a", "https://b"});
  EXPECT_EQ(HeadersFor(policy, From("https://b")).at("Access-Control-Allow-Origin"), "https://b");
  const auto refused = HeadersFor(policy, From("https://b.evil"));
  EXPECT_EQ(refused.count("Access-Control-Allow-Origin"), 0u);
  EXPECT_EQ(refused.at("Vary"), "Origin");  // a cache must not give one page's answer to another
  EXPECT_EQ(HeadersFor(CorsPolicy({"*"}), From("https://any")).at("Access-Control-Allow-Origin"), "*");
}

TEST(CorsPolicy, AnswersPreflightsWithMethodsAndTheHeadersAskedFor) {
  const CorsPolicy policy({"https://a"});
  Request preflight = From("https://a", "OPTIONS");
  EXPECT_FALSE(policy.Preflight(preflight).has_value());  // a plain OPTIONS
  preflight.headers.push_back({"Access-Control-Request-Method", "POST"});
  preflight.headers.push_back({"Access-Control-Request-Headers", "authorization,x-stainless-os"});
  const std::optional<Response> answer = policy.Preflight(preflight);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->status, 204);
  EXPECT_EQ(answer->headers.at(1).value, "authorization,x-stainless-os");
  preflight.headers.back().value = "x\r\nSet-Cookie: a";
  EXPECT_EQ(policy.Preflight(preflight)->headers.at(1).value, "authorization, content-type");
  preflight.headers.front().value = "https://evil";
  EXPECT_TRUE(policy.Preflight(preflight)->headers.empty());
}

}  // namespace
}  // namespace switchyard::http
