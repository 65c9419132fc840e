#include "engine/text/tokenizer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/engine/text/text_fixtures.h"

namespace switchyard {
namespace {

using Ids = std::vector<int32_t>;

// Hugging Face's slow tokenizer, whose ids tests/reference/make_tokenizer_goldens.py wrote.
class TokenizerGolden : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerGolden, EncodesAndDecodesAsHuggingFace) {
  const nlohmann::json golden = Golden(std::string("encode-") + GetParam());
  TokenizerDirectory directory;
  directory.Patch(golden["config"]);
  const auto tokenizer = OpenTokenizer(directory.path());
  ASSERT_GT(golden["cases"].size(), 190u);
  for (const nlohmann::json& item : golden["cases"]) {
    const std::string text = item["text"];
    const Ids ids = item["ids"];
    EXPECT_EQ(tokenizer->Encode(text, {.parse_special_tokens = true}), ids) << item["text"];
    EXPECT_EQ(tokenizer->Encode(text, {}), item["plain_ids"].get<Ids>()) << item["text"];
    EXPECT_EQ(tokenizer->Decode(ids, /*skip_special_tokens=*/true), item["decoded"]) << item["text"];
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, TokenizerGolden,
                         testing::Values("legacy", "not-legacy", "no-bos-but-eos", "added-tokens"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

class TokenizerTest : public testing::Test {
 protected:
  std::unique_ptr<Tokenizer> tokenizer_ = OpenTokenizer(BundledModel());
};

TEST_F(TokenizerTest, EncodesTheBundledModelsSequences) {
  const nlohmann::json golden = ReadJsonFile(BundledModel() + "/golden.json");
  for (const nlohmann::json& sequence : golden["sequences"]) {
    EXPECT_EQ(tokenizer_->Encode(sequence["text"].get<std::string>(), {}), sequence["tokens"].get<Ids>());
  }
  for (const nlohmann::json& chat : golden["chats"]) {
    EXPECT_EQ(tokenizer_->Decode(chat["answer_tokens"].get<Ids>(), true), chat["answer"]);
  }
}

TEST_F(TokenizerTest, KnowsItsSpecialTokens) {
  EXPECT_EQ(tokenizer_->vocab_size(), 2048);
  EXPECT_EQ(tokenizer_->bos_id(), 1);
  EXPECT_EQ(tokenizer_->eos_id(), 2);
  EXPECT_TRUE(tokenizer_->IsSpecial(0));
  EXPECT_TRUE(tokenizer_->IsSpecial(1));
  EXPECT_FALSE(tokenizer_->IsSpecial(3));
  EXPECT_EQ(tokenizer_->Piece(13), "<0x0A>");
  EXPECT_EQ(tokenizer_->Bytes(13), "\n");
}

TEST_F(TokenizerTest, IdsOutsideTheVocabularyAreNothing) {
  for (const int32_t id : {-1, 2048, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(tokenizer_->Piece(id), "");
    EXPECT_EQ(tokenizer_->Bytes(id), "");
    EXPECT_FALSE(tokenizer_->IsSpecial(id));
    EXPECT_EQ(tokenizer_->Decode(Ids{13, id, 13}, true), "\n\n");
  }
}

TEST_F(TokenizerTest, ReadsBytesThatAreNoUtf8AsReplacementCharacters) {
  EXPECT_EQ(tokenizer_->Encode("a\xFF\xC3(", {}), tokenizer_->Encode("a\uFFFD\uFFFD(", {}));
  std::mt19937 rng(5);
  for (int trial = 0; trial < 500; ++trial) {
    std::string bytes;
    for (int n = rng() % 64; n > 0; --n) bytes.push_back(static_cast<char>(rng()));
    for (const int32_t id : tokenizer_->Encode(bytes, {.parse_special_tokens = true})) {
      ASSERT_GE(id, 0);
      ASSERT_LT(id, tokenizer_->vocab_size());
    }
  }
}

TEST_F(TokenizerTest, EncodesMegabytesOfOneCharacterAndOfText) {
  std::string text;
  while (text.size() < (size_t{2} << 20)) text += "the <s> 東京 beginning\n";
  EXPECT_GT(tokenizer_->Encode(text, {.parse_special_tokens = true}).size(), text.size() / 16);
  const std::string spaces(size_t{1} << 20, ' ');
  EXPECT_EQ(tokenizer_->Decode(tokenizer_->Encode(spaces, {}), true), spaces);
  EXPECT_GT(tokenizer_->Encode(std::string(size_t{1} << 20, 'a'), {}).size(), 1u);
}

}  // namespace
}  // namespace switchyard
