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

}  // namespace
}  // namespace switchyard
