// One input of the header fuzzer, and the promises that must hold for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "engine/checkpoint/safetensors.h"

namespace switchyard {

// `input` is 8 bytes of file size (little-endian), then the file's first bytes: 8 of header size and the header. Sizes
// are input too, so that headers of files far larger than the input are reached. Returns what is wrong, or nothing.
inline std::string CheckSafetensorsHeaderInput(std::span<const std::byte> input) {
  if (input.size() < 16) return "";
  uint64_t size_bits = 0;
  for (int i = 0; i < 8; ++i) size_bits |= std::to_integer<uint64_t>(input[i]) << (8 * i);
  const auto file_size = static_cast<int64_t>(size_bits >> 1);  // file sizes are not negative
  const std::span<const std::byte> file = input.subspan(8);

  const absl::StatusOr<int64_t> bytes = SafetensorsHeaderBytes("fuzz.safetensors", file.first(8), file_size);
  if (!bytes.ok()) return bytes.status().message().empty() ? "an error without a message" : "";
  if (*bytes < 0 || *bytes > kMaxSafetensorsHeaderBytes || *bytes + 8 > file_size) return "header size out of bounds";
  if (static_cast<uint64_t>(*bytes) > file.size() - 8) return "";  // the caller reads the header in full, or fails

  const auto* const json = reinterpret_cast<const char*>(file.data() + 8);
  const absl::StatusOr<SafetensorsHeader> header =
      ParseSafetensorsHeader("fuzz.safetensors", {json, static_cast<size_t>(*bytes)}, file_size);
  if (!header.ok()) return header.status().message().empty() ? "an error without a message" : "";
  int64_t covered = 8 + *bytes;
  for (const SafetensorsEntry& entry : header->tensors) {
    if (entry.begin != covered || entry.end < entry.begin) return "tensors are not contiguous";
    for (const int64_t extent : entry.shape) {
      if (extent < 0) return "a negative extent";
    }
    covered = entry.end;
  }
  return covered == file_size ? "" : "tensors do not cover the file";
}

}  // namespace switchyard
