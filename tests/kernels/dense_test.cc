// Embedding, norms, linear layers and row operations of every CPU backend.
#include <cstring>

#include "gmock/gmock.h"
#include "tests/kernels/test_backends.h"

namespace switchyard {
namespace {

using testing::HasSubstr;

class DenseTest : public BackendTest {};
INSTANTIATE_OVER_BACKENDS(DenseTest);

constexpr DType kWeightTypes[] = {DType::kBFloat16, DType::kFloat16, DType::kFloat32};

TEST_P(DenseTest, LinearMultipliesByTheTransposedWeight) {
  const struct {
    int64_t rows, out, in;
  } shapes[] = {{0, 5, 7},   {1, 1, 1},    {1, 64, 128},  {2, 3, 17},    {3, 130, 48},  {4, 9, 16},    {5, 33, 100},
                {6, 8, 192}, {7, 61, 130}, {13, 257, 96}, {50, 40, 320}, {130, 12, 64}, {9, 6, 14336}, {17, 1024, 31}};
  for (const DType dtype : kWeightTypes) {
    for (const auto& [rows, out, in] : shapes) {
      SCOPED_TRACE(testing::Message() << Name(dtype) << " " << rows << " x " << in << " -> " << out);
      const TestMatrix weight = RandomMatrix(*backend_, {out, in, dtype}, random_);
      const std::vector<float> x = Normal(rows * in);
      std::vector<float> y(rows * out, NAN);
      backend_->Linear(View(x, {rows, in}), *weight.matrix, View(y, {rows, out}));
      for (int64_t t = 0; t < rows; ++t) {
        const std::vector<double> row(x.begin() + t * in, x.begin() + (t + 1) * in);
        for (int64_t o = 0; o < out; ++o) {
          double expected = 0;
          for (int64_t i = 0; i < in; ++i) expected += row[i] * weight.Row(o)[i];
          ASSERT_NEAR(y[t * out + o], expected, DotTolerance(in, Norm(row.data(), in), Norm(weight.Row(o), in)))
              << "row " << t << " column " << o;
        }
      }
    }
  }
}

TEST_P(DenseTest, LinearOfARowDoesNotSeeTheOtherRows) {
  const TestMatrix weight = RandomMatrix(*backend_, {37, 96, DType::kBFloat16}, random_);
  std::vector<float> x = Normal(8 * 96);
  std::fill(x.begin() + 96, x.begin() + 2 * 96, NAN);
  std::vector<float> y(8 * 37);
  backend_->Linear(View(x, {8, 96}), *weight.matrix, View(y, {8, 37}));
  for (int64_t i = 0; i < 8 * 37; ++i) EXPECT_EQ(std::isnan(y[i]), i / 37 == 1) << i;
}

TEST_P(DenseTest, EmbedTokensCopiesTableRows) {
  for (const DType dtype : kWeightTypes) {
    const TestMatrix table = RandomMatrix(*backend_, {11, 50, dtype}, random_);
    const std::vector<int32_t> ids = {10, 0, 3, 3, 7};
    std::vector<float> out(ids.size() * 50);
    backend_->EmbedTokens(*table.matrix, View(ids, {5}), View(out, {5, 50}));
    for (size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i], table.Row(ids[i / 50])[i % 50]) << Name(dtype);
  }
}

TEST_P(DenseTest, RmsNormDividesByTheRootMeanSquare) {
  for (const int64_t hidden : {1, 7, 16, 129, 4096}) {
    const int64_t rows = Uniform(0, 9);
    std::vector<float> x = Normal(rows * hidden, 3.0f);
    const std::vector<float> weight = Normal(hidden);
    std::vector<float> out(rows * hidden);
    const float eps = 1e-5f;
    backend_->RmsNorm(View(x, {rows, hidden}), View(weight, {hidden}), eps, View(out, {rows, hidden}));
    for (int64_t i = 0; i < rows * hidden; ++i) {
      const std::vector<double> row(x.begin() + i / hidden * hidden, x.begin() + (i / hidden + 1) * hidden);
      const double norm = Norm(row.data(), hidden);
      const double expected = x[i] / std::sqrt(norm * norm / hidden + eps) * weight[i % hidden];
      ASSERT_NEAR(out[i], expected, DotTolerance(hidden, 1, 1) * std::abs(expected)) << hidden;
    }
    backend_->RmsNorm(View(x, {rows, hidden}), View(weight, {hidden}), eps, View(x, {rows, hidden}));
    EXPECT_EQ(x, out) << "in place";
  }
}

TEST_P(DenseTest, AddRmsNormUpdatesTheResidualAndNormalisesIt) {
  const int64_t rows = 5, hidden = 70;
  const std::vector<float> delta = Normal(rows * hidden), weight = Normal(hidden), before = Normal(rows * hidden);
  std::vector<float> residual = before, out(rows * hidden), expected(rows * hidden);
  backend_->AddRmsNorm(View(delta, {rows, hidden}), View(weight, {hidden}), 1e-6f, View(residual, {rows, hidden}),
                       View(out, {rows, hidden}));
  for (int64_t i = 0; i < rows * hidden; ++i) ASSERT_EQ(residual[i], before[i] + delta[i]);
  backend_->RmsNorm(View(residual, {rows, hidden}), View(weight, {hidden}), 1e-6f, View(expected, {rows, hidden}));
  EXPECT_EQ(out, expected);
}

TEST_P(DenseTest, GatherRowsMovesFloatAndIntegerRows) {
  const std::vector<int32_t> index = {3, 0, 3, 1};
  const std::vector<float> floats = Normal(4 * 9);
  std::vector<float> gathered(4 * 9);
  backend_->GatherRows(View(floats, {4, 9}), View(index, {4}), View(gathered, {4, 9}));
  for (int64_t i = 0; i < 36; ++i) EXPECT_EQ(gathered[i], floats[index[i / 9] * 9 + i % 9]);
  const std::vector<int32_t> ids = {5, 6, 7, 8};
  std::vector<int32_t> moved(4);
  backend_->GatherRows(View(ids, {4}), View(index, {4}), View(moved, {4}));
  EXPECT_THAT(moved, testing::ElementsAre(8, 5, 8, 6));
}

TEST_P(DenseTest, SumRowsAddsTheListedRowsAndZeroesTheOthers) {
  const int64_t width = 37;
  const std::vector<float> src = Normal(6 * width);
  const std::vector<int32_t> begin = {0, 2, 2, 5}, index = {5, 1, 0, 0, 4};
  std::vector<float> dst(3 * width, NAN);
  backend_->SumRows(View(src, {6, width}), View(begin, {4}), View(index, {5}), View(dst, {3, width}));
  for (int64_t i = 0; i < width; ++i) {
    EXPECT_EQ(dst[i], src[5 * width + i] + src[width + i]);
    EXPECT_EQ(dst[width + i], 0.0f);
    EXPECT_EQ(dst[2 * width + i], src[i] + src[i] + src[4 * width + i]);
  }
}

TEST_P(DenseTest, AddAddsEveryElement) {
  for (const int64_t count : {0, 3, 40000}) {
    const std::vector<float> x = Normal(count), before = Normal(count);
    std::vector<float> acc = before;
    backend_->Add(View(x, {count}), View(acc, {count}));
    for (int64_t i = 0; i < count; ++i) ASSERT_EQ(acc[i], before[i] + x[i]);
  }
}

TEST_P(DenseTest, AllocatedMemoryIsZeroedAndAligned) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{100}, size_t{9} << 20}) {
    const absl::StatusOr<Buffer> buffer = backend_->Allocate(bytes);
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u);
    const auto* data = static_cast<const uint8_t*>(buffer->data());
    for (size_t i = 0; i < bytes; i += 97) ASSERT_EQ(data[i], 0);
  }
  const absl::StatusOr<Buffer> impossible = backend_->Allocate(size_t{1} << 60);
  ASSERT_EQ(impossible.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(impossible.status().message(), HasSubstr("1152921504606846976"));
}

TEST_P(DenseTest, FillRefusesRowsThatDoNotFit) {
  auto matrix = *backend_->CreateMatrix({4, 8, DType::kFloat32});
  const std::vector<float> rows(2 * 8);
  EXPECT_TRUE(matrix->Fill(2, View(rows, {2, 8})).ok());
  for (const absl::Status& status : {matrix->Fill(3, View(rows, {2, 8})), matrix->Fill(0, View(rows, {4, 4})),
                                     matrix->Fill(-1, View(rows, {2, 8}))}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr("F32 matrix [4, 8]"));
  }
  EXPECT_EQ(backend_->CreateMatrix({4, 8, DType::kInt32}).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace switchyard
