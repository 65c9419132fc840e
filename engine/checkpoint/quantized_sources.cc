#include "engine/checkpoint/quantized_sources.h"

#include "engine/checkpoint/quantized_sources/awq.h"
#include "engine/checkpoint/quantized_sources/bitsandbytes.h"
#include "engine/checkpoint/quantized_sources/gptq.h"
#include "engine/checkpoint/quantized_sources/source_parts.h"

namespace switchyard {

absl::StatusOr<QuantizedTensor> ReadQuantizedTensor(std::span<const std::unique_ptr<RandomAccessFile>> files,
                                                    const TensorLocation& tensor) {
  const absl::StatusOr<SourceParts> parts = SourceParts::Read(files, tensor);
  if (!parts.ok()) return parts.status();
  switch (tensor.storage) {
    case WeightStorage::kBitsAndBytes:
      return ConvertBitsAndBytes(*parts);
    case WeightStorage::kGptq:
      return ConvertGptq(*parts);
    case WeightStorage::kAwq:
      return ConvertAwq(*parts);
    case WeightStorage::kDense:
      break;
  }
  CHECK(false && "a dense weight is read in rows");
  return absl::InternalError("unreachable");
}

}  // namespace switchyard
