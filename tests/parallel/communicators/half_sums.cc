#include "tests/parallel/communicators/half_sums.h"

#include <gtest/gtest.h>

#include <vector>

#include "kernels/cpu/float_convert.h"

namespace switchyard {
namespace {

uint16_t Round(DType dtype, float value) {
  return dtype == DType::kBFloat16 ? BFloat16FromFloat(value) : Float16FromFloat(value);
}

// Of magnitudes so different that a sum rounded after each addition has other bits.
uint16_t Value(DType dtype, int rank, int64_t i) {
  const float value = 1.0f / static_cast<float>(1 + (i * 31 + rank * 17) % 1009);
  return Round(dtype, rank % 2 == 0 ? value : 1.0f + value);
}

uint16_t RoundedSum(DType dtype, int size, int64_t i) {
  float sum = 0.0f;
  for (int rank = 0; rank < size; ++rank) {
    const uint16_t bits = Value(dtype, rank, i);
    sum += dtype == DType::kBFloat16 ? FloatFromBFloat16(bits) : FloatFromFloat16(bits);
  }
  return Round(dtype, sum);
}

std::vector<uint16_t> Values(DType dtype, int rank, int64_t n) {
  std::vector<uint16_t> values(n);
  for (int64_t i = 0; i < n; ++i) values[i] = Value(dtype, rank, i);
  return values;
}

}  // namespace

void CheckHalfSums(Communicator& communicator) {
  const int size = communicator.size();
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16}) {
    for (const int64_t n : {0, 1, 777, 40001}) {
      std::vector<uint16_t> data = Values(dtype, communicator.rank(), n);
      ASSERT_TRUE(communicator.AllReduceSum(TensorView(data.data(), dtype, Shape{n})).ok());
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(data[i], RoundedSum(dtype, size, i)) << Name(dtype) << " at " << i;

      const std::vector<uint16_t> send = Values(dtype, communicator.rank(), n * size);
      std::vector<uint16_t> recv(n);
      ASSERT_TRUE(communicator
                      .ReduceScatterSum(ConstTensorView(send.data(), dtype, Shape{n * size}),
                                        TensorView(recv.data(), dtype, Shape{n}))
                      .ok());
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_EQ(recv[i], RoundedSum(dtype, size, communicator.rank() * n + i)) << Name(dtype) << " at " << i;
      }
    }
  }
}

}  // namespace switchyard
