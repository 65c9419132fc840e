#include "server/openai/infilling.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/server/openai/api_fixture.h"

namespace switchyard::openai {
namespace {

constexpr int32_t kFirstSpecial = FakeTokenizer::kFirstByte + 256;

int32_t Byte(char byte) { return FakeTokenizer::kFirstByte + byte; }

class Infilling : public ApiTest {
 protected:
  void ExpectRefused(const json& body, const std::string& param) {
    EXPECT_EQ(ErrorOf(Post("/v1/completions", body), 400)["param"], param);
  }
};

TEST_F(Infilling, PutsMistralsSuffixFirst) {
  Serve({.special_tokens = {"[SUFFIX]", "[PREFIX]"}});
  Ask("/v1/completions", {{"prompt", "ab"}, {"suffix", "c"}, {"max_tokens", 1}});
  EXPECT_EQ(engine_->submitted().at(0).prompt, (std::vector<int32_t>{FakeTokenizer::kBos, kFirstSpecial, Byte('c'),
                                                                     kFirstSpecial + 1, Byte('a'), Byte('b')}));
}

TEST_F(Infilling, EndsWithTheMiddleTokenWhereThereIsOne) {
  Serve({.special_tokens = {"<fim_middle>", "<fim_prefix>", "<fim_suffix>"}});
  Ask("/v1/completions", {{"prompt", {"a", "b"}}, {"suffix", "c"}, {"max_tokens", 1}, {"add_special_tokens", false}});
  ASSERT_EQ(engine_->submitted().size(), 2u);
  EXPECT_EQ(engine_->submitted()[1].prompt,
            (std::vector<int32_t>{kFirstSpecial + 1, Byte('b'), kFirstSpecial + 2, Byte('c'), kFirstSpecial}));
}

TEST_F(Infilling, ASuffixSpellsNoTokens) {
  Serve({.special_tokens = {"[SUFFIX]", "[PREFIX]"}});
  Ask("/v1/completions", {{"prompt", "a"}, {"suffix", "</s>"}, {"max_tokens", 1}});
  EXPECT_EQ(engine_->submitted().at(0).prompt.size(), 1u + 1 + 4 + 1 + 1);
}

TEST_F(Infilling, AnEmptySuffixIsNone) {
  Serve();
  Ask("/v1/completions", {{"prompt", "a"}, {"suffix", ""}, {"max_tokens", 1}});
  EXPECT_EQ(engine_->submitted().at(0).prompt, (std::vector<int32_t>{FakeTokenizer::kBos, Byte('a')}));
}

TEST_F(Infilling, RefusesByNameWhatDoesNotGoTogether) {
  Serve({.max_model_len = 64, .special_tokens = {"[SUFFIX]", "[PREFIX]"}});
  ExpectRefused({{"prompt", {7}}, {"suffix", "c"}}, "suffix");
  ExpectRefused({{"prompt", "a"}, {"suffix", "c"}, {"echo", true}}, "suffix");
  ExpectRefused({{"prompt", "a"}, {"suffix", "c"}, {"truncate_prompt_tokens", 4}}, "suffix");
  ExpectRefused({{"prompt", "a"}, {"suffix", 7}}, "suffix");
  ExpectRefused({{"prompt", "a"}, {"suffix", std::string(100'000, 'x')}}, "suffix");
  ExpectRefused({{"prompt", "a"}, {"suffix", std::string(70, 'x')}}, "prompt");
  EXPECT_TRUE(engine_->submitted().empty());
}

}  // namespace
}  // namespace switchyard::openai
