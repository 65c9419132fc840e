#include "server/commands/progress_line.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1000);

ProgressReport Loading(int64_t shard, int64_t bytes_done) {
  return {.what = "loading",
          .shard = shard,
          .num_shards = 19,
          .shard_path = "/models/m/model-000" + std::to_string(shard + 1) + ".safetensors",
          .bytes_done = bytes_done,
          .bytes_total = 96'800'000'000};
}

TEST(ProgressText, HasFileBytesRateAndTimeLeft) {
  ProgressText text;
  EXPECT_EQ(text.Next(Loading(0, 400'000'000), kStart, true), "loading 1/19 model-0001.safetensors  0.400 of 96.8 GB");
  // 12 GB in 6 seconds: what came before the first report does not count for the rate.
  EXPECT_EQ(text.Next(Loading(2, 12'400'000'000), kStart + absl::Seconds(6), true),
            "loading 3/19 model-0003.safetensors  12.4 of 96.8 GB  2.00 GB/s  ETA 43 s");
}

TEST(ProgressText, OnATerminalAtMostTenLinesASecond) {
  ProgressText text;
  int lines = 0;
  for (int i = 0; i < 1000; ++i) lines += !text.Next(Loading(i, i), kStart + absl::Milliseconds(i), true).empty();
  EXPECT_EQ(lines, 10);
}

TEST(ProgressText, ElsewhereOneLineForEachFileAndEveryTenSeconds) {
  ProgressText text;
  int lines = 0;
  for (int i = 0; i < 1000; ++i) {
    lines += !text.Next(Loading(i / 250, i), kStart + absl::Milliseconds(i), false).empty();
  }
  EXPECT_EQ(lines, 4);
  EXPECT_EQ(text.Next(Loading(3, 1000), kStart + absl::Seconds(10), false), "");
  EXPECT_NE(text.Next(Loading(3, 1000), kStart + absl::Seconds(11), false), "");
}

TEST(ProgressText, AnotherPhaseCountsAnew) {
  ProgressText text;
  EXPECT_EQ(text.Next({.what = "connect"}, kStart, true), "connect ...");
  EXPECT_EQ(text.Next(Loading(0, 0), kStart + absl::Milliseconds(1), true),
            "loading 1/19 model-0001.safetensors  0.000 of 96.8 GB");
  EXPECT_EQ(text.Next(Loading(0, 1'000'000'000), kStart + absl::Milliseconds(501), true),
            "loading 1/19 model-0001.safetensors  1.0 of 96.8 GB  2.00 GB/s  ETA 48 s");
}

}  // namespace
}  // namespace switchyard
