// switchyard-manifest.json, which `switchyard quantize` writes beside a model: how long its files are, and checksums of
// them and of the pieces in which they are read.
//
//   {"version": 1,
//    "files": {"config.json": {"bytes": 612, "sha256": "e3b0..."},
//              "model.safetensors": {"bytes": 52428800, "sha256": "9f86...",
//                                    "chunks": [{"tensor": "lm_head.weight", "begin": 4096, "bytes": 8388608,
//                                                "sha256": "60303..."}, ...]}}}
//
// A rank that reads a part of a file verifies the chunks that it reads entirely, without reading more. A tensor's
// chunks are whole rows of some 8 MiB, as the loader's blocks are (load_blocks.h). SHA-256, because `sha256sum` and
// model hubs speak it too, and because processors have instructions for it: one core verifies about as fast as a disk
// reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/checkpoint/random_access_file.h"

namespace switchyard {

inline constexpr absl::string_view kManifestName = "switchyard-manifest.json";

// Thread safety: none.
class Sha256 {
 public:
  Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  ~Sha256();

  void Add(std::span<const std::byte> bytes);
  // In hexadecimal digits, lower case, as `sha256sum` prints it; nothing can be added afterwards.
  std::string Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};
std::string Sha256Of(std::span<const std::byte> bytes);

// Bytes [begin, begin + bytes) of a file.
struct ManifestChunk {
  std::string tensor;  // empty: of none
  int64_t begin = 0;
  int64_t bytes = 0;
  std::string sha256;
};

struct ManifestFile {
  int64_t bytes = 0;
  std::string sha256;                 // of the whole
  std::vector<ManifestChunk> chunks;  // by ascending begin, none within another; none: the file is one
};

// By name within the directory.
using Manifest = std::map<std::string, ManifestFile>;

std::string FormatManifest(const Manifest& manifest);
// `path` is for messages. INVALID_ARGUMENT names the field at fault.
absl::StatusOr<Manifest> ParseManifest(const std::string& path, absl::string_view text);

// `open` for the files of `directory`, verified if a manifest lies there, else unchanged. A file of another size than
// the manifest's is DATA_LOSS when it is opened, a chunk with another checksum when it is read; both name what was
// expected and what was found. Files that the manifest does not name are not verified.
absl::StatusOr<FileOpener> VerifyingOpener(const std::string& directory, const FileOpener& open);

}  // namespace switchyard
