// Moving and adding rows: embedding, gather, sum, addition. Reference: kernels/cpu/elementwise.h. Bound: memory, each
// row read and written once.
#pragma once

#include <cstdint>

#include "kernels/cuda/stream.h"
#include "kernels/tensor.h"

namespace switchyard::cuda {

// out float32 [tokens, hidden], out[t] = table[ids[t]]; table [vocab, hidden] of `dtype`; hidden a multiple of 8.
void EmbedTokens(DType dtype, const void* table, const int32_t* ids, int64_t num_tokens, int64_t hidden_size,
                 float* out, Stream stream);
// dst[i] = src[index[i]], rows of `row_bytes` bytes (a multiple of 4; wider loads where 16 divides it).
void GatherRows(const void* src, const int32_t* index, int64_t num_rows, int64_t row_bytes, void* dst, Stream stream);
// dst[t] = sum over j in [begin[t], begin[t + 1]) of src[index[j]], summed in float32 in that order; rows of
// `row_elements` (a multiple of 8) elements of `dtype`.
void SumRows(DType dtype, const void* src, const int32_t* begin, const int32_t* index, int64_t num_rows,
             int64_t row_elements, void* dst, Stream stream);
// acc[i] += x[i] for `num_elements` elements of `dtype`.
void Add(DType dtype, const void* x, void* acc, int64_t num_elements, Stream stream);

}  // namespace switchyard::cuda
