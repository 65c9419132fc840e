#include <algorithm>
#include <cmath>

#include "kernels/check.h"
#include "kernels/cpu/float_convert.h"
#include "kernels/cuda/expert_gemm.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/philox.cuh"
#include "kernels/cuda/quantized_columns.h"
#include "kernels/cuda/quantized_scales.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/quantization/quantized_rows.h"

namespace switchyard::cuda {
namespace {

constexpr int kThreads = 256;

unsigned Blocks(int64_t count) { return static_cast<unsigned>((count + kThreads - 1) / kThreads); }

// Grid: [entries, vectors of a row].
__global__ void __launch_bounds__(kThreads) ReorderColumnsKernel(const ReorderColumnsArgs args) {
  WaitForPrevious();
  LetNextStart();
  const auto entry = static_cast<int32_t>(blockIdx.x);
  int32_t expert = 0;
  if (args.offsets != nullptr) {
    if (entry >= args.offsets[args.num_experts]) return;
    auto end = static_cast<int32_t>(args.num_experts);  // offsets[expert] <= entry < offsets[end]
    while (end - expert > 1) {
      const int32_t middle = (expert + end) / 2;
      (args.offsets[middle] <= entry ? expert : end) = middle;
    }
  }
  expert = PlaceOf(args.expert_place, expert);
  if (expert < 0) return;
  const int64_t column = (static_cast<int64_t>(blockIdx.y) * kThreads + threadIdx.x) * kVectorElements;
  if (column >= args.columns) return;
  const int64_t row = args.x_row == nullptr ? entry : args.x_row[entry];
  const auto* x = static_cast<const uint16_t*>(args.x) + row * args.columns + column;
  const int32_t* place = args.column_place + expert * args.place_stride + column;
  auto* y = static_cast<uint16_t*>(args.y) + entry * args.columns;
  const uint4 packed = *reinterpret_cast<const uint4*>(x);
  const uint32_t words[4] = {packed.x, packed.y, packed.z, packed.w};
#pragma unroll
  for (int i = 0; i < kVectorElements; ++i) y[place[i]] = static_cast<uint16_t>(words[i / 2] >> (i % 2 * 16));
}

struct Nf4Values {
  float values[16];
};

// Grid: [tokens, columns].
template <WeightFormat kFormat>
__global__ void __launch_bounds__(kThreads) EmbedKernel(const QuantizedMatrix table, const Nf4Values nf4,
                                                        const int32_t* __restrict__ ids, float* __restrict__ out) {
  WaitForPrevious();
  LetNextStart();
  const auto column = static_cast<int32_t>(blockIdx.y * kThreads + threadIdx.x);
  if (column >= table.columns) return;
  const int32_t row = ids[blockIdx.x];
  const int32_t stored = table.column_place == nullptr ? column : table.column_place[column];
  const int32_t bit = CodeBit<kFormat>(stored);
  const int code =
      table.codes[row * table.row_bytes + bit / 8] >> (bit % 8) & (kFormat == WeightFormat::kInt8 ? 255 : 15);
  using Reader = ScaleReader<kFormat>;
  const Reader reader(table, row);
  const int32_t group = stored / static_cast<int32_t>(table.quantization.group_size);
  const uint32_t word = reader.Finish(table, table.dynamic_map, reader.Load(table, group), group);
  const float value = kFormat == WeightFormat::kNf4 ? nf4.values[code] : static_cast<float>(code - Reader::Zero(word));
  out[int64_t{blockIdx.x} * table.columns + column] = Reader::Scale(word) * value;
}

struct RandomScales {
  float scale;             // kNf4: magnitude of all
  uint16_t integer_scale;  // the same in float16
  float nested_scale;      // which times the two codes gives `scale` with either sign
  uint8_t nested_codes[2];
  uint8_t zero;
};

// What quantised random numbers must not be biased by: the lowest code becomes the zero point.
template <WeightFormat kFormat>
__device__ __forceinline__ uint32_t Centre(uint32_t word) {
  if constexpr (kFormat == WeightFormat::kNf4) return word;
  constexpr bool kIsByte = kFormat == WeightFormat::kInt8;
  uint32_t bits = word | word >> 1;
  bits |= bits >> 2;
  if constexpr (kIsByte) bits |= bits >> 4;
  const uint32_t is_lowest = ~bits & (kIsByte ? 0x01010101u : 0x11111111u);
  return word | is_lowest << (kIsByte ? 7 : 3);
}

// Grid: [16 bytes of codes, matrices].
template <WeightFormat kFormat>
__global__ void __launch_bounds__(kThreads) RandomCodesKernel(const QuantizedMatrix first, uint64_t seed) {
  WaitForPrevious();
  const int64_t vectors = first.rows * first.row_bytes / kChunkBytes;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= vectors) return;
  const uint4 bits = PhiloxBlock(seed, static_cast<uint64_t>(blockIdx.y * vectors + i));
  auto* codes = const_cast<uint8_t*>(MatrixAt(first, static_cast<int32_t>(blockIdx.y)).codes);
  reinterpret_cast<uint4*>(codes)[i] =
      make_uint4(Centre<kFormat>(bits.x), Centre<kFormat>(bits.y), Centre<kFormat>(bits.z), Centre<kFormat>(bits.w));
}

// Grid: [scales, matrices].
__global__ void __launch_bounds__(kThreads) RandomScalesKernel(const QuantizedMatrix first, const RandomScales random) {
  WaitForPrevious();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= first.rows * first.groups) return;
  const QuantizedMatrix matrix = MatrixAt(first, static_cast<int32_t>(blockIdx.y));
  const int64_t row = i / first.groups;
  const int64_t group = i % first.groups;
  const int64_t sign = (row + group) % 2;
  auto* scales = const_cast<void*>(matrix.scales);
  if (matrix.quantization.format != WeightFormat::kNf4) {
    static_cast<uint16_t*>(scales)[i] = random.integer_scale;
    if (matrix.zeros != nullptr) const_cast<uint8_t*>(matrix.zeros)[i] = random.zero;
  } else if (matrix.nested_scale == nullptr) {
    static_cast<float*>(scales)[i] = sign == 0 ? random.scale : -random.scale;
  } else {
    static_cast<uint8_t*>(scales)[i] = random.nested_codes[sign];
    if (group > 0) return;
    for (int64_t n = 0; n < matrix.nested_scales; ++n) {
      const_cast<float*>(matrix.nested_scale)[row * matrix.nested_scales + n] = random.nested_scale;
    }
    const_cast<float*>(matrix.nested_offset)[row] = 0;
    const_cast<int32_t*>(matrix.nested_change)[row] = static_cast<int32_t>(kNestedBlock);
  }
}

// Root mean square of the values that uniform codes stand for, in units of the scale.
double CodeDeviation(WeightFormat format) {
  double squares = 0;
  if (format == WeightFormat::kNf4) {
    for (const float value : kNf4Values) squares += double{value} * value / 16;
    return std::sqrt(squares);
  }
  const int half = format == WeightFormat::kInt8 ? 128 : 8;
  for (int i = 1; i < half; ++i) squares += double{2} * i * i / (2 * half);
  return std::sqrt(squares);
}

template <typename F>
void DispatchFormat(WeightFormat format, F&& f) {
  switch (format) {
    case WeightFormat::kNf4:
      return f.template operator()<WeightFormat::kNf4>();
    case WeightFormat::kInt4:
      return f.template operator()<WeightFormat::kInt4>();
    case WeightFormat::kInt8:
      return f.template operator()<WeightFormat::kInt8>();
    case WeightFormat::kDense:
      CHECK(false);
  }
}

}  // namespace

void ReorderColumns(const ReorderColumnsArgs& args, Stream stream) {
  if (args.num_entries == 0 || args.columns == 0) return;
  CHECK_EQ(args.columns % kVectorElements, 0);
  CHECK(SizeOf(args.dtype) == sizeof(uint16_t));
  CHECK(IsAligned16(args.x) && IsAligned16(args.y));
  Launch(ReorderColumnsKernel,
         LaunchShape{.grid = dim3(static_cast<unsigned>(args.num_entries), Blocks(args.columns / kVectorElements)),
                     .block = dim3(kThreads)},
         stream, args);
}

void EmbedQuantized(const QuantizedMatrix& table, const int32_t* ids, int64_t num_tokens, float* out, Stream stream) {
  if (num_tokens == 0 || table.columns == 0) return;
  Nf4Values nf4 = {};
  std::copy(kNf4Values.begin(), kNf4Values.end(), nf4.values);
  DispatchFormat(table.quantization.format, [&]<WeightFormat kFormat>() {
    Launch(EmbedKernel<kFormat>,
           LaunchShape{.grid = dim3(static_cast<unsigned>(num_tokens), Blocks(table.columns)), .block = dim3(kThreads)},
           stream, table, nf4, ids, out);
  });
}

void FillRandomQuantized(const QuantizedMatrix& first, int64_t num_matrices, uint64_t seed, float deviation,
                         Stream stream) {
  if (num_matrices == 0 || first.rows == 0 || first.columns == 0) return;
  const auto matrices = static_cast<unsigned>(num_matrices);
  DispatchFormat(first.quantization.format, [&]<WeightFormat kFormat>() {
    Launch(RandomCodesKernel<kFormat>,
           LaunchShape{.grid = dim3(Blocks(first.rows * first.row_bytes / kChunkBytes), matrices),
                       .block = dim3(kThreads)},
           stream, first, seed);
  });
  // The map's first value and its last but one have the same magnitude; the last, 1, has no opposite.
  constexpr uint8_t kLowest = 0;
  constexpr uint8_t kOpposite = 254;
  const auto scale = static_cast<float>(deviation / CodeDeviation(first.quantization.format));
  const RandomScales random = {.scale = scale,
                               .integer_scale = Float16FromFloat(scale),
                               .nested_scale = scale / DynamicMap()[kOpposite],
                               .nested_codes = {kOpposite, kLowest},
                               .zero = static_cast<uint8_t>(first.quantization.default_zero())};
  Launch(RandomScalesKernel,
         LaunchShape{.grid = dim3(Blocks(first.rows * first.groups), matrices), .block = dim3(kThreads)}, stream, first,
         random);
}

}  // namespace switchyard::cuda
