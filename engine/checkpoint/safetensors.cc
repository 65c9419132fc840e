#include "engine/checkpoint/safetensors.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/checkpoint/safetensors_json.h"

namespace switchyard {
namespace {

struct DTypeBits {
  absl::string_view name;
  uint64_t bits;
};
// Every type of the format, so that a file is checked in full even where we compute with only three of them.
constexpr DTypeBits kDTypes[] = {
    {"BOOL", 8},        {"U8", 8},          {"I8", 8},    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8},
    {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"F4", 4},    {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"I16", 16},
    {"U16", 16},        {"F16", 16},        {"BF16", 16}, {"I32", 32},    {"U32", 32},    {"F32", 32},
    {"F64", 64},        {"I64", 64},        {"U64", 64},  {"C64", 64},
};

const DTypeBits* FindDType(absl::string_view name) {
  const auto* const found = std::find_if(std::begin(kDTypes), std::end(kDTypes),
                                         [name](const DTypeBits& candidate) { return candidate.name == name; });
  return found == std::end(kDTypes) ? nullptr : found;
}

absl::Status EntryError(absl::string_view file, absl::string_view tensor, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": tensor ", QuoteName(tensor), ": ", what));
}

// Bits of `shape` elements of `bits` each; none on overflow.
std::optional<uint64_t> TotalBits(const std::vector<uint64_t>& shape, uint64_t bits) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  uint64_t total = bits;
  for (const uint64_t extent : shape) {
    if (__builtin_mul_overflow(total, extent, &total)) return std::nullopt;
  }
  return total;
}

absl::StatusOr<SafetensorsEntry> CheckEntry(absl::string_view file, RawSafetensorsEntry& raw, uint64_t data_begin,
                                            uint64_t data_bytes) {
  const auto error = [&](const std::string& what) { return EntryError(file, raw.name, what); };
  if (!raw.dtype) return error("dtype is missing");
  if (!raw.shape) return error("shape is missing");
  if (!raw.offsets) return error("data_offsets is missing");
  const DTypeBits* const dtype = FindDType(*raw.dtype);
  if (dtype == nullptr) return error(absl::StrCat("unknown dtype ", QuoteName(*raw.dtype)));
  if (raw.offsets->size() != 2) {
    return error(absl::StrCat("data_offsets has ", raw.offsets->size(), " numbers; it must have 2"));
  }
  const uint64_t begin = (*raw.offsets)[0];
  const uint64_t end = (*raw.offsets)[1];
  if (begin > end) return error(absl::StrCat("data_offsets begin ", begin, " is after its end ", end));
  if (end > data_bytes) {
    return error(
        absl::StrCat("data_offsets end ", end, " is beyond the file's data section of ", data_bytes, " bytes"));
  }
  const std::string shape_text = absl::StrCat("[", absl::StrJoin(*raw.shape, ", "), "]");
  const std::optional<uint64_t> bits = TotalBits(*raw.shape, dtype->bits);
  if (!bits) {
    return error(absl::StrCat("shape ", shape_text, " of ", dtype->bits, " bits each overflows 2^64 bits"));
  }
  if (*bits % 8 != 0) {
    return error(absl::StrCat("shape ", shape_text, " of ", dtype->bits, " bits each is no whole number of bytes"));
  }
  if (end - begin != *bits / 8) {
    return error(absl::StrCat("data_offsets hold ", end - begin, " bytes but shape ", shape_text, " of ", dtype->name,
                              " needs ", *bits / 8));
  }
  SafetensorsEntry entry{.name = std::move(raw.name),
                         .dtype = dtype->name,
                         .shape = {},
                         .begin = static_cast<int64_t>(data_begin + begin),
                         .end = static_cast<int64_t>(data_begin + end)};
  for (const uint64_t extent : *raw.shape) {
    // Only a tensor without elements gets here with such an extent.
    if (extent > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return EntryError(file, entry.name, absl::StrCat("extent ", extent, " is above the limit of 2^63 - 1"));
    }
    entry.shape.push_back(static_cast<int64_t>(extent));
  }
  return entry;
}

// Sorted by position, every tensor must begin where the one before it ends.
absl::Status CheckCoverage(absl::string_view file, const std::vector<SafetensorsEntry>& tensors, int64_t data_begin,
                           int64_t file_size) {
  int64_t covered = data_begin;
  for (const SafetensorsEntry& entry : tensors) {
    if (entry.begin != covered) {
      return EntryError(
          file, entry.name,
          absl::StrCat("data_offsets begin at ", entry.begin - data_begin, " but the tensor before ",
                       entry.begin < covered ? "overlaps it up to " : "leaves a hole from ", covered - data_begin));
    }
    covered = entry.end;
  }
  if (covered == file_size) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(file, ": the tensors cover ", covered - data_begin,
                                                 " bytes but the file's data section has ", file_size - data_begin));
}

}  // namespace

std::string QuoteName(absl::string_view name) {
  constexpr size_t kLongest = 160;
  const std::string escaped = absl::CHexEscape(name.substr(0, kLongest));
  return absl::StrCat("'", escaped, name.size() > kLongest ? "..." : "", "'");
}

std::string ShapeText(std::span<const int64_t> shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

absl::StatusOr<int64_t> SafetensorsHeaderBytes(absl::string_view file, std::span<const std::byte> prefix,
                                               int64_t file_size) {
  if (file_size < kSafetensorsPrefixBytes || prefix.size() < static_cast<size_t>(kSafetensorsPrefixBytes)) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": the file has ", file_size,
                                                   " bytes; a header needs at least ", kSafetensorsPrefixBytes,
                                                   ": it is empty or truncated"));
  }
  uint64_t bytes = 0;
  for (int i = 0; i < kSafetensorsPrefixBytes; ++i) bytes |= std::to_integer<uint64_t>(prefix[i]) << (8 * i);
  if (bytes > static_cast<uint64_t>(kMaxSafetensorsHeaderBytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": the header claims ", bytes, " bytes; the format allows ", kMaxSafetensorsHeaderBytes));
  }
  const uint64_t available = static_cast<uint64_t>(file_size - kSafetensorsPrefixBytes);
  if (bytes > available) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": the header claims ", bytes, " bytes but the file has only ",
                                                   available, " after its size"));
  }
  return static_cast<int64_t>(bytes);
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view file, absl::string_view json,
                                                         int64_t file_size) {
  const int64_t data_begin = kSafetensorsPrefixBytes + static_cast<int64_t>(json.size());
  if (data_begin > file_size) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, ": the header ends at byte ", data_begin, " but the file has ", file_size, " bytes"));
  }
  absl::StatusOr<std::vector<RawSafetensorsEntry>> entries = ReadSafetensorsJson(file, json);
  if (!entries.ok()) return entries.status();
  SafetensorsHeader header;
  for (RawSafetensorsEntry& raw : *entries) {
    absl::StatusOr<SafetensorsEntry> entry =
        CheckEntry(file, raw, static_cast<uint64_t>(data_begin), static_cast<uint64_t>(file_size - data_begin));
    if (!entry.ok()) return entry.status();
    header.tensors.push_back(*std::move(entry));
  }
  std::sort(header.tensors.begin(), header.tensors.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  const absl::Status coverage = CheckCoverage(file, header.tensors, data_begin, file_size);
  if (!coverage.ok()) return coverage;
  return header;
}

}  // namespace switchyard
