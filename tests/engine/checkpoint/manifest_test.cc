#include "engine/checkpoint/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/engine/checkpoint/checkpoint_files.h"

namespace switchyard {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }
std::string ShaOf(const std::string& text) { return Sha256Of(Bytes(text)); }

// FIPS 180-4's examples.
TEST(Sha256, HasTheDigestsOfTheStandard) {
  EXPECT_EQ(ShaOf("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(ShaOf(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 pieces;
  pieces.Add(Bytes("a"));
  pieces.Add(Bytes("bc"));
  EXPECT_EQ(pieces.Finish(), ShaOf("abc"));
}

TEST(Manifest, ReadsBackWhatItFormats) {
  Manifest manifest;
  manifest["config.json"] = {.bytes = 3, .sha256 = ShaOf("abc")};
  manifest["model.safetensors"] = {.bytes = 10,
                                   .sha256 = ShaOf("0123456789"),
                                   .chunks = {{.begin = 0, .bytes = 4, .sha256 = ShaOf("0123")},
                                              {.tensor = "a\"b", .begin = 6, .bytes = 4, .sha256 = ShaOf("6789")}}};
  const absl::StatusOr<Manifest> read = ParseManifest("m", FormatManifest(manifest));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(FormatManifest(*read), FormatManifest(manifest));
  EXPECT_EQ(read->at("model.safetensors").chunks[1].tensor, "a\"b");
}

TEST(Manifest, MalformedOnesAreRefusedByField) {
  const std::string sha = ShaOf("");
  const auto refused = [&](const std::string& text, const std::string& what) {
    const absl::Status status = ParseManifest("dir/m.json", text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), AllOf(StartsWith("dir/m.json: "), HasSubstr(what)));
  };
  refused("[]", "object");
  refused(R"({"files": {}})", "version");
  refused(R"({"version": 2, "files": {}})", "version");
  refused(R"({"version": 1})", "files");
  refused(R"({"version": 1, "files": {"a": 1}})", "'a'");
  refused(R"({"version": 1, "files": {"a": {"bytes": 1}}})", "sha256");
  refused(R"({"version": 1, "files": {"a": {"bytes": 1, "sha256": "12"}}})", "64 hexadecimal");
  const auto chunks = [&](const std::string& list) {
    return absl::StrCat(R"({"version": 1, "files": {"a": {"bytes": 9, "sha256": ")", sha, R"(", "chunks": )", list,
                        "}}}");
  };
  const auto chunk = [&](int begin, int bytes) {
    return absl::StrCat(R"({"begin": )", begin, R"(, "bytes": )", bytes, R"(, "sha256": ")", sha, "\"}");
  };
  refused(chunks("{}"), "chunks");
  refused(chunks("[3]"), "chunks");
  refused(chunks(absl::StrCat("[", chunk(0, 10), "]")), "bytes");
  refused(chunks(absl::StrCat("[", chunk(0, 5), ",", chunk(4, 1), "]")), "chunks[1]: begin");
  EXPECT_TRUE(ParseManifest("m", chunks(absl::StrCat("[", chunk(0, 5), ",", chunk(5, 4), "]"))).ok());
}

class VerifyingOpenerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    WriteBytes(directory_.File("data"), "0123456789");
    WriteBytes(directory_.File("small"), "abc");
    Manifest manifest;
    manifest["small"] = {.bytes = 3, .sha256 = ShaOf("abc")};
    manifest["data"] = {.bytes = 10,
                        .sha256 = ShaOf("0123456789"),
                        .chunks = {{.tensor = "x", .begin = 1, .bytes = 3, .sha256 = ShaOf("123")},
                                   {.tensor = "y", .begin = 4, .bytes = 5, .sha256 = ShaOf("45678")}}};
    WriteBytes(directory_.File(std::string(kManifestName)), FormatManifest(manifest));
  }
  absl::StatusOr<std::unique_ptr<RandomAccessFile>> Open(const std::string& name) {
    const absl::StatusOr<FileOpener> open = VerifyingOpener(directory_.path(), OpenPosixFile);
    if (!open.ok()) return open.status();
    return (*open)(directory_.File(name));
  }
  absl::Status Read(const std::string& name, int64_t offset, size_t bytes) {
    const auto file = Open(name);
    if (!file.ok()) return file.status();
    std::vector<std::byte> out(bytes);
    return (*file)->ReadAt(offset, out);
  }

  TemporaryDirectory directory_;
};

TEST_F(VerifyingOpenerTest, SoundFilesAreReadInAnyPieces) {
  for (int64_t begin = 0; begin < 10; ++begin) {
    for (int64_t end = begin; end <= 10; ++end) EXPECT_TRUE(Read("data", begin, static_cast<size_t>(end - begin)).ok());
  }
  EXPECT_TRUE(Read("small", 0, 3).ok());
}

TEST_F(VerifyingOpenerTest, EveryReadThatCoversADamagedChunkNamesIt) {
  WriteBytes(directory_.File("data"), "01234X6789");
  for (int64_t begin = 0; begin < 10; ++begin) {
    for (int64_t end = begin; end <= 10; ++end) {
      const absl::Status status = Read("data", begin, static_cast<size_t>(end - begin));
      if (begin > 4 || end < 9) {
        EXPECT_TRUE(status.ok()) << begin << " to " << end;
        continue;
      }
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << begin << " to " << end;
      EXPECT_THAT(std::string(status.message()),
                  AllOf(StartsWith(directory_.File("data") + ": tensor 'y': 5 bytes at offset 4"),
                        HasSubstr(ShaOf("45678")), HasSubstr(ShaOf("4X678"))));
    }
  }
}

TEST_F(VerifyingOpenerTest, FilesWithoutChunksAreVerifiedWhole) {
  WriteBytes(directory_.File("small"), "abd");
  const absl::Status status = Read("small", 0, 3);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("small: 3 bytes"), HasSubstr(ShaOf("abc"))));
}

TEST_F(VerifyingOpenerTest, FileOfAnotherSizeIsNotOpened) {
  WriteBytes(directory_.File("data"), "012345678");
  const absl::Status status = Open("data").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("data: the file has 9 bytes, not 10")));
}

TEST_F(VerifyingOpenerTest, OtherFilesAndDirectoriesAreLeftAlone) {
  WriteBytes(directory_.File("other"), "?");
  EXPECT_TRUE(Read("other", 0, 1).ok());
  EXPECT_EQ(Open("missing").status().code(), absl::StatusCode::kNotFound);
  const TemporaryDirectory plain;
  WriteBytes(plain.File("data"), "x");
  const absl::StatusOr<FileOpener> open = VerifyingOpener(plain.path(), OpenPosixFile);
  ASSERT_TRUE(open.ok());
  EXPECT_TRUE((*open)(plain.File("data")).ok());
}

TEST_F(VerifyingOpenerTest, DamagedManifestIsNamed) {
  WriteBytes(directory_.File(std::string(kManifestName)), "{");
  EXPECT_THAT(std::string(Open("data").status().message()), StartsWith(directory_.File(std::string(kManifestName))));
}

}  // namespace
}  // namespace switchyard
