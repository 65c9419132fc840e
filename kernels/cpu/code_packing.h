// The vector loop of QuantizedMatrix::FillCodes: whole blocks of 16 rows, each slice of 64 bytes written at once.
#pragma once

#include <cstddef>
#include <cstdint>

namespace switchyard {

// Of 16 consecutive rows of `row_bytes` (a multiple of 4), aligned to 4 bytes: slices [row_bytes / 4][64 bytes]
// (quantized_matrix.h), 4 bytes of each row in each. `has_nibbles`: codes of 4 bits, which are brought to a slice's
// order. slices is aligned to 64 bytes.
void PackCodeBlock(const uint8_t* rows, size_t row_bytes, bool has_nibbles, uint8_t* slices);

}  // namespace switchyard
