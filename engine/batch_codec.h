// Batches and step outputs as bytes, for ranks in other processes of the same build and byte order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/batch.h"

namespace switchyard {

std::vector<uint8_t> Encode(const Batch& batch);
std::vector<uint8_t> Encode(const StepOutput& output);
// INVALID_ARGUMENT on bytes that no Encode produced: truncated, too long, or with counts beyond the data. No count is
// believed before the bytes for it are there.
absl::StatusOr<Batch> DecodeBatch(std::span<const uint8_t> bytes);
absl::StatusOr<StepOutput> DecodeStepOutput(std::span<const uint8_t> bytes);

// Of a message's bytes, alike in every process: tells different batches apart, not forgeries.
uint64_t HashBytes(std::span<const uint8_t> bytes);

}  // namespace switchyard
