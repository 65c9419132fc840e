#include "engine/text/tokenizer_json/pipeline.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "tests/engine/text/text_fixtures.h"

namespace switchyard::tokenizer_json {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

// Tokens a, b, ab, "▁" and "▁a" and nothing around the model.
json Small() {
  return json::parse(R"({
    "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "▁": 3, "▁a": 4, "<unk>": 5},
              "merges": [["a", "b"], "▁ a"]}})");
}

absl::StatusOr<std::unique_ptr<Pipeline>> Parse(const json& file) {
  return Pipeline::Parse("dir/tokenizer.json", file.dump(), {});
}

Ids Encode(const json& file, const std::string& text, bool parse_special = true) {
  const auto pipeline = Parse(file);
  if (!pipeline.ok()) throw std::runtime_error(pipeline.status().ToString());
  return (*pipeline)->Encode(text, parse_special);
}

void ExpectFault(const json& file, absl::StatusCode code, const std::string& part) {
  const auto pipeline = Parse(file);
  ASSERT_FALSE(pipeline.ok()) << file;
  EXPECT_EQ(pipeline.status().code(), code) << pipeline.status();
  EXPECT_NE(pipeline.status().message().find("dir/tokenizer.json"), std::string::npos) << pipeline.status();
  EXPECT_NE(pipeline.status().message().find(part), std::string::npos) << pipeline.status();
}

TEST(Pipeline, MergesByRankAndTheLeftmostFirst) {
  EXPECT_EQ(Encode(Small(), "abab"), (Ids{2, 2}));
  EXPECT_EQ(Encode(Small(), "▁ab"), (Ids{3, 2}));
  EXPECT_EQ(Encode(Small(), "▁aab"), (Ids{4, 2}));
  EXPECT_EQ(Encode(Small(), ""), Ids{});
}

TEST(Pipeline, UnknownCharactersAreLostFusedOrCounted) {
  json file = Small();
  EXPECT_EQ(Encode(file, "axyb"), (Ids{2}));
  file["model"]["unk_token"] = "<unk>";
  EXPECT_EQ(Encode(file, "axyb"), (Ids{0, 5, 5, 1}));
  file["model"]["fuse_unk"] = true;
  EXPECT_EQ(Encode(file, "axyb"), (Ids{0, 5, 1}));
}

TEST(Pipeline, AFileWithoutATypeOfModelIsBpe) {
  json file = Small();
  file["model"].erase("type");
  EXPECT_EQ(Encode(file, "ab"), Ids{2});
}

TEST(Pipeline, SpecialTokensStayTextOnDemandAndOtherAddedTokensDoNot) {
  json file = Small();
  file["added_tokens"] = {{{"id", 6}, {"content", "<s>"}, {"special", true}}, {{"id", 7}, {"content", "<t>"}}};
  file["model"]["unk_token"] = "<unk>";
  EXPECT_EQ(Encode(file, "a<s><t>"), (Ids{0, 6, 7}));
  EXPECT_EQ(Encode(file, "a<s><t>", false), (Ids{0, 5, 5, 5, 7}));
}

TEST(Pipeline, WhatIsNotSupportedIsNamedWithItsPlace) {
  const std::vector<std::tuple<const char*, const char*, const char*>> changes = {
      {"/model/type", "\"Unigram\"", "model: the model 'Unigram' is not supported; those of type BPE are"},
      {"/model/type", "\"WordPiece\"", "WordPiece"},
      {"/model/dropout", "0.1", "model: dropout"},
      {"/normalizer", R"({"type": "Nmt"})", "normalizer: the normalizer 'Nmt' is not supported"},
      {"/normalizer", R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Precompiled"}]})",
       "normalizer.normalizers[1]: the normalizer 'Precompiled'"},
      {"/normalizer", R"({"type": "Replace", "pattern": {"Regex": "(?<x>a"}, "content": ""})", "normalizer: pattern"},
      {"/pre_tokenizer", R"({"type": "UnicodeScripts"})", "pre_tokenizer: the pre-tokenizer 'UnicodeScripts'"},
      {"/pre_tokenizer", R"({"type": "Split", "pattern": {"Regex": "\\G"}, "behavior": "Isolated"})", "\\G at byte 0"},
      {"/post_processor", R"({"type": "Other"})", "post_processor: the post-processor 'Other'"},
      {"/post_processor", R"({"type": "TemplateProcessing", "single": []})", "has the text 0 times"},
      {"/decoder", R"({"type": "WordPiece"})", "decoder: the decoder 'WordPiece'"},
      {"/decoder", R"({"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "Metaspace", "replacement": "_"}]})",
       "decoder.decoders[1]: 'Metaspace' stands behind"},
  };
  for (const auto& [pointer, value, part] : changes) {
    json file = Small();
    file[json::json_pointer(pointer)] = json::parse(value);
    ExpectFault(file, absl::StatusCode::kUnimplemented, part);
  }
}

TEST(Pipeline, DamageIsNamedWithItsPlace) {
  const std::vector<std::tuple<const char*, const char*, const char*>> changes = {
      {"/model", "[]", "model: must be an object"},
      {"/model/vocab", "null", "model: vocab must be an object"},
      {"/model/vocab/a", "-1", "'a' has id -1"},
      {"/model/vocab/a", "16777216", "has id 16777216, outside [0, 16777216)"},
      {"/model/vocab/a", "1.5", "has id 1.5"},
      {"/model/vocab/a", "1", "both have id 1"},
      {"/model/merges", "{}", "model: merges must be a list"},
      {"/model/merges/0", "\"a b c\"", "model.merges[0]"},
      {"/model/merges/0", R"(["a"])", "model.merges[0]"},
      {"/model/merges/0", R"(["b", "a"])", "not in vocab"},
      {"/model/unk_token", "\"<none>\"", "unk_token '<none>' is not in vocab"},
      {"/model/byte_fallback", "1", "byte_fallback is 1; it must be true or false"},
      {"/added_tokens", "{}", "added_tokens must be a list"},
      {"/added_tokens", "[5]", "added_tokens[0]: must be an object"},
      {"/added_tokens", "[{}]", "added_tokens[0]: content is missing"},
      {"/added_tokens", R"([{"content": "x", "special": "no"}])", "special is \"no\""},
      {"/normalizer", "5", "normalizer: must be an object or null"},
      {"/normalizer", "{}", "normalizer: type is missing"},
      {"/normalizer", R"({"type": "Sequence"})", "normalizers must be a list"},
      {"/normalizer", R"({"type": "Prepend"})", "prepend is missing"},
      {"/normalizer", R"({"type": "Replace", "pattern": {"String": ""}, "content": ""})", "pattern must be"},
      {"/normalizer", R"({"type": "Replace", "pattern": {"Regex": "("}, "content": ""})", "no regular expression"},
      {"/pre_tokenizer", R"({"type": "Metaspace", "replacement": "ab"})", "replacement must be a string of one"},
      {"/pre_tokenizer", R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "x"})", "prepend_scheme must"},
      {"/pre_tokenizer", R"({"type": "Split", "pattern": {"String": "a"}, "behavior": "x"})", "behavior must be"},
      {"/post_processor", R"({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B"}}]})", "single has"},
      {"/post_processor", R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}]})", "lacks"},
      {"/post_processor", R"({"type": "BertProcessing", "cls": ["a", 99], "sep": ["a", 0]})", "has id 99, outside"},
      {"/decoder", R"({"type": "Strip", "content": " ", "start": -1, "stop": 0})", "start is -1"},
  };
  for (const auto& [pointer, value, part] : changes) {
    json file = Small();
    file[json::json_pointer(pointer)] = json::parse(value);
    ExpectFault(file, absl::StatusCode::kInvalidArgument, part);
  }
  for (const std::string& text : {std::string(), std::string("["), std::string("[]"), std::string("{}"),
                                  std::string(1000, '['), std::string(R"({"model": 1, "model": 2})")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(Pipeline::Parse("x", text, {}).status())) << text;
  }
}

TEST(Pipeline, DeepAndLongSequencesAreRefused) {
  json many = {{"type", "Sequence"}, {"normalizers", json::array()}};
  for (int i = 0; i < 100; ++i) many["normalizers"].push_back({{"type", "NFC"}});
  json file = Small();
  file["normalizer"] = many;
  ExpectFault(file, absl::StatusCode::kInvalidArgument, "more than 64 components");
  json deep = {{"type", "NFC"}};
  for (int i = 0; i < 40; ++i) deep = {{"type", "Sequence"}, {"normalizers", {deep}}};
  file["normalizer"] = deep;
  ExpectFault(file, absl::StatusCode::kInvalidArgument, "nested more than 64 deep");
}

// Any bytes of a good file changed: an error that says something, or a tokenizer that works.
TEST(Pipeline, ADamagedFileIsRefusedOrUsable) {
  std::ifstream stream(SWITCHYARD_SOURCE_DIR "/tests/golden/tokenizer_json/gemma/tokenizer.json");
  const std::string intact{std::istreambuf_iterator<char>(stream), {}};
  ASSERT_GT(intact.size(), 1000u);
  std::mt19937 rng(11);
  int num_usable = 0;
  for (int trial = 0; trial < 200; ++trial) {
    std::string damaged = intact;
    for (int n = 1 + rng() % 3; n > 0; --n) damaged[rng() % damaged.size()] = static_cast<char>(' ' + rng() % 95);
    if (trial % 10 == 0) damaged.resize(rng() % damaged.size());
    const auto pipeline = Pipeline::Parse("x", damaged, {});
    if (!pipeline.ok()) {
      EXPECT_FALSE(pipeline.status().message().empty());
      continue;
    }
    ++num_usable;
    for (const int32_t id : (*pipeline)->Encode("In the beginning, 東京\n [INST] x", true)) {
      ASSERT_GE(id, 0);
      ASSERT_LT(static_cast<size_t>(id), (*pipeline)->tokens().size());
    }
  }
  EXPECT_GT(num_usable, 5);
}

TEST(Pipeline, LongTextsTakeTheirTimeOnly) {
  for (const char* variant : {"mixtral", "qwen", "deepseek", "o200k", "neox"}) {
    std::ifstream stream(std::string(SWITCHYARD_SOURCE_DIR "/tests/golden/tokenizer_json/") + variant +
                         "/tokenizer.json");
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    const auto pipeline = Pipeline::Parse(variant, text, {});
    ASSERT_TRUE(pipeline.ok()) << pipeline.status();
    for (const char* unit : {" ", "a", "\n", "é", "'", "1", " x", "<|im_", "\u0301", "  \n"}) {
      std::string many;
      while (many.size() < 100'000) many += unit;
      EXPECT_FALSE((*pipeline)->Encode(many + "a", true).empty());
    }
  }
}

}  // namespace
}  // namespace switchyard::tokenizer_json
