// Quantised weights of every CPU backend, with activations in float32.
#include <thread>

#include "gmock/gmock.h"
#include "kernels/cpu/quantized_matrix.h"
#include "tests/kernels/quantized_weights.h"

namespace switchyard {
namespace {

using testing::HasSubstr;

class QuantizedGemmTest : public BackendTest {};
INSTANTIATE_OVER_BACKENDS(QuantizedGemmTest);

bool Fits(const Quantization& quantization, int64_t in) { return ValidateQuantization(quantization, in).ok(); }

std::vector<float> Product(Backend& backend, const Matrix& weight, const std::vector<float>& x, int64_t rows) {
  std::vector<float> y(rows * weight.spec().out_features, NAN);
  backend.Linear(View(x, {rows, weight.spec().in_features}), weight, View(y, {rows, weight.spec().out_features}));
  return y;
}

TEST_P(QuantizedGemmTest, LinearMultipliesByWhatTheCodesStandFor) {
  const struct {
    int64_t rows, out, in;
  } shapes[] = {{0, 5, 64}, {1, 16, 64}, {2, 65, 192}, {3, 33, 200}, {7, 130, 128}, {33, 20, 256}, {1, 97, 17}};
  for (const auto& [name, quantization] : AllQuantizedCases()) {
    for (const auto& [rows, out, in] : shapes) {
      if (!Fits(quantization, in)) continue;
      SCOPED_TRACE(testing::Message() << name << " " << rows << " x " << in << " -> " << out);
      const QuantizedWeights weights = RandomQuantized(out, in, quantization, random_);
      const std::unique_ptr<Matrix> matrix = weights.Make(*backend_);
      const std::vector<float> x = Normal(rows * in);
      const std::vector<float> y = Product(*backend_, *matrix, x, rows);
      for (int64_t t = 0; t < rows; ++t) {
        const std::vector<double> row(x.begin() + t * in, x.begin() + (t + 1) * in);
        for (int64_t o = 0; o < out; ++o) {
          double expected = 0;
          for (int64_t i = 0; i < in; ++i) expected += row[i] * weights.Row(o)[i];
          ASSERT_NEAR(y[t * out + o], expected, DotTolerance(in, Norm(row.data(), in), Norm(weights.Row(o), in)))
              << "row " << t << " column " << o;
        }
      }
    }
  }
}

TEST_P(QuantizedGemmTest, EmbedTokensGivesTheRowsOfTheTable) {
  for (const auto& [name, quantization] : AllQuantizedCases()) {
    const QuantizedWeights table = RandomQuantized(21, 192, quantization, random_);
    const std::unique_ptr<Matrix> matrix = table.Make(*backend_);
    const std::vector<int32_t> ids = {20, 0, 16, 16, 7};
    std::vector<float> out(ids.size() * 192);
    backend_->EmbedTokens(*matrix, View(ids, {5}), View(out, {5, 192}));
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_EQ(out[i], static_cast<float>(table.Row(ids[i / 192])[i % 192])) << name << " " << i;
    }
  }
}

TEST_P(QuantizedGemmTest, RunExpertsMultipliesByTheCodesOfEveryExpert) {
  const int64_t num_experts = 3, hidden = 128, intermediate = 192, rows = 23, top_k = 2;
  const Quantization dense;
  const Quantization int4 = {.format = WeightFormat::kInt4, .group_size = 64, .has_zeros = true, .reordered = true};
  const Quantization int8 = {.format = WeightFormat::kInt8, .group_size = 128};
  const Quantization nf4 = {.format = WeightFormat::kNf4, .group_size = 64};
  const auto reference = CreateCpuBackend({.reference = true});
  for (const auto& [gate_up, down] : {std::pair{int4, int8}, {nf4, int4}, {dense, nf4}, {int8, dense}}) {
    SCOPED_TRACE(testing::Message() << Describe(gate_up) << " and " << Describe(down));
    const ExpertWeightsSpec spec = {num_experts, hidden, intermediate, DType::kFloat32, gate_up, down};
    const auto experts = *backend_->CreateExperts(spec), expected_experts = *reference->CreateExperts(spec);
    const auto fill = [&](Matrix& matrix, Matrix& expected) {
      const auto [out, in, dtype, quantization] = matrix.spec();
      if (quantization.is_dense()) {
        const std::vector<float> values = Normal(out * in, 0.3f);
        EXPECT_TRUE(matrix.Fill(0, View(values, {out, in})).ok() && expected.Fill(0, View(values, {out, in})).ok());
      } else {
        const QuantizedWeights weights = RandomQuantized(out, in, quantization, random_);
        weights.Fill(matrix, 0, out);
        weights.Fill(expected, 0, out);
      }
    };
    for (int64_t e = 0; e < num_experts; ++e) {
      fill(experts->gate_up(e), expected_experts->gate_up(e));
      fill(experts->down(e), expected_experts->down(e));
    }
    const std::vector<float> x = Normal(rows * hidden), weights = Normal(rows * top_k);
    std::vector<int32_t> slots(rows * top_k);
    for (int32_t& slot : slots) slot = static_cast<int32_t>(Uniform(-1, num_experts));
    std::vector<float> out(rows * hidden, NAN), expected = out;
    const auto run = [&](Backend& backend, const ExpertWeights& with, std::vector<float>& result) {
      backend.RunExperts(with, {View(x, {rows, hidden}), View(slots, {rows, top_k}), View(weights, {rows, top_k}), 0,
                                View(result, {rows, hidden})});
    };
    run(*backend_, *experts, out);
    run(*reference, *expected_experts, expected);
    double error = 0, size = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      error += std::pow(static_cast<double>(out[i]) - expected[i], 2);
      size += std::pow(static_cast<double>(expected[i]), 2);
    }
    // Two products in a row and a gate, each within DotTolerance of its norms.
    EXPECT_LT(std::sqrt(error / size), 4 * DotTolerance(hidden + intermediate, 1, 1));
  }
}

TEST_P(QuantizedGemmTest, ARowsResultDoesNotDependOnTheOtherRows) {
  for (const auto& [name, quantization] : AllQuantizedCases()) {
    const int64_t rows = 19, out = 37, in = 192;
    const std::unique_ptr<Matrix> matrix = RandomQuantized(out, in, quantization, random_).Make(*backend_);
    const std::vector<float> x = Normal(rows * in);
    const std::vector<float> together = Product(*backend_, *matrix, x, rows);
    for (int64_t t = 0; t < rows; ++t) {
      const std::vector<float> row(x.begin() + t * in, x.begin() + (t + 1) * in);
      const std::vector<float> expected(together.begin() + t * out, together.begin() + (t + 1) * out);
      ASSERT_EQ(Product(*backend_, *matrix, row, 1), expected) << name << " row " << t;
    }
  }
}

TEST(QuantizedMatrix, IsFilledByThreadsThatShareBlocks) {
  std::mt19937 random(3);
  for (const auto& [name, quantization] : AllQuantizedCases()) {
    const QuantizedWeights weights = RandomQuantized(35, 192, quantization, random);
    const auto matrix = *QuantizedMatrix::Create(weights.spec);
    std::vector<std::thread> threads;
    for (int64_t t = 0; t < 3; ++t) {
      threads.emplace_back([&, t] {
        for (int64_t row = t; row < 35; row += 3) weights.Fill(*matrix, row, row + 1);
      });
    }
    for (std::thread& thread : threads) thread.join();
    std::vector<float> row(192);
    for (int64_t r = 0; r < 35; ++r) {
      matrix->UnpackRow(r, row.data());
      for (int64_t c = 0; c < 192; ++c) ASSERT_EQ(row[c], static_cast<float>(weights.Row(r)[c])) << name << " " << r;
    }
  }
}

TEST(QuantizedMatrix, HoldsTheBytesThatThePlanCounts) {
  for (const auto& [name, quantization] : AllQuantizedCases()) {
    for (const auto& [out, in] : {std::pair<int64_t, int64_t>{16, 128}, {35, 192}, {0, 64}, {1000, 1024}}) {
      const MatrixSpec spec = {out, in, DType::kBFloat16, quantization};
      EXPECT_EQ((*QuantizedMatrix::Create(spec))->bytes(), PackedQuantizedBytes(spec)) << name;
    }
  }
  // Two blocks of scales (16 x 8 x 2 bytes), zeros (16 x 8) and codes (16 x 512).
  EXPECT_EQ(PackedQuantizedBytes({32, 1024, DType::kBFloat16, {WeightFormat::kInt4, 128, true}}),
            2u * (256 + 128 + 8192));
}

TEST(QuantizedMatrix, RefusesWhatDoesNotFit) {
  const auto matrix = *QuantizedMatrix::Create({20, 128, DType::kBFloat16, {WeightFormat::kInt4, 64}});
  const std::vector<float> no_half(2, 0.1f);
  const absl::Status status = matrix->FillScales(3, {.num_rows = 1, .values = no_half});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("row 3"));
  const std::vector<uint8_t> codes(64);
  EXPECT_EQ(matrix->FillCodes(20, ConstTensorView(codes.data(), DType::kUInt8, {1, 64})).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(matrix->FillColumnOrder({}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(matrix->Fill(0, View(no_half, {1, 2})).code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace switchyard
