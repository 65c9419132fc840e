// The bfloat16 path of the fast CPU backend; skipped where the CPU does not multiply bfloat16.
#include <cstring>
#include <filesystem>
#include <thread>

#include "gmock/gmock.h"
#include "kernels/cpu/bf16_gemm.h"
#include "kernels/cpu/bf16_layout.h"
#include "tests/kernels/test_backends.h"

namespace switchyard {
namespace {

using testing::HasSubstr;
using testing::Not;

// One rounding of an activation; see DotTolerance for why the roundings of a sum add like a random walk.
constexpr double kBf16Epsilon = 1.0 / 256;
double RoundedDotTolerance(int64_t count, const double* x, const double* w) {
  double squares = 0;
  for (int64_t i = 0; i < count; ++i) squares += x[i] * x[i] * w[i] * w[i];
  return 5 * kBf16Epsilon * std::sqrt(squares) + DotTolerance(count, Norm(x, count), Norm(w, count));
}

int64_t NumThreadsOfProcess() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks));
}

class Bf16ActivationsTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    ThreadPool pool(1);
    if (const auto gemm = Bf16Gemm::Create(pool); !gemm.ok()) GTEST_SKIP() << gemm.status().message();
    backend_ = CreateCpuBackend({.num_threads = GetParam(), .bf16_activations = true});
  }

  std::vector<float> Normal(int64_t count) {
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float& value : values) value = normal(random_);
    return values;
  }

  std::unique_ptr<Backend> backend_;
  std::mt19937 random_{7};
};
INSTANTIATE_TEST_SUITE_P(Threads, Bf16ActivationsTest, testing::Values(1, 3));

TEST(Bf16Layout, RoundsToNearestEvenAndPadsWithZeros) {
  std::vector<float> in;
  for (uint32_t bits = 0x3F80'0000; bits < 0x3F84'0000; bits += 0x1357) in.push_back(std::bit_cast<float>(bits));
  for (const float value : {0.0f, -0.0f, 1e-40f, -3.5f, 3.4e38f, INFINITY, -INFINITY}) in.push_back(value);
  const auto count = static_cast<int64_t>(in.size());
  std::vector<uint16_t> out(count + 5, 0xAAAA);
  RoundToBFloat16(in.data(), count, count + 4, out.data());
  for (int64_t i = 0; i < count; ++i) ASSERT_EQ(out[i], BFloat16FromFloat(in[i])) << in[i];
  EXPECT_THAT(std::vector<uint16_t>(out.end() - 5, out.end()), testing::ElementsAre(0, 0, 0, 0, 0xAAAA));
  const std::vector<float> nans(40, std::bit_cast<float>(0x7FFF'FFFFu));
  out.resize(40);
  RoundToBFloat16(nans.data(), 40, 40, out.data());
  for (const uint16_t bits : out) EXPECT_TRUE(std::isnan(FloatFromBFloat16(bits)));
}

TEST(Bf16Layout, PanelsHoldThePairsOfEachColumnAndZerosBeyond) {
  const int64_t out_features = 64 + 6, in_features = 50, depth = 64;
  const auto weight = *PackedMatrix::Create({out_features, in_features, DType::kBFloat16});
  std::vector<uint16_t> rows(out_features * in_features);
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<uint16_t>(i + 1);
  ASSERT_TRUE(weight->Fill(0, ConstTensorView(rows.data(), DType::kBFloat16, {out_features, in_features})).ok());
  for (int64_t panel = 0; panel < 2; ++panel) {
    std::vector<uint16_t> out(depth * 64, 0xAAAA);
    UnpackPanel(*weight, panel, depth, out.data());
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t column = 0; column < 64; ++column) {
        const int64_t row = panel * 64 + column;
        const uint16_t expected = row < out_features && k < in_features ? rows[row * in_features + k] : 0;
        ASSERT_EQ(out[(k / 2 * 64 + column) * 2 + k % 2], expected) << "row " << row << " column " << k;
      }
    }
  }
}

TEST_P(Bf16ActivationsTest, LinearIsThatOfRoundedActivations) {
  const struct {
    int64_t rows, out, in;
  } shapes[] = {{16, 64, 32}, {17, 130, 50}, {64, 61, 96}, {100, 7, 320}, {145, 200, 1000}, {33, 64, 4096}};
  for (const auto& [rows, out, in] : shapes) {
    SCOPED_TRACE(testing::Message() << rows << " x " << in << " -> " << out);
    const TestMatrix weight = RandomMatrix(*backend_, {out, in, DType::kBFloat16}, random_);
    const std::vector<float> x = Normal(rows * in);
    std::vector<float> y(rows * out, NAN);
    backend_->Linear(View(x, {rows, in}), *weight.matrix, View(y, {rows, out}));
    bool differs_from_float32 = false;
    for (int64_t t = 0; t < rows; ++t) {
      std::vector<double> exact(in), rounded(in);
      for (int64_t i = 0; i < in; ++i) {
        exact[i] = x[t * in + i];
        rounded[i] = FloatFromBFloat16(BFloat16FromFloat(x[t * in + i]));
      }
      for (int64_t o = 0; o < out; ++o) {
        double of_exact = 0, of_rounded = 0;
        for (int64_t i = 0; i < in; ++i) {
          of_exact += exact[i] * weight.Row(o)[i];
          of_rounded += rounded[i] * weight.Row(o)[i];
        }
        const double float32 = DotTolerance(in, Norm(exact.data(), in), Norm(weight.Row(o), in));
        // The CPU's pairwise products round once more than a chain of FMAs does.
        ASSERT_NEAR(y[t * out + o], of_rounded, 2 * float32) << "row " << t << " column " << o;
        ASSERT_NEAR(y[t * out + o], of_exact, RoundedDotTolerance(in, exact.data(), weight.Row(o)));
        differs_from_float32 |= std::abs(y[t * out + o] - of_exact) > float32;
      }
    }
    EXPECT_TRUE(differs_from_float32) << "the float32 kernel ran instead";
  }
}

TEST_P(Bf16ActivationsTest, FewRowsAndOtherWeightTypesStayFloat32) {
  const auto float32 = CreateCpuBackend({.num_threads = GetParam()});
  for (const auto& [rows, dtype] : {std::pair{Bf16Gemm::kMinRows - 1, DType::kBFloat16},
                                    std::pair{int64_t{64}, DType::kFloat16}, std::pair{int64_t{64}, DType::kFloat32}}) {
    const TestMatrix weight = RandomMatrix(*backend_, {70, 96, dtype}, random_);
    const std::vector<float> x = Normal(rows * 96);
    std::vector<float> y(rows * 70), expected(rows * 70);
    backend_->Linear(View(x, {rows, 96}), *weight.matrix, View(y, {rows, 70}));
    float32->Linear(View(x, {rows, 96}), *weight.matrix, View(expected, {rows, 70}));
    EXPECT_EQ(y, expected) << rows << " " << Name(dtype);
  }
}

TEST_P(Bf16ActivationsTest, RouterStaysFloat32) {
  const auto float32 = CreateCpuBackend({.num_threads = GetParam()});
  const TestMatrix router = RandomMatrix(*backend_, {64, 96, DType::kBFloat16}, random_, 0.1f);
  const std::vector<float> x = Normal(80 * 96);
  std::vector<int32_t> experts(80 * 2);
  std::vector<float> weights(80 * 2), expected(80 * 2);
  std::vector<int32_t> counts(64);
  backend_->Route({64, 2, true}, View(x, {80, 96}), *router.matrix, ConstTensorView(),
                  {View(experts, {80, 2}), View(weights, {80, 2}), View(counts, {64})});
  float32->Route({64, 2, true}, View(x, {80, 96}), *router.matrix, ConstTensorView(),
                 {View(experts, {80, 2}), View(expected, {80, 2}), View(counts, {64})});
  EXPECT_EQ(weights, expected);
}

TEST_P(Bf16ActivationsTest, ExpertsAreCloseToFloat32HoweverTheirRowsAreSpread) {
  const auto float32 = CreateCpuBackend({.num_threads = GetParam()});
  const ExpertWeightsSpec spec{.num_experts = 5, .hidden_size = 100, .intermediate_size = 70};
  const auto experts = *backend_->CreateExperts(spec);
  for (int64_t e = 0; e < spec.num_experts; ++e) {
    FillRandom(experts->gate_up(e), random_, 0.1f);
    FillRandom(experts->down(e), random_, 0.12f);
  }
  const int64_t rows = 120, top_k = 2;
  const std::vector<float> x = Normal(rows * spec.hidden_size);
  std::vector<int32_t> slots(rows * top_k);
  std::vector<float> weights(rows * top_k, 0.5f);
  // Expert 0 has 70 rows, 1 has 50, 2 has 3, 3 has none, 4 has 17; the others lie on another rank.
  for (int64_t t = 0; t < rows; ++t) {
    slots[t * 2] = t < 70 ? 0 : 1;
    slots[t * 2 + 1] = t < 3 ? 2 : t < 20 ? 4 : -1;
  }
  std::vector<float> out(rows * spec.hidden_size, NAN), expected = out;
  const auto run = [&](Backend& backend, std::vector<float>& result) {
    backend.RunExperts(*experts, {View(x, {rows, spec.hidden_size}), View(slots, {rows, top_k}),
                                  View(weights, {rows, top_k}), 0, View(result, {rows, spec.hidden_size})});
  };
  run(*backend_, out);
  run(*float32, expected);
  double error = 0, size = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    error += std::pow(static_cast<double>(out[i]) - expected[i], 2);
    size += std::pow(static_cast<double>(expected[i]), 2);
  }
  // Two products with rounded inputs: relative errors of eps/sqrt(3) each at most, and the gate's product doubles one.
  EXPECT_LT(std::sqrt(error / size), 2 * kBf16Epsilon);
  EXPECT_GT(error, 0.0) << "the float32 kernel ran instead";
}

TEST_P(Bf16ActivationsTest, StartsNoThreadsOfOpenMp) {
  const TestMatrix weight = RandomMatrix(*backend_, {512, 256, DType::kBFloat16}, random_);
  const std::vector<float> x = Normal(128 * 256);
  std::vector<float> y(128 * 512);
  const int64_t before = NumThreadsOfProcess();
  // From a thread that has not called oneDNN before as well as from this one.
  std::thread([&] { backend_->Linear(View(x, {128, 256}), *weight.matrix, View(y, {128, 512})); }).join();
  backend_->Linear(View(x, {128, 256}), *weight.matrix, View(y, {128, 512}));
  EXPECT_EQ(NumThreadsOfProcess(), before);
}

TEST_P(Bf16ActivationsTest, DescriptionNamesTheActivations) {
  EXPECT_THAT(backend_->Description(), HasSubstr("bfloat16 activations"));
  EXPECT_THAT(CreateCpuBackend({.num_threads = 1})->Description(), Not(HasSubstr("activations")));
}

// Needs no such CPU: what an operator must be told where the option can't be had.
TEST(Bf16Activations, DescriptionSaysWhyTheyStayFloat32) {
  ThreadPool pool(1);
  const auto gemm = Bf16Gemm::Create(pool);
  if (gemm.ok()) GTEST_SKIP() << "this CPU multiplies bfloat16";
  EXPECT_THAT(CreateCpuBackend({.num_threads = 1, .bf16_activations = true})->Description(),
              HasSubstr("float32 activations: "));
}

}  // namespace
}  // namespace switchyard
