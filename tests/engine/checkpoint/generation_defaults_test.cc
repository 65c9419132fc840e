#include "engine/checkpoint/generation_defaults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace switchyard {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

absl::StatusOr<GenerationDefaults> Parse(const std::string& config, std::vector<std::string>& warnings) {
  return ParseGenerationConfig("generation_config.json", nlohmann::json::parse(config), 100, warnings);
}

std::string Fault(const std::string& config) {
  std::vector<std::string> warnings;
  return std::string(Parse(config, warnings).status().message());
}

TEST(GenerationDefaults, ReadsEverySettingThatIsThere) {
  std::vector<std::string> warnings;
  const auto defaults = Parse(R"({"bos_token_id": 1, "eos_token_id": [2, 7, 2], "temperature": 0.6, "top_p": 0.9,
                                  "top_k": 50, "repetition_penalty": 1.1, "do_sample": true,
                                  "transformers_version": "4.36.0"})",
                              warnings);
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_THAT(defaults->eos_token_ids, ElementsAre(2, 7));
  EXPECT_FLOAT_EQ(*defaults->temperature, 0.6f);
  EXPECT_FLOAT_EQ(*defaults->top_p, 0.9f);
  EXPECT_EQ(*defaults->top_k, 50);
  EXPECT_FLOAT_EQ(*defaults->repetition_penalty, 1.1f);
  EXPECT_THAT(warnings, IsEmpty());
}

TEST(GenerationDefaults, AbsentAndNullStayAbsent) {
  std::vector<std::string> warnings;
  const auto defaults = Parse(R"({"eos_token_id": null, "temperature": null})", warnings);
  ASSERT_TRUE(defaults.ok()) << defaults.status();
  EXPECT_THAT(defaults->eos_token_ids, IsEmpty());
  EXPECT_FALSE(defaults->temperature || defaults->top_p || defaults->top_k || defaults->repetition_penalty);
}

TEST(GenerationDefaults, FaultsNameFieldValueAndLimit) {
  EXPECT_THAT(Fault(R"({"eos_token_id": 100})"),
              HasSubstr("generation_config.json: eos_token_id is 100; it must be at most 99"));
  EXPECT_THAT(Fault(R"({"eos_token_id": [2, -1]})"), HasSubstr("eos_token_id is -1; it must be at least 0"));
  EXPECT_THAT(Fault(R"({"eos_token_id": "</s>"})"), HasSubstr("eos_token_id is \"</s>\"; it must be a whole number"));
  EXPECT_THAT(Fault(R"({"temperature": -0.5})"), HasSubstr("temperature is -0.5; it must be a number of at least 0"));
  EXPECT_THAT(Fault(R"({"top_p": 1.5})"), HasSubstr("top_p is 1.5; it must be a number greater than 0 and at most 1"));
  EXPECT_THAT(Fault(R"({"top_k": 2.5})"), HasSubstr("top_k is 2.5; it must be a whole number"));
  EXPECT_THAT(Fault(R"({"repetition_penalty": 0})"), HasSubstr("repetition_penalty is 0; it must be a number greater"));
}

TEST(GenerationDefaults, SettingsThatAreNotHonouredAreNamed) {
  std::vector<std::string> warnings;
  ASSERT_TRUE(Parse(R"({"typical_p": 0.9, "num_beams": null})", warnings).ok());
  ASSERT_THAT(warnings, SizeIs(1));
  EXPECT_THAT(warnings[0], HasSubstr("generation_config.json: \"typical_p\" is not supported"));
}

}  // namespace
}  // namespace switchyard
