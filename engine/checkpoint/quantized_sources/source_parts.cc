#include "engine/checkpoint/quantized_sources/source_parts.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/element_conversion.h"
#include "engine/checkpoint/quantized_location.h"

namespace switchyard {

absl::StatusOr<SourceParts> SourceParts::Read(std::span<const std::unique_ptr<RandomAccessFile>> files,
                                              const TensorLocation& tensor) {
  SourceParts parts(tensor);
  for (const TensorPart& source : tensor.parts) {
    const RandomAccessFile& file = *files[source.file];
    const auto bytes = static_cast<size_t>(source.bytes);
    Part part{.suffix = source.suffix,
              .dtype = source.dtype,
              .path = file.path(),
              .words = std::make_unique_for_overwrite<uint64_t[]>((bytes + 7) / 8),
              .bytes = bytes};
    const absl::Status read = file.ReadAt(source.begin, {reinterpret_cast<std::byte*>(part.words.get()), part.bytes});
    if (!read.ok()) {
      return absl::Status(read.code(), absl::StrCat(read.message(), ", tensor ",
                                                    QuoteName(PartName(tensor.storage, tensor.name, source.suffix))));
    }
    parts.parts_.push_back(std::move(part));
  }
  return parts;
}

absl::StatusOr<std::vector<float>> SourceParts::GetFinite(absl::string_view suffix) const {
  const Part& part = Require(suffix);
  for (const DType dtype : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
    if (part.dtype != Name(dtype)) continue;
    std::vector<float> values(part.bytes / SizeOf(dtype));
    WidenToFloat(dtype, reinterpret_cast<const std::byte*>(part.words.get()), values);
    for (size_t i = 0; i < values.size(); ++i) {
      if (!std::isfinite(values[i])) return Fault(suffix, absl::StrCat("has ", values[i], " at ", i));
    }
    return values;
  }
  CHECK(false && "a part of numbers that was located has one of these types");
  return std::vector<float>();
}

absl::Status SourceParts::Fault(absl::string_view suffix, absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(
      Require(suffix).path, ": tensor ", QuoteName(PartName(tensor_->storage, tensor_->name, suffix)), " ", what));
}

const SourceParts::Part* SourceParts::Find(absl::string_view suffix) const {
  for (const Part& part : parts_) {
    if (part.suffix == suffix) return &part;
  }
  return nullptr;
}

const SourceParts::Part& SourceParts::Require(absl::string_view suffix) const {
  const Part* const part = Find(suffix);
  CHECK(part != nullptr);
  return *part;
}

}  // namespace switchyard
