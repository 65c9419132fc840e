// GET /: the embedded page.
#include <openssl/sha.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/access/key_file.h"
#include "tests/server/openai/api_fixture.h"

namespace switchyard::openai {
namespace {

class Playground : public ApiTest {};

std::string Between(const std::string& text, const std::string& open, const std::string& close) {
  const size_t begin = text.find(open) + open.size();
  return text.substr(begin, text.find(close, begin) - begin);
}

std::string HashSource(const std::string& text) {
  unsigned char digest[SHA256_DIGEST_LENGTH];
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest);
  return absl::StrCat("'sha256-", absl::Base64Escape(std::string(reinterpret_cast<const char*>(digest), sizeof digest)),
                      "'");
}

TEST_F(Playground, IsServedWithoutAKeyAndAllowsNothingButItself) {
  edge_ = std::make_unique<Edge>(*ParseKeys("secret-key", "keys", {}));
  Serve();
  const HttpReply reply = Get("/");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.headers.at("content-type"), "text/html; charset=utf-8");
  const std::string policy = reply.headers.at("content-security-policy");
  EXPECT_NE(policy.find("default-src 'none'"), std::string::npos);
  EXPECT_NE(policy.find("script-src " + HashSource(Between(reply.body, "<script>", "</script>")) + ";"),
            std::string::npos);
  EXPECT_NE(policy.find("style-src " + HashSource(Between(reply.body, "<style>", "</style>")) + ";"),
            std::string::npos);
  EXPECT_EQ(policy.find("unsafe"), std::string::npos);
  EXPECT_EQ(Get("/v1/models").status, 401);
}

TEST_F(Playground, NamesNoAssetFromElsewhere) {
  Serve();
  const std::string page = Get("/").body;
  for (const char* forbidden : {" src=", "@import", "url(", "https://", "innerHTML", " style=\"", " onclick="}) {
    EXPECT_EQ(page.find(forbidden), std::string::npos) << forbidden;
  }
  EXPECT_EQ(page.find("@PLAYGROUND"), std::string::npos) << "a part of the page is missing";
}

}  // namespace
}  // namespace switchyard::openai
