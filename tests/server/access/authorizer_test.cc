#include "server/access/authorizer.h"

#include <gtest/gtest.h>

#include "server/access/key_file.h"

namespace switchyard {
namespace {

std::vector<ApiKey> Keys(absl::string_view text) { return *ParseKeys(text, "keys", {}); }

TEST(Authorizer, LetsEveryoneInWithoutKeys) {
  const Authorizer open({});
  EXPECT_FALSE(open.required());
  EXPECT_TRUE(open.Allows(""));
  EXPECT_EQ(open.Find("Bearer x"), nullptr);
}

TEST(Authorizer, FindsWhoseKeyItIs) {
  const Authorizer authorizer(Keys("a:one\nb:two"));
  EXPECT_EQ(authorizer.Find("Bearer two")->name(), "b");
  EXPECT_EQ(authorizer.Find("bEARER  one ")->name(), "a");
  for (const char* wrong : {"", "Bearer", "Bearer ", "Basic one", "one", "Bearer three", "Bearer one two"}) {
    EXPECT_FALSE(authorizer.Allows(wrong)) << wrong;
  }
}

TEST(Authorizer, ReplacedKeysKeepTheAccountsOfTheirNames) {
  Authorizer authorizer(Keys("a:one\nb:two"));
  const std::shared_ptr<KeyAccount> before = authorizer.Find("Bearer one");
  authorizer.Replace(Keys("a:new max-concurrent=1\nc:three"));
  EXPECT_FALSE(authorizer.Allows("Bearer one"));
  EXPECT_FALSE(authorizer.Allows("Bearer two"));
  EXPECT_EQ(authorizer.Find("Bearer new"), before);
  KeyRefusal refusal;
  const auto ticket = before->Admit(1, &refusal);
  EXPECT_EQ(before->Admit(1, &refusal), nullptr);
  const std::vector<KeyUsage> usage = authorizer.usage();
  ASSERT_EQ(usage.size(), 2u);
  EXPECT_EQ(usage[0].name, "a");
  EXPECT_EQ(usage[0].running, 1);
  EXPECT_EQ(usage[1].name, "c");
}

}  // namespace
}  // namespace switchyard
