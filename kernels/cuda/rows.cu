// Rows are spread over blocks of 256 threads: x over the 16-byte vectors of a row, y over rows where they are short.
#include "kernels/check.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.h"
#include "kernels/cuda/vector.cuh"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 256;
// Vectors of one row that a thread has under way at once: what it takes to keep the memory busy.
constexpr int kUnroll = 4;

struct RowGrid {
  dim3 grid;
  dim3 block;
};

// For kernels that loop over `vectors` with steps of kUnroll * blockDim.x * gridDim.y.
RowGrid GridOfRows(int64_t num_rows, int64_t vectors) {
  int64_t threads = 1;
  while (threads < vectors && threads < kThreads) threads *= 2;
  const int64_t rows_per_block = kThreads / threads;
  // Few rows: more blocks per row instead of more work per thread.
  constexpr int64_t kManyRows = 256;
  const int64_t per_thread = num_rows < kManyRows ? 1 : kUnroll;
  return {dim3(static_cast<unsigned>((num_rows + rows_per_block - 1) / rows_per_block),
               static_cast<unsigned>((vectors + threads * per_thread - 1) / (threads * per_thread))),
          dim3(static_cast<unsigned>(threads), static_cast<unsigned>(rows_per_block))};
}

__device__ __forceinline__ int64_t ThisRow() { return static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; }
__device__ __forceinline__ int64_t FirstVector() { return static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x; }
__device__ __forceinline__ int64_t VectorStride() { return static_cast<int64_t>(gridDim.y) * blockDim.x; }

template <typename Vector>
__global__ void __launch_bounds__(kThreads)
    GatherRowsKernel(const Vector* __restrict__ src, const int32_t* __restrict__ index, int64_t num_rows,
                     int64_t vectors, Vector* __restrict__ dst) {
  WaitForPrevious();
  LetNextStart();
  const int64_t row = ThisRow();
  if (row >= num_rows) return;
  const Vector* from = src + static_cast<int64_t>(index[row]) * vectors;
  Vector* to = dst + row * vectors;
  const int64_t stride = VectorStride();
  for (int64_t v = FirstVector(); v < vectors; v += kUnroll * stride) {
    Vector values[kUnroll] = {};
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (v + u * stride < vectors) values[u] = from[v + u * stride];
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      if (v + u * stride < vectors) to[v + u * stride] = values[u];
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    EmbedTokensKernel(const T* __restrict__ table, const int32_t* __restrict__ ids, int64_t num_tokens, int64_t vectors,
                      float* __restrict__ out) {
  WaitForPrevious();
  LetNextStart();
  const int64_t row = ThisRow();
  if (row >= num_tokens) return;
  const T* from = table + static_cast<int64_t>(ids[row]) * vectors * kVectorElements;
  float* to = out + row * vectors * kVectorElements;
  for (int64_t v = FirstVector(); v < vectors; v += VectorStride()) {
    float values[kVectorElements];
    Load8(from + v * kVectorElements, values);
    Store8(to + v * kVectorElements, values);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    SumRowsKernel(const T* __restrict__ src, const int32_t* __restrict__ begin, const int32_t* __restrict__ index,
                  int64_t num_rows, int64_t vectors, T* __restrict__ dst) {
  WaitForPrevious();
  LetNextStart();
  const int64_t row = ThisRow();
  if (row >= num_rows) return;
  const int32_t first = begin[row];
  const int32_t end = begin[row + 1];
  for (int64_t v = FirstVector(); v < vectors; v += VectorStride()) {
    float sums[kVectorElements] = {};
    int32_t j = first;
    // Two rows are under way at once; the order of the sum stays.
    for (; j + 1 < end; j += 2) {
      float values[2][kVectorElements];
      Load8(src + (index[j] * vectors + v) * kVectorElements, values[0]);
      Load8(src + (index[j + 1] * vectors + v) * kVectorElements, values[1]);
#pragma unroll
      for (int i = 0; i < kVectorElements; ++i) sums[i] = sums[i] + values[0][i] + values[1][i];
    }
    if (j < end) {
      float values[kVectorElements];
      Load8(src + (index[j] * vectors + v) * kVectorElements, values);
#pragma unroll
      for (int i = 0; i < kVectorElements; ++i) sums[i] += values[i];
    }
    Store8(dst + (row * vectors + v) * kVectorElements, sums);
  }
}

template <typename T>
__device__ __forceinline__ T Sum(T a, T b) {
  return FromFloat<T>(ToFloat(a) + ToFloat(b));
}
__device__ __forceinline__ float Sum(float a, float b) { return a + b; }

template <typename T>
__global__ void __launch_bounds__(kThreads) AddKernel(const T* __restrict__ x, T* __restrict__ acc, int64_t count) {
  WaitForPrevious();
  LetNextStart();
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kVectorElements;
  if (first + kVectorElements <= count) {
    float sums[kVectorElements];
    float values[kVectorElements];
    Load8(acc + first, sums);
    Load8(x + first, values);
#pragma unroll
    for (int i = 0; i < kVectorElements; ++i) sums[i] += values[i];
    Store8(acc + first, sums);
  } else {
    for (int64_t i = first; i < count; ++i) acc[i] = Sum(acc[i], x[i]);
  }
}

template <typename F>
void DispatchFloating(DType dtype, F&& f) {
  if (dtype == DType::kFloat32) {
    f(float{});
  } else {
    DispatchHalf(dtype, f);
  }
}

template <typename Vector>
void LaunchGather(const void* src, const int32_t* index, int64_t num_rows, int64_t row_bytes, void* dst,
                  Stream stream) {
  const auto vectors = static_cast<int64_t>(row_bytes / sizeof(Vector));
  const RowGrid shape = GridOfRows(num_rows, vectors);
  Launch(GatherRowsKernel<Vector>, LaunchShape{.grid = shape.grid, .block = shape.block}, stream,
         static_cast<const Vector*>(src), index, num_rows, vectors, static_cast<Vector*>(dst));
}

}  // namespace

void EmbedTokens(DType dtype, const void* table, const int32_t* ids, int64_t num_tokens, int64_t hidden_size,
                 float* out, Stream stream) {
  if (num_tokens == 0 || hidden_size == 0) return;
  CHECK_EQ(hidden_size % kVectorElements, 0);
  CHECK(IsAligned16(table) && IsAligned16(out));
  const int64_t vectors = hidden_size / kVectorElements;
  const RowGrid shape = GridOfRows(num_tokens, vectors);
  DispatchHalf(dtype, [&](auto type) {
    using T = decltype(type);
    Launch(EmbedTokensKernel<T>, LaunchShape{.grid = shape.grid, .block = shape.block}, stream,
           static_cast<const T*>(table), ids, num_tokens, vectors, out);
  });
}

void GatherRows(const void* src, const int32_t* index, int64_t num_rows, int64_t row_bytes, void* dst, Stream stream) {
  if (num_rows == 0 || row_bytes == 0) return;
  CHECK_EQ(row_bytes % 4, 0);
  if (row_bytes % 16 == 0 && IsAligned16(src) && IsAligned16(dst)) {
    LaunchGather<uint4>(src, index, num_rows, row_bytes, dst, stream);
  } else {
    LaunchGather<uint32_t>(src, index, num_rows, row_bytes, dst, stream);
  }
}

void SumRows(DType dtype, const void* src, const int32_t* begin, const int32_t* index, int64_t num_rows,
             int64_t row_elements, void* dst, Stream stream) {
  if (num_rows == 0 || row_elements == 0) return;
  CHECK_EQ(row_elements % kVectorElements, 0);
  CHECK(IsAligned16(src) && IsAligned16(dst));
  const int64_t vectors = row_elements / kVectorElements;
  const RowGrid shape = GridOfRows(num_rows, vectors);
  DispatchFloating(dtype, [&](auto type) {
    using T = decltype(type);
    Launch(SumRowsKernel<T>, LaunchShape{.grid = shape.grid, .block = shape.block}, stream, static_cast<const T*>(src),
           begin, index, num_rows, vectors, static_cast<T*>(dst));
  });
}

void Add(DType dtype, const void* x, void* acc, int64_t num_elements, Stream stream) {
  if (num_elements == 0) return;
  CHECK(IsAligned16(x) && IsAligned16(acc));
  const int64_t per_block = kThreads * kVectorElements;
  const auto blocks = static_cast<unsigned>((num_elements + per_block - 1) / per_block);
  DispatchFloating(dtype, [&](auto type) {
    using T = decltype(type);
    Launch(AddKernel<T>, LaunchShape{.grid = dim3(blocks), .block = dim3(kThreads)}, stream, static_cast<const T*>(x),
           static_cast<T*>(acc), num_elements);
  });
}

}  // namespace switchyard::cuda
