// The same inputs that the fuzzer starts from, and what it found.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/fuzz/http_request_input.h"

namespace switchyard {
namespace {

TEST(HttpRequest, SeedsOfTheFuzzerKeepItsPromises) {
  HttpRequestFuzzer fuzzer(SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral");
  int seeds = 0;
  for (const auto& seed :
       std::filesystem::directory_iterator(SWITCHYARD_SOURCE_DIR "/tests/fuzz/corpus/http_request")) {
    std::ifstream file(seed.path(), std::ios::binary);
    const std::string input((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    EXPECT_EQ(fuzzer.Check(input), "") << seed.path();
    ++seeds;
  }
  EXPECT_GE(seeds, 30);
}

}  // namespace
}  // namespace switchyard
