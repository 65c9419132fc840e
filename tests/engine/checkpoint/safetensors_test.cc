#include "engine/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/engine/checkpoint/checkpoint_files.h"
#include "tests/fuzz/safetensors_header_input.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

absl::StatusOr<SafetensorsHeader> Parse(const std::string& json, int64_t data_bytes) {
  return ParseSafetensorsHeader("a.safetensors", json, 8 + static_cast<int64_t>(json.size()) + data_bytes);
}

TEST(SafetensorsHeader, ListsTensorsInTheOrderOfTheirBytes) {
  const std::string json = R"({"__metadata__": {"format": "pt"},
      "second": {"dtype": "F32", "shape": [], "data_offsets": [12, 16]},
      "first": {"shape": [2, 3], "data_offsets": [0, 12], "dtype": "BF16"},
      "empty": {"dtype": "I64", "shape": [0, 7], "data_offsets": [16, 16]}}   )";
  const auto header = Parse(json, 16);
  ASSERT_TRUE(header.ok()) << header.status();
  ASSERT_THAT(header->tensors, SizeIs(3));
  const auto data_begin = static_cast<int64_t>(8 + json.size());
  EXPECT_EQ(header->tensors[0].name, "first");
  EXPECT_EQ(header->tensors[0].dtype, "BF16");
  EXPECT_THAT(header->tensors[0].shape, ElementsAre(2, 3));
  EXPECT_EQ(header->tensors[0].begin, data_begin);
  EXPECT_EQ(header->tensors[0].end, data_begin + 12);
  EXPECT_EQ(header->tensors[1].name, "second");
  EXPECT_THAT(header->tensors[1].shape, IsEmpty());
  EXPECT_EQ(header->tensors[2].begin, data_begin + 16);
}

TEST(SafetensorsHeader, KnowsEveryElementTypeOfTheFormat) {
  const std::vector<std::pair<std::string, int>> bytes_of_8 = {
      {"BOOL", 8},    {"U8", 8},      {"I8", 8},   {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F4", 4},
      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"I16", 16}, {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},
      {"U32", 32},    {"F32", 32},    {"F64", 64}, {"I64", 64},    {"U64", 64},    {"C64", 64}};
  for (const auto& [dtype, bytes] : bytes_of_8) {
    const std::string json =
        R"({"t": {"dtype": ")" + dtype + R"(", "shape": [8], "data_offsets": [0, )" + std::to_string(bytes) + "]}}";
    EXPECT_TRUE(Parse(json, bytes).ok()) << Parse(json, bytes).status();
  }
}

TEST(SafetensorsHeader, FileWithoutTensorsIsWellFormed) {
  EXPECT_TRUE(Parse("{}", 0).ok());
  EXPECT_TRUE(Parse(R"({"__metadata__": {}})", 0).ok());
}

TEST(SafetensorsHeader, SizeIsBoundedByTheFormatAndTheFile) {
  const auto bytes_of = [](uint64_t claimed, int64_t file_size) {
    std::array<std::byte, 8> prefix;
    for (int i = 0; i < 8; ++i) prefix[i] = static_cast<std::byte>(claimed >> (8 * i));
    return SafetensorsHeaderBytes("a.safetensors", prefix, file_size);
  };
  EXPECT_EQ(*bytes_of(0x0102, 10000), 0x0102);
  EXPECT_EQ(*bytes_of(92, 100), 92);
  EXPECT_THAT(std::string(bytes_of(93, 100).status().message()),
              AllOf(HasSubstr("a.safetensors: the header claims 93 bytes"), HasSubstr("only 92")));
  EXPECT_THAT(std::string(bytes_of(100'000'001, int64_t{1} << 40).status().message()),
              AllOf(HasSubstr("claims 100000001"), HasSubstr("allows 100000000")));
  EXPECT_THAT(std::string(bytes_of(~uint64_t{0}, 100).status().message()), HasSubstr("claims 18446744073709551615"));
  EXPECT_THAT(std::string(SafetensorsHeaderBytes("a.safetensors", {}, 0).status().message()),
              AllOf(HasSubstr("has 0 bytes"), HasSubstr("at least 8")));
}

struct MalformedHeader {
  std::string name;
  std::string json;
  std::vector<std::string> named;
};

void PrintTo(const MalformedHeader& kind, std::ostream* out) { *out << kind.name; }

class MalformedHeaderTest : public ::testing::TestWithParam<MalformedHeader> {};

// Every header is checked against a data section of 16 bytes.
TEST_P(MalformedHeaderTest, IsRefusedByName) {
  const absl::Status status = Parse(GetParam().json, 16).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  const std::string message(status.message());
  EXPECT_THAT(message, ::testing::StartsWith("a.safetensors: "));
  for (const std::string& part : GetParam().named) EXPECT_THAT(message, HasSubstr(part));
}

std::string Tensor(const std::string& fields) { return R"({"t": {)" + fields + "}}"; }

const MalformedHeader kKinds[] = {
    {"Empty", "", {"header of 0 bytes", "'{'"}},
    {"NotJson", "{\"t\": ", {"not valid JSON at byte 7"}},
    {"NotObject", "[1, 2]", {"must begin with '{'"}},
    {"ByteOrderMark", "\xEF\xBB\xBF{}", {"must begin with '{'"}},
    {"TrailingBytes", "{} {}", {"not valid JSON at byte 4"}},
    {"ZeroByte", std::string("{}\0\0", 4), {"byte 2: zero byte"}},
    {"NotUtf8", "{\"\xff\": {}}", {"not valid JSON at byte"}},
    {"NotANumber", Tensor(R"("shape": [NaN])"), {"not valid JSON at byte"}},
    {"NumberTooLargeForDouble", Tensor(R"("shape": [1e999])"), {"not valid JSON at byte"}},
    {"TensorIsNull", R"({"t": null})", {"'t' must not be null"}},
    {"TensorIsNumber", R"({"t": -4})", {"'t' must not be -4"}},
    {"TensorIsString", R"({"t": "x"})", {"'t' must not be 'x'"}},
    {"TensorIsArray", R"({"t": [1]})", {"'t' must not be an array"}},
    {"MetadataIsNested", R"({"__metadata__": {"a": {"b": "c"}}})", {"__metadata__ 'a' must not be an object"}},
    {"MetadataIsNumber", R"({"__metadata__": {"a": 1}})", {"__metadata__ 'a' must not be 1"}},
    {"DTypeMissing", Tensor(R"("shape": [4], "data_offsets": [0, 16])"), {"tensor 't': dtype is missing"}},
    {"ShapeMissing", Tensor(R"("dtype": "F32", "data_offsets": [0, 16])"), {"tensor 't': shape is missing"}},
    {"OffsetsMissing", Tensor(R"("dtype": "F32", "shape": [4])"), {"tensor 't': data_offsets is missing"}},
    {"DTypeUnknown",
     Tensor(R"("dtype": "F33", "shape": [4], "data_offsets": [0, 16])"),
     {"'t'", "unknown dtype 'F33'"}},
    {"DTypeIsNumber", Tensor(R"("dtype": 32)"), {"tensor 't': dtype must not be 32"}},
    {"ShapeIsString", Tensor(R"("shape": "4")"), {"tensor 't': shape must not be '4'"}},
    {"ShapeIsNested", Tensor(R"("shape": [[4]])"), {"tensor 't': shape[0] must not be an array"}},
    {"ShapeNegative", Tensor(R"("shape": [2, -4])"), {"tensor 't': shape[1] is -4", "at least 0"}},
    {"ShapeFraction", Tensor(R"("shape": [4.0])"), {"tensor 't': shape[0] is '4.0'", "whole number"}},
    {"ShapeAbove64Bits", Tensor(R"("shape": [18446744073709551616])"), {"'18446744073709551616'", "below 2^64"}},
    {"ShapeOfManyDimensions", Tensor("\"shape\": [1" + std::string(80, ',') + "1]"), {"not valid JSON"}},
    {"RankAboveLimit",
     Tensor(R"("shape": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1])"),
     {"tensor 't'", "more than 32 numbers"}},
    {"UnknownField", Tensor(R"("stride": [1])"), {"tensor 't': unknown field 'stride'"}},
    {"FieldTwice", Tensor(R"("shape": [4], "shape": [4])"), {"tensor 't'", "'shape' occurs 2 times", "1 is allowed"}},
    {"TensorTwice",
     R"({"t": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
         "t": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}})",
     {"'t' occurs 2 times", "1 is allowed"}},
    {"OneOffset", Tensor(R"("dtype": "F32", "shape": [4], "data_offsets": [16])"), {"has 1 numbers", "must have 2"}},
    {"ThreeOffsets", Tensor(R"("dtype": "F32", "shape": [4], "data_offsets": [0, 16, 32])"), {"more than 2 numbers"}},
    {"BeginAfterEnd", Tensor(R"("dtype": "F32", "shape": [4], "data_offsets": [16, 0])"), {"'t'", "begin 16", "end 0"}},
    {"EndBeyondFile",
     Tensor(R"("dtype": "F32", "shape": [5], "data_offsets": [0, 20])"),
     {"'t'", "end 20", "data section of 16 bytes"}},
    {"EndAbove63Bits",
     Tensor(R"("dtype": "F32", "shape": [5], "data_offsets": [0, 18446744073709551615])"),
     {"'t'", "end 18446744073709551615", "16 bytes"}},
    {"ProductOverflows",
     Tensor(R"("dtype": "F32", "shape": [4294967296, 4294967296, 4], "data_offsets": [0, 16])"),
     {"'t'", "[4294967296, 4294967296, 4] of 32 bits", "overflows"}},
    {"ProductWrapsToTheRightSize",
     Tensor(R"("dtype": "U8", "shape": [4294967296, 4294967296, 16], "data_offsets": [0, 16])"),
     {"'t'", "overflows"}},
    {"ShapeDisagreesWithBytes",
     Tensor(R"("dtype": "F32", "shape": [3], "data_offsets": [0, 16])"),
     {"'t'", "hold 16 bytes", "shape [3] of F32 needs 12"}},
    {"HalfAByte",
     Tensor(R"("dtype": "F4", "shape": [31], "data_offsets": [0, 16])"),
     {"'t'", "no whole number of bytes"}},
    {"ExtentAbove63BitsOfNothing",
     Tensor(R"("dtype": "U8", "shape": [0, 18446744073709551615], "data_offsets": [0, 0])"),
     {"'t'", "extent 18446744073709551615"}},
    {"HoleAtTheBegin",
     Tensor(R"("dtype": "F32", "shape": [3], "data_offsets": [4, 16])"),
     {"'t'", "begin at 4", "hole from 0"}},
    {"HoleBetween",
     R"({"a": {"dtype": "U8", "shape": [6], "data_offsets": [0, 6]},
         "b": {"dtype": "U8", "shape": [8], "data_offsets": [8, 16]}})",
     {"tensor 'b'", "begin at 8", "hole from 6"}},
    {"Overlap",
     R"({"a": {"dtype": "U8", "shape": [10], "data_offsets": [0, 10]},
         "b": {"dtype": "U8", "shape": [8], "data_offsets": [8, 16]}})",
     {"tensor 'b'", "begin at 8", "overlaps it up to 10"}},
    {"BytesAfterTheLast",
     Tensor(R"("dtype": "U8", "shape": [12], "data_offsets": [0, 12])"),
     {"cover 12 bytes", "has 16"}},
    {"DataWithoutTensors", "{}", {"cover 0 bytes", "has 16"}},
};

INSTANTIATE_TEST_SUITE_P(Kinds, MalformedHeaderTest, ::testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

TEST(SafetensorsHeader, NamesAreEscapedAndCutInMessages) {
  const absl::Status status = Parse(R"({"a\u0007\n)" + std::string(1000, 'x') + R"(": 1})", 0).status();
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(R"('a\x07\nxxx)"), HasSubstr("...'")));
  EXPECT_LT(status.message().size(), 300u);
}

TEST(SafetensorsHeader, DeepNestingNeitherRecursesNorAllocates) {
  EXPECT_FALSE(Parse("{\"t\": " + std::string(1'000'000, '['), 0).ok());
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += R"({"a":)";
  EXPECT_FALSE(Parse(objects, 0).ok());
}

// The same inputs that the fuzzer starts from; it also adds what it finds here.
TEST(SafetensorsHeader, SeedsOfTheFuzzerKeepItsPromises) {
  int seeds = 0;
  for (const auto& seed :
       std::filesystem::directory_iterator(SWITCHYARD_SOURCE_DIR "/tests/fuzz/corpus/safetensors_header")) {
    const std::string input = ReadBytes(seed.path());
    EXPECT_EQ(CheckSafetensorsHeaderInput(std::as_bytes(std::span(input))), "") << seed.path();
    ++seeds;
  }
  EXPECT_GE(seeds, 20);
}

}  // namespace
}  // namespace switchyard
