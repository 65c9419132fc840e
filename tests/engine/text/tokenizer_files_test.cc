// Directories whose tokenizer files are absent, damaged, or unusual.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"
#include "tests/engine/text/text_fixtures.h"

namespace switchyard {
namespace {

using Ids = std::vector<int32_t>;

void ExpectFault(const TokenizerDirectory& directory, absl::StatusCode code, const std::string& part) {
  const auto tokenizer = Tokenizer::Open(directory.path());
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_EQ(tokenizer.status().code(), code) << tokenizer.status();
  EXPECT_NE(tokenizer.status().ToString().find(part), std::string::npos) << tokenizer.status();
}

std::string ModelBytes() {
  std::ifstream file(BundledModel() + "/tokenizer.model", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(TokenizerFiles, NotFoundWithoutATokenizer) {
  TokenizerDirectory directory;
  directory.Remove("tokenizer.model");
  ExpectFault(directory, absl::StatusCode::kNotFound, "tokenizer.model");
}

TEST(TokenizerFiles, AModelThatIsNoneIsNamed) {
  TokenizerDirectory directory;
  for (const std::string& content :
       {std::string(), std::string("version https://git-lfs.github.com/spec/v1\n"), std::string(4096, '\xFF'),
        std::string(4096, '\0'), ModelBytes().substr(0, 20000)}) {
    directory.Write("tokenizer.model", content);
    ExpectFault(directory, absl::StatusCode::kInvalidArgument, "tokenizer.model");
  }
}

TEST(TokenizerFiles, ADamagedModelIsRefusedOrUsable) {
  TokenizerDirectory directory;
  const std::string intact = ModelBytes();
  std::mt19937 rng(17);
  int num_refused = 0;
  for (int trial = 0; trial < 150; ++trial) {
    std::string damaged = intact;
    for (int n = 1 + rng() % 8; n > 0; --n) damaged[rng() % damaged.size()] = static_cast<char>(rng());
    directory.Write("tokenizer.model", damaged);
    const auto tokenizer = Tokenizer::Open(directory.path());
    if (!tokenizer.ok()) {
      ++num_refused;
      EXPECT_NE(tokenizer.status().message().find("tokenizer"), std::string::npos);
      continue;
    }
    const Ids ids = (*tokenizer)->Encode("In the beginning, 東京\n", {});
    (*tokenizer)->Decode(ids, false);
  }
  EXPECT_GT(num_refused, 10);
}

TEST(TokenizerFiles, FaultsInTheConfigNameFileAndField) {
  const std::vector<std::pair<std::string, std::string>> faults = {
      {"{", "tokenizer_config.json"},
      {"[]", "must be a JSON object"},
      {R"({"add_bos_token": "yes"})", "add_bos_token must be true or false"},
      {R"({"legacy": 1})", "legacy must be true or false"},
      {R"({"bos_token": 1})", "bos_token must be a string"},
      {R"({"bos_token": "<nowhere>"})", "bos_token '<nowhere>'"},
      {R"({"added_tokens_decoder": []})", "added_tokens_decoder must be an object"},
      {R"({"added_tokens_decoder": {"x": {}}})", "the key must be a token id"},
      {R"({"added_tokens_decoder": {"-1": {"content": "a"}}})", "has id -1"},
      {R"({"added_tokens_decoder": {"999999999999": {"content": "a"}}})", "has id 999999999999"},
      {R"({"added_tokens_decoder": {"5": {}}})", "content must be a string that is not empty"},
      {R"({"added_tokens_decoder": {"5": {"content": 3}}})", "content must be a string"},
      {R"({"added_tokens_decoder": {"5": {"content": "a", "special": "no"}}})", "special must be true or false"},
      {R"({"chat_template": 5})", "chat_template must be"},
      {"{\"bos_token\": \"\xFF\"}", "tokenizer_config.json"},
  };
  TokenizerDirectory directory;
  for (const auto& [content, part] : faults) {
    directory.Write("tokenizer_config.json", content);
    ExpectFault(directory, absl::StatusCode::kInvalidArgument, part);
    ExpectFault(directory, absl::StatusCode::kInvalidArgument, "tokenizer_config.json");
  }
}

TEST(TokenizerFiles, AnotherTokenizerClassIsRefusedByName) {
  TokenizerDirectory directory;
  directory.Patch({{"tokenizer_class", "T5Tokenizer"}});
  ExpectFault(directory, absl::StatusCode::kUnimplemented, "T5Tokenizer");
}

TEST(TokenizerFiles, DefaultsAreHuggingFacesWithoutAConfig) {
  TokenizerDirectory directory;
  directory.Remove("tokenizer_config.json");
  const auto tokenizer = OpenTokenizer(directory.path());
  EXPECT_EQ(tokenizer->Encode("Hello", {}), OpenTokenizer(BundledModel())->Encode("Hello", {}));
  EXPECT_EQ(tokenizer->eos_id(), 2);
}

TEST(TokenizerFiles, NullTokensAreNone) {
  TokenizerDirectory directory;
  nlohmann::json config = directory.Config();
  config["bos_token"] = nullptr;
  directory.Write("tokenizer_config.json", config.dump());
  const auto tokenizer = OpenTokenizer(directory.path());
  EXPECT_FALSE(tokenizer->bos_id().has_value());
  EXPECT_NE(tokenizer->Encode("Hello", {}).at(0), 1);
}

TEST(TokenizerFiles, AddedTokensExtendTheVocabulary) {
  TokenizerDirectory directory;
  nlohmann::json config = directory.Config();
  config.erase("added_tokens_decoder");
  directory.Write("tokenizer_config.json", config.dump());
  directory.Write("added_tokens.json", R"({"<pad>": 2050})");
  const auto tokenizer = OpenTokenizer(directory.path());
  EXPECT_EQ(tokenizer->vocab_size(), 2051);
  EXPECT_EQ(tokenizer->Piece(2049), "");  // between the model's and the added
  EXPECT_EQ(tokenizer->Encode("<pad>", {.add_special_tokens = false, .parse_special_tokens = true}), Ids{2050});
  EXPECT_EQ(tokenizer->Decode(Ids{2050}, false), "<pad>");
}

TEST(TokenizerFiles, AFileThatIsADirectoryIsNoCrash) {
  TokenizerDirectory directory;
  directory.Remove("tokenizer_config.json");
  std::filesystem::create_directory(directory.path() + "/tokenizer_config.json");
  EXPECT_FALSE(Tokenizer::Open(directory.path()).ok());
}

}  // namespace
}  // namespace switchyard
