#include "engine/checkpoint/json_document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/engine/checkpoint/checkpoint_files.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

std::string Fault(const std::string& text) {
  return std::string(ParseJsonObject("config.json", text).status().message());
}

TEST(JsonDocument, ParsesAnObject) {
  const auto json = ParseJsonObject("config.json", R"({"a": {"x": 1}, "b": [{"x": 2}, {"x": 3}]})");
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ((*json)["b"][1]["x"], 3);
}

TEST(JsonDocument, NamesTheByteWhereItStopsBeingJson) {
  EXPECT_THAT(Fault(R"({"a": 1,})"), HasSubstr("config.json: not valid JSON at byte 9 of 9"));
  EXPECT_THAT(Fault(R"({"a": NaN})"), HasSubstr("not valid JSON at byte"));
  EXPECT_THAT(Fault(""), HasSubstr("of 0: empty"));
  EXPECT_THAT(Fault("{\"a\": \"\xff\"}"), HasSubstr("not valid JSON at byte"));
  EXPECT_THAT(Fault(std::string("{}\0{}", 5)), HasSubstr("byte 2: zero byte"));
  EXPECT_THAT(Fault(R"({"a": 1e999})"), HasSubstr("config.json: "));
}

TEST(JsonDocument, RefusesWhatIsNoObject) { EXPECT_THAT(Fault("[1]"), HasSubstr("must be a JSON object, not array")); }

TEST(JsonDocument, RefusesANameTwiceInOneObjectOnly) {
  EXPECT_THAT(Fault(R"({"b": {"a": 1, "c": 2, "a": 3}})"), HasSubstr("the name 'a' occurs 2 times"));
  EXPECT_TRUE(ParseJsonObject("config.json", R"({"a": {"a": 1}, "b": {"a": 1}})").ok());
}

TEST(JsonDocument, RefusesDeepNesting) {
  const std::string deep = "{\"a\": " + std::string(100'000, '[') + std::string(100'000, ']') + "}";
  EXPECT_THAT(Fault(deep), HasSubstr("nested more than 64 deep"));
  EXPECT_TRUE(ParseJsonObject("config.json", "{\"a\": " + std::string(60, '[') + std::string(60, ']') + "}").ok());
}

TEST(JsonDocument, RefusesAFileAboveItsLimitBeforeReadingIt) {
  TemporaryDirectory directory;
  WriteBytes(directory.File("config.json"), "{\"a\": 123456}");
  const auto json = ReadJsonFile(OpenPosixFile, directory.File("config.json"), 12);
  EXPECT_THAT(std::string(json.status().message()), HasSubstr("config.json: the file has 13 bytes; at most 12"));
  EXPECT_TRUE(ReadJsonFile(OpenPosixFile, directory.File("config.json"), 13).ok());
}

}  // namespace
}  // namespace switchyard
