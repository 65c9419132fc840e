#include "engine/checkpoint/random_access_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tests/engine/checkpoint/checkpoint_files.h"

namespace switchyard {
namespace {

using ::testing::HasSubstr;

TEST(RandomAccessFile, ReadsAnyRange) {
  TemporaryDirectory directory;
  WriteBytes(directory.File("data"), "0123456789");
  const auto file = OpenPosixFile(directory.File("data"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->size(), 10);
  std::string out(4, '?');
  ASSERT_TRUE((*file)->ReadAt(3, std::as_writable_bytes(std::span(out))).ok());
  EXPECT_EQ(out, "3456");
}

TEST(RandomAccessFile, ReadPastTheEndNamesBothCounts) {
  TemporaryDirectory directory;
  WriteBytes(directory.File("data"), "0123456789");
  const auto file = OpenPosixFile(directory.File("data"));
  std::string out(8, '?');
  const absl::Status status = (*file)->ReadAt(5, std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("data: only 5 of 8 bytes could be read at offset 5"));
}

TEST(RandomAccessFile, WhatIsNoFileIsRefusedByName) {
  TemporaryDirectory directory;
  const auto missing = OpenPosixFile(directory.File("missing"));
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("/missing: No such file"));
  EXPECT_THAT(std::string(OpenPosixFile(directory.path()).status().message()), HasSubstr("not a regular file"));
  ASSERT_EQ(mkfifo(directory.File("pipe").c_str(), 0600), 0);
  EXPECT_THAT(std::string(OpenPosixFile(directory.File("pipe")).status().message()), HasSubstr("not a regular file"));
}

TEST(ReadFully, ContinuesAfterInterruptionsAndShortReads) {
  const std::string content = "0123456789";
  int calls = 0;
  const PreadFunction pread = [&](void* out, size_t bytes, int64_t offset) -> ssize_t {
    if (calls++ % 2 == 0) {
      errno = EINTR;
      return -1;
    }
    const size_t count = std::min<size_t>(bytes, 3);
    std::memcpy(out, content.data() + offset, count);
    return static_cast<ssize_t>(count);
  };
  std::string out(8, '?');
  ASSERT_TRUE(ReadFully("data", pread, 1, std::as_writable_bytes(std::span(out))).ok());
  EXPECT_EQ(out, "12345678");
  EXPECT_EQ(calls, 6);
}

TEST(ReadFully, FailureOfTheDeviceCarriesItsReason) {
  const PreadFunction pread = [](void*, size_t, int64_t) -> ssize_t {
    errno = EIO;
    return -1;
  };
  std::string out(8, '?');
  const absl::Status status = ReadFully("data", pread, 64, std::as_writable_bytes(std::span(out)));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("data: reading 8 bytes at offset 64 failed: Input/output error"));
}

}  // namespace
}  // namespace switchyard
