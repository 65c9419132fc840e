#include "engine/text/detokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "engine/text/utf8_assembler.h"
#include "tests/engine/text/text_fixtures.h"

namespace switchyard {
namespace {

class DetokenizerTest : public testing::Test {
 protected:
  std::vector<int32_t> Plain(const std::string& text) const {
    return tokenizer_->Encode(text, {.add_special_tokens = false});
  }
  int32_t Byte(unsigned char byte) const { return 3 + byte; }  // <0x00> is id 3, as in every LLaMA vocabulary

  std::unique_ptr<Tokenizer> tokenizer_ = OpenTokenizer(BundledModel());
};

TEST_F(DetokenizerTest, HoldsByteTokensUntilTheCharacterIsComplete) {
  ASSERT_EQ(tokenizer_->Piece(Byte(0xE2)), "<0xE2>");
  Detokenizer detokenizer(tokenizer_.get(), {1}, true);
  EXPECT_EQ(detokenizer.Append(Byte(0xE2)), "");
  EXPECT_EQ(detokenizer.Append(Byte(0x82)), "");
  EXPECT_EQ(detokenizer.Append(Byte(0xAC)), "€");
  EXPECT_EQ(detokenizer.Append(Byte(0xE2)), "");
  EXPECT_EQ(detokenizer.Finish(), "\uFFFD");
}

TEST_F(DetokenizerTest, TheLeadingSpaceBelongsToTheTextOnlyBehindAPrompt) {
  const int32_t word = Plain("the").at(0);
  ASSERT_EQ(tokenizer_->Piece(word), "▁the");
  EXPECT_EQ(Detokenizer(tokenizer_.get(), {}, true).Append(word), "the");
  EXPECT_EQ(Detokenizer(tokenizer_.get(), {1}, true).Append(word), "the");
  EXPECT_EQ(Detokenizer(tokenizer_.get(), {word}, true).Append(word), " the");
}

TEST_F(DetokenizerTest, LeavesSpecialTokensOutOrNamesThem) {
  const int32_t word = Plain("the").at(0);
  EXPECT_EQ(Detokenizer(tokenizer_.get(), {word}, true).Append(2), "");
  EXPECT_EQ(Detokenizer(tokenizer_.get(), {word}, false).Append(2), "</s>");
}

TEST_F(DetokenizerTest, ACharacterThatThePromptBeginsBelongsToTheIds) {
  Detokenizer detokenizer(tokenizer_.get(), {Byte(0xE2), Byte(0x82)}, true);
  EXPECT_EQ(detokenizer.Append(Byte(0xAC)), "€");
}

// Any ids, many of them bytes, some outside the vocabulary: what streams is what decodes at once, and valid at every
// cut.
TEST_F(DetokenizerTest, StreamsWhatDecodeGivesForRandomIds) {
  std::mt19937 rng(3);
  const int32_t vocab_size = tokenizer_->vocab_size();
  int num_replaced = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    std::vector<int32_t> ids;
    for (int n = rng() % 40; n > 0; --n) {
      switch (rng() % 4) {
        case 0:
          ids.push_back(Byte(static_cast<unsigned char>(0x80 + rng() % 128)));
          break;
        case 1: {  // a whole character, or its beginning
          const std::string character = trial % 2 == 0 ? "🙂" : "€";
          const size_t size = 1 + rng() % character.size();
          for (size_t i = 0; i < size; ++i) ids.push_back(Byte(static_cast<unsigned char>(character[i])));
          break;
        }
        default:
          ids.push_back(static_cast<int32_t>(rng() % (vocab_size + 3)) - 1);
      }
    }
    const bool skip = rng() % 2 == 0;
    const size_t num_prompt = rng() % (ids.size() + 1);
    const std::vector<int32_t> prompt(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(num_prompt));

    Detokenizer detokenizer(tokenizer_.get(), prompt, skip);
    std::string streamed;
    for (size_t i = num_prompt; i < ids.size(); ++i) {
      const std::string piece = detokenizer.Append(ids[i]);
      ASSERT_EQ(ToValidUtf8(piece), piece);
      streamed += piece;
    }
    streamed += detokenizer.Finish();

    const std::string whole = tokenizer_->Decode(ids, skip);
    ASSERT_EQ(ToValidUtf8(whole), whole);
    ASSERT_TRUE(whole.ends_with(streamed)) << whole << " / " << streamed;
    // The prompt's part, but for an unfinished character at its end.
    const std::string cut = whole.substr(0, whole.size() - streamed.size());
    std::string prompt_text = tokenizer_->Decode(prompt, skip);
    ASSERT_TRUE(prompt_text.starts_with(cut)) << prompt_text << " / " << cut;
    prompt_text.erase(0, cut.size());
    ASSERT_TRUE(prompt_text.empty() || prompt_text == "\uFFFD" || prompt_text == "\uFFFD\uFFFD" ||
                prompt_text == "\uFFFD\uFFFD\uFFFD");
    num_replaced += whole.find("\uFFFD") != std::string::npos;
  }
  EXPECT_GT(num_replaced, 1000);
}

}  // namespace
}  // namespace switchyard
