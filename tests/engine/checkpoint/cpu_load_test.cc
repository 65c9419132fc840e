// Loading into the CPU backends, whose matrices are packed: blocks cut their groups of rows, from several threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "engine/checkpoint/checkpoint.h"
#include "tests/engine/checkpoint/checkpoint_files.h"
#include "tests/engine/checkpoint/loaded_weights.h"

namespace switchyard {
namespace {

// Whatever they compute with every weight of a model: equal weights give equal bits.
class Products {
 public:
  Products(Backend& backend, const DecoderSpec& spec, ModelWeights& weights) : backend_(backend) {
    std::vector<int32_t> ids(static_cast<size_t>(spec.vocab_size));
    std::iota(ids.begin(), ids.end(), 0);
    std::vector<float> rows(ids.size() * static_cast<size_t>(spec.hidden_size));
    backend.EmbedTokens(*weights.embedding, ConstTensorView::Of(std::span<const int32_t>(ids)),
                        TensorView::Of(std::span(rows), Shape{spec.vocab_size, spec.hidden_size}));
    Append(rows);
    Multiply(*weights.lm_head);
    for (LayerWeights& layer : weights.layers) {
      Multiply(*layer.qkv);
      Multiply(*layer.attention_output);
      Multiply(*layer.router);
      for (int64_t expert = 0; expert < layer.experts->spec().num_experts; ++expert) Run(*layer.experts, expert);
    }
  }

  const std::vector<float>& values() const { return values_; }

 private:
  static constexpr int64_t kRows = 3;

  static std::vector<float> Waves(int64_t count) {
    std::vector<float> waves(static_cast<size_t>(count));
    for (size_t i = 0; i < waves.size(); ++i) waves[i] = std::sin(1.0f + 0.7f * static_cast<float>(i));
    return waves;
  }
  void Append(const std::vector<float>& values) { values_.insert(values_.end(), values.begin(), values.end()); }
  void Multiply(const Matrix& matrix) {
    const std::vector<float> x = Waves(kRows * matrix.spec().in_features);
    std::vector<float> y(static_cast<size_t>(kRows * matrix.spec().out_features));
    backend_.Linear(ConstTensorView::Of(std::span<const float>(x), Shape{kRows, matrix.spec().in_features}), matrix,
                    TensorView::Of(std::span(y), Shape{kRows, matrix.spec().out_features}));
    Append(y);
  }
  void Run(const ExpertWeights& experts, int64_t expert) {
    const Shape shape{kRows, experts.spec().hidden_size};
    const std::vector<float> x = Waves(shape.num_elements());
    const std::vector<int32_t> slots(kRows, static_cast<int32_t>(expert));
    const std::vector<float> ones(kRows, 1.0f);
    std::vector<float> y(x.size());
    backend_.RunExperts(experts, {.rows = ConstTensorView::Of(std::span<const float>(x), shape),
                                  .slots = ConstTensorView::Of(std::span<const int32_t>(slots), Shape{kRows, 1}),
                                  .weights = ConstTensorView::Of(std::span<const float>(ones), Shape{kRows, 1}),
                                  .out = TensorView::Of(std::span(y), shape)});
    Append(y);
  }

  Backend& backend_;
  std::vector<float> values_;
};

class CpuLoadTest : public ::testing::TestWithParam<bool> {
 protected:
  std::unique_ptr<Backend> MakeBackend() const { return CreateCpuBackend({.reference = GetParam()}); }
};

TEST_P(CpuLoadTest, BlocksThatCutGroupsOfRowsGiveTheSameWeights) {
  for (const DType dtype : {DType::kBFloat16, DType::kFloat16, DType::kFloat32}) {
    SCOPED_TRACE(Name(dtype));
    TemporaryDirectory directory;
    // 40 columns: chunks of 16 have a remainder. 54 rows: groups of 4 have one.
    ASSERT_TRUE(WriteSyntheticCheckpoint({.vocab_size = 54,
                                          .hidden_size = 40,
                                          .intermediate_size = 22,
                                          .num_heads = 4,
                                          .head_dim = 10,
                                          .dtype = dtype,
                                          .num_files = 2},
                                         directory.path())
                    .ok());
    const auto checkpoint = Checkpoint::Open(directory.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    const DecoderSpec& spec = (*checkpoint)->spec();
    const WeightShard shard = SecondHalf(spec);
    const std::unique_ptr<Backend> backend = MakeBackend();
    auto expected = (*checkpoint)->Load(shard, *backend, {});
    ASSERT_TRUE(expected.ok()) << expected.status();
    const Products expected_products(*backend, spec, *expected);
    for (const int64_t rows : {1, 3}) {
      const LoadOptions options{.num_threads = 4,
                                .block_bytes = rows * spec.hidden_size * static_cast<int64_t>(SizeOf(dtype))};
      auto weights = (*checkpoint)->Load(shard, *backend, {}, options);
      ASSERT_TRUE(weights.ok()) << weights.status();
      EXPECT_EQ(Products(*backend, spec, *weights).values(), expected_products.values());
    }
  }
}

TEST_P(CpuLoadTest, DummyWeightsAreFiniteAndSpreadAsAsked) {
  const auto checkpoint = Checkpoint::OpenConfig(SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const DecoderSpec& spec = (*checkpoint)->spec();
  const std::unique_ptr<Backend> backend = MakeBackend();
  auto weights = (*checkpoint)->Load(WholeModel(spec), *backend, {});
  ASSERT_TRUE(weights.ok()) << weights.status();
  const std::vector<float> values = Products(*backend, spec, *weights).values();
  EXPECT_TRUE(std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); }));
  // The embedding's rows come first. Of n normal numbers the deviation found lies within 5 / sqrt(2 n) of the true one.
  const auto count = static_cast<size_t>(spec.vocab_size * spec.hidden_size);
  double squares = 0;
  for (size_t i = 0; i < count; ++i) squares += double{values[i]} * values[i];
  const double tolerance = 0.02 * (5 / std::sqrt(2.0 * static_cast<double>(count)) + 1.0 / 512);  // and bfloat16's
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(count)), 0.02, tolerance);
}

INSTANTIATE_TEST_SUITE_P(Kernels, CpuLoadTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "Reference" : "Fast"; });

}  // namespace
}  // namespace switchyard
