#include "engine/text/json_tokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/text/detokenizer.h"
#include "engine/text/utf8_assembler.h"
#include "tests/engine/text/text_fixtures.h"

namespace switchyard {
namespace {

using Ids = std::vector<int32_t>;

std::string GoldenDirectory(const std::string& variant) {
  return std::string(SWITCHYARD_SOURCE_DIR "/tests/golden/tokenizer_json/") + variant;
}

// transformers' fast tokenizers, whose ids tests/reference/make_tokenizer_json_goldens.py wrote.
class JsonTokenizerGolden : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<Tokenizer> tokenizer_ = OpenTokenizer(GoldenDirectory(GetParam()));
  nlohmann::json cases_ = ReadJsonFile(GoldenDirectory(GetParam()) + "/cases.json")["cases"];
};

TEST_P(JsonTokenizerGolden, EncodesAndDecodesAsHuggingFace) {
  ASSERT_GT(cases_.size(), 200u);
  for (const nlohmann::json& item : cases_) {
    const std::string text = item["text"];
    const Ids ids = item["ids"];
    EXPECT_EQ(tokenizer_->Encode(text, {.parse_special_tokens = true}), ids) << item["text"];
    EXPECT_EQ(tokenizer_->Encode(text, {}), item.value("plain_ids", ids)) << item["text"];
    const std::string decoded = item["decoded"];
    EXPECT_EQ(tokenizer_->Decode(ids, /*skip_special_tokens=*/true), decoded) << item["text"];
    EXPECT_EQ(tokenizer_->Decode(ids, /*skip_special_tokens=*/false), item.value("decoded_all", decoded));
  }
}

TEST_P(JsonTokenizerGolden, StreamsWhatItDecodesAtOnce) {
  for (const nlohmann::json& item : cases_) {
    const Ids ids = item["ids"];
    const size_t num_prompt = ids.size() / 3;
    Detokenizer detokenizer(tokenizer_.get(), Ids(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(num_prompt)),
                            /*skip_special_tokens=*/true);
    std::string streamed;
    for (size_t i = num_prompt; i < ids.size(); ++i) {
      const std::string part = detokenizer.Append(ids[i]);
      ASSERT_EQ(ToValidUtf8(part), part);
      streamed += part;
    }
    streamed += detokenizer.Finish();
    EXPECT_TRUE(item["decoded"].get<std::string>().ends_with(streamed)) << item["text"] << " / " << streamed;
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, JsonTokenizerGolden,
                         testing::Values("gpt2", "llama3", "qwen", "o200k", "deepseek", "neox", "mixtral", "metaspace",
                                         "gemma", "words", "splits"),
                         [](const auto& info) { return std::string(info.param); });

// A directory with the files of a golden variant and, of its own, tokenizer.model.
class BothFiles : public TokenizerDirectory {
 public:
  explicit BothFiles(const std::string& variant) {
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
      std::filesystem::copy(std::filesystem::path(GoldenDirectory(variant)) / file,
                            std::filesystem::path(path()) / file, std::filesystem::copy_options::overwrite_existing);
    }
  }
};

TEST(JsonTokenizer, TokenizerModelGoesFirstForLlamaAndTokenizerJsonOtherwise) {
  BothFiles mixtral("mixtral");
  EXPECT_EQ(OpenTokenizer(mixtral.path())->vocab_size(), 2048);  // of the bundled tokenizer.model
  mixtral.Remove("tokenizer.model");
  EXPECT_EQ(OpenTokenizer(mixtral.path())->vocab_size(), 700);
  BothFiles qwen("qwen");
  EXPECT_EQ(OpenTokenizer(qwen.path())->vocab_size(), 704);
  qwen.Remove("tokenizer_config.json");  // LLaMA's class, as in transformers
  EXPECT_EQ(OpenTokenizer(qwen.path())->vocab_size(), 2048);
}

TEST(JsonTokenizer, TheClassDecidesWhoAddsBosAndEos) {
  BothFiles directory("mixtral");
  directory.Remove("tokenizer.model");
  const Ids plain = OpenTokenizer(directory.path())->Encode("Hello", {.add_special_tokens = false});
  const auto encodes_to = [&](Ids prefix, const Ids& suffix) {
    prefix.insert(prefix.end(), plain.begin(), plain.end());
    prefix.insert(prefix.end(), suffix.begin(), suffix.end());
    EXPECT_EQ(OpenTokenizer(directory.path())->Encode("Hello", {}), prefix);
  };
  encodes_to({1}, {});
  directory.Patch({{"add_bos_token", false}, {"add_eos_token", true}});
  encodes_to({}, {2});
  directory.Patch({{"tokenizer_class", "PreTrainedTokenizerFast"}});  // looks at post_processor only
  encodes_to({1}, {});
  directory.Patch({{"tokenizer_class", "GPTNeoXTokenizer"}, {"add_bos_token", nullptr}});
  encodes_to({}, {2});
  directory.Remove("tokenizer_config.json");
  encodes_to({1}, {});
  EXPECT_FALSE(OpenTokenizer(directory.path())->eos_id() == std::nullopt);
}

TEST(JsonTokenizer, ABosThatIsWantedMustBeThere) {
  BothFiles directory("mixtral");
  directory.Remove("tokenizer.model");
  directory.Write("tokenizer_config.json", R"({"tokenizer_class": "LlamaTokenizer", "bos_token": null})");
  const auto tokenizer = Tokenizer::Open(directory.path());
  ASSERT_TRUE(absl::IsInvalidArgument(tokenizer.status()));
  EXPECT_NE(tokenizer.status().message().find("tokenizer_config.json: add_bos_token is true"), std::string::npos)
      << tokenizer.status();
}

TEST(JsonTokenizer, TheConfigAddsTokensAndReplacesTheirFlags) {
  BothFiles directory("qwen");
  EXPECT_FALSE(OpenTokenizer(directory.path())->IsSpecial(703));  // <tool_call>
  directory.Patch({{"added_tokens_decoder",
                    {{"703", {{"content", "<tool_call>"}, {"special", true}, {"normalized", false}}},
                     {"704", {{"content", "<new>"}, {"special", false}, {"normalized", false}}}}},
                   {"pad_token", "<pad>"}});
  const auto tokenizer = OpenTokenizer(directory.path());
  EXPECT_TRUE(tokenizer->IsSpecial(703));
  EXPECT_EQ(tokenizer->Encode("<new>", {}), Ids{704});
  EXPECT_EQ(tokenizer->Encode("<pad>", {.parse_special_tokens = true}), Ids{705});
  EXPECT_EQ(tokenizer->vocab_size(), 706);
}

TEST(JsonTokenizer, ADamagedFileIsNamed) {
  BothFiles directory("qwen");
  for (const std::string& content : {std::string(), std::string("{}"), std::string("version https://git-lfs")}) {
    directory.Write("tokenizer.json", content);
    const auto tokenizer = Tokenizer::Open(directory.path());
    ASSERT_TRUE(absl::IsInvalidArgument(tokenizer.status()));
    EXPECT_NE(tokenizer.status().message().find("tokenizer.json"), std::string::npos) << tokenizer.status();
  }
}

TEST(JsonTokenizer, IdsOutsideTheVocabularyAreNothing) {
  const auto tokenizer = OpenTokenizer(GoldenDirectory("qwen"));
  for (const int32_t id : {-1, 704, INT32_MAX, INT32_MIN}) {
    EXPECT_EQ(tokenizer->Piece(id), "");
    EXPECT_EQ(tokenizer->Bytes(id), "");
    EXPECT_EQ(tokenizer->FirstBytes(id), "");
    EXPECT_FALSE(tokenizer->IsSpecial(id));
  }
}

TEST(JsonTokenizer, HoldsHalfACharacterAndReplacesWhatStaysHalf) {
  const auto tokenizer = OpenTokenizer(GoldenDirectory("gpt2"));
  const Ids euro = tokenizer->Encode("\u20ac\u20ac", {});
  ASSERT_GE(euro.size(), 2u);  // bytes; the vocabulary has no such character
  Detokenizer detokenizer(tokenizer.get(), {}, true);
  std::string text;
  for (size_t i = 0; i + 1 < euro.size(); ++i) text += detokenizer.Append(euro[i]);
  EXPECT_EQ(text, "\u20ac");
  EXPECT_EQ(detokenizer.Finish(), "\uFFFD");  // one for two bytes, as in `tokenizers`
}

}  // namespace
}  // namespace switchyard
