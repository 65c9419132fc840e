// The header of a safetensors file, parsed and checked: pure functions over bytes, no file is opened here.
//
// A file is: 8 bytes N (little-endian), N bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}},
// then the data section, which the tensors cover exactly, without holes or overlaps.
// Source: https://github.com/huggingface/safetensors, section "Format".
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace switchyard {

inline constexpr int64_t kSafetensorsPrefixBytes = 8;
// The format's own limit.
inline constexpr int64_t kMaxSafetensorsHeaderBytes = 100'000'000;

struct SafetensorsEntry {
  std::string name;
  absl::string_view dtype;     // as the format spells it: "BF16"; static storage
  std::vector<int64_t> shape;  // empty: a scalar
  int64_t begin = 0;           // bytes [begin, end) of the FILE (the header's offsets count from the data section)
  int64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> tensors;  // in order of their bytes
};

// Bytes of the JSON that `prefix` announces for a file of `file_size` bytes. INVALID_ARGUMENT names `file` and both
// numbers if the file is shorter than that or the format's limit is passed.
absl::StatusOr<int64_t> SafetensorsHeaderBytes(absl::string_view file, std::span<const std::byte> prefix,
                                               int64_t file_size);

// `json` is the announced JSON, `file_size` the size of the whole file. INVALID_ARGUMENT names `file`, the tensor and
// the two numbers that disagree. Memory used is proportional to json.size(), never to a number read from it.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view file, absl::string_view json,
                                                         int64_t file_size);

// For messages: quotes a name from a file, escapes what is not printable and cuts what is too long.
std::string QuoteName(absl::string_view name);
// "[4, 128]".
std::string ShapeText(std::span<const int64_t> shape);

}  // namespace switchyard
