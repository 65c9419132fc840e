// Random quantised weights, as a file holds them, and what they amount to.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "kernels/weights.h"
#include "tests/kernels/test_backends.h"

namespace switchyard {

struct QuantizedCase {
  std::string name;
  Quantization quantization;
};

// Every format, group size and kind of zero, with act-order and without.
std::vector<QuantizedCase> AllQuantizedCases();

struct QuantizedWeights {
  MatrixSpec spec;
  std::vector<uint8_t> codes;  // [out, CodeBytes(in)]
  std::vector<float> scales;   // [out, groups]
  std::vector<uint8_t> zeros;  // [out, groups], or empty
  std::vector<int32_t> order;  // [in], or empty
  std::vector<double> values;  // [out, in], input features in order

  int Code(int64_t row, int64_t stored_column) const;
  int Zero(int64_t row, int64_t group) const;
  const double* Row(int64_t row) const { return values.data() + row * spec.in_features; }
  // Codes and scales of rows [begin, end); the column order with row 0.
  void Fill(Matrix& matrix, int64_t begin, int64_t end) const;
  std::unique_ptr<Matrix> Make(Backend& backend) const;
};

// Weights of about 0.3 in magnitude; scales are float16 values, of kNf4 any.
QuantizedWeights RandomQuantized(int64_t out, int64_t in, const Quantization& quantization, std::mt19937& random);

}  // namespace switchyard
