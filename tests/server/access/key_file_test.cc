#include "server/access/key_file.h"

#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace switchyard {
namespace {

absl::StatusOr<std::vector<ApiKey>> Parse(absl::string_view text) {
  return ParseKeys(text, "keys", {.max_concurrent = 7});
}

void ExpectRefused(absl::string_view text, absl::string_view parts) {
  const absl::Status status = Parse(text).status();
  ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
  for (const absl::string_view part : absl::StrSplit(parts, '|')) {
    EXPECT_TRUE(absl::StrContains(status.message(), part)) << status.message() << " lacks " << part;
  }
}

TEST(KeyFile, ReadsNamesLimitsAndComments) {
  const auto keys =
      Parse("# a comment\n\n  bare-key \r\nteam-a:abc\nteam-b:x:y tokens-per-minute=60000 max-concurrent=0");
  ASSERT_TRUE(keys.ok()) << keys.status();
  ASSERT_EQ(keys->size(), 3u);
  EXPECT_EQ((*keys)[0].name, "key-3");
  EXPECT_EQ((*keys)[0].digest, DigestOf("bare-key"));
  EXPECT_EQ((*keys)[0].limits, (KeyLimits{.max_concurrent = 7}));
  EXPECT_EQ((*keys)[1].name, "team-a");
  EXPECT_EQ((*keys)[1].digest, DigestOf("abc"));
  EXPECT_EQ((*keys)[2].digest, DigestOf("x:y"));
  EXPECT_EQ((*keys)[2].limits, (KeyLimits{.max_concurrent = 0, .tokens_per_minute = 60000}));
}

TEST(KeyFile, KeysOfOneNameShareTheFirstOnesLimits) {
  const auto keys = Parse("a:old max-concurrent=2\na:new");
  ASSERT_TRUE(keys.ok());
  EXPECT_EQ((*keys)[1].limits.max_concurrent, 2);
}

TEST(KeyFile, NamesTheLineAndTheRemedyButNeverTheKey) {
  ExpectRefused("", "keys|no key");
  ExpectRefused("# only\n", "no key");
  ExpectRefused("ok\nmy team:secret", "line 2|max-concurrent=N");
  ExpectRefused("a/b:secret", "line 1|name");
  ExpectRefused(":secret", "name");
  ExpectRefused("a:", "1 to 512|has 0");
  ExpectRefused(absl::StrCat("a:", std::string(513, 'x')), "has 513");
  ExpectRefused(
      "a:s\xc3\xa9"
      "cret",
      "printable");
  ExpectRefused("a:secret max-concurrent=-1", "max-concurrent|\"-1\"");
  ExpectRefused("a:secret tokens-per-minute=many", "tokens-per-minute|\"many\"");
  ExpectRefused("a:secret\nb:secret", "line 2|line 1");
  EXPECT_FALSE(absl::StrContains(Parse("a:secret x=1").status().message(), "secret"));
}

TEST(KeyFile, SaysThatAFileCannotBeRead) {
  EXPECT_TRUE(absl::StrContains(ReadKeyFile("/no/such/file", {}).status().message(), "/no/such/file: cannot be read"));
}

}  // namespace
}  // namespace switchyard
