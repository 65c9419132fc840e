#include "tests/kernels/test_backends.h"

namespace switchyard {
namespace {

// Any float16 pattern below 2 in magnitude is as good a weight as another: subnormals are among them.
uint16_t Float16Pattern(std::mt19937& random, float deviation) {
  const auto bits = static_cast<uint16_t>(random());
  return FloatFromFloat16(bits & 0x3FFFu) <= 3 * deviation ? bits & 0xBFFFu : bits & 0x8FFFu;
}

}  // namespace

std::vector<double> FillRandom(Matrix& matrix, std::mt19937& random, float deviation) {
  const auto [out, in, dtype, quantization] = matrix.spec();
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<double> values(out * in);
  std::vector<float> floats(out * in);
  std::vector<uint16_t> halves(out * in);
  for (int64_t i = 0; i < out * in; ++i) {
    floats[i] = normal(random);
    halves[i] = dtype == DType::kBFloat16 ? BFloat16FromFloat(floats[i]) : Float16Pattern(random, deviation);
    values[i] = dtype == DType::kFloat32    ? floats[i]
                : dtype == DType::kBFloat16 ? FloatFromBFloat16(halves[i])
                                            : FloatFromFloat16(halves[i]);
  }
  const void* data = dtype == DType::kFloat32 ? static_cast<const void*>(floats.data()) : halves.data();
  const ConstTensorView rows(data, dtype, {out, in});
  const int64_t cut = out / 3;
  EXPECT_TRUE(matrix.Fill(cut, rows.Rows(cut, out)).ok());
  EXPECT_TRUE(matrix.Fill(0, rows.Rows(0, cut)).ok());
  return values;
}

TestMatrix RandomMatrix(Backend& backend, const MatrixSpec& spec, std::mt19937& random, float deviation) {
  TestMatrix result;
  result.matrix = *backend.CreateMatrix(spec);
  result.values = FillRandom(*result.matrix, random, deviation);
  return result;
}

}  // namespace switchyard
