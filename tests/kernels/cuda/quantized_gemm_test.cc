#include "kernels/cuda/quantized_gemm.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/kernels/cuda/device_vector.h"
#include "tests/kernels/cuda/half_values.h"
#include "tests/kernels/cuda/quantized_problem.h"

namespace switchyard::cuda {
namespace {

struct Case {
  std::vector<int64_t> counts;  // entries of each expert; one for a dense layer
  int64_t out_features = 0;
  int64_t columns = 0;
  bool is_grouped = true;
  bool is_gate_up = false;
  bool has_weights = false;
  bool has_places = false;
  bool has_float_y = false;
  int num_multiprocessors = 1;  // few: blocks stay for many items
};

// Inputs of one call, on the host. More entries than there are pairs of local experts: the last three of no expert.
struct Problem {
  Case sizes;
  QuantizedForm form = QuantizedForm::kTiled;
  DType dtype = DType::kBFloat16;
  int64_t num_entries = 0;
  std::vector<QuantizedTensor> matrices = {};
  std::vector<uint16_t> x = {};
  std::vector<int32_t> x_row = {};
  std::vector<float> weights = {};
  std::vector<int32_t> places = {};
  std::vector<int32_t> offsets = {};
};

Problem MakeProblem(const Case& sizes, QuantizedForm form, DType dtype, const Quantization& quantization) {
  std::mt19937 random(static_cast<uint32_t>(sizes.columns * 1000 + sizes.out_features));
  Problem problem{.sizes = sizes, .form = form, .dtype = dtype};
  problem.offsets.push_back(0);
  for (const int64_t count : sizes.counts) {
    problem.offsets.push_back(problem.offsets.back() + static_cast<int32_t>(count));
    const int64_t rows = sizes.is_gate_up ? 2 * sizes.out_features : sizes.out_features;
    problem.matrices.push_back(RandomQuantized(quantization, rows, sizes.columns, random));
    std::vector<int32_t> places(static_cast<size_t>(sizes.out_features));
    std::iota(places.begin(), places.end(), 0);
    std::shuffle(places.begin(), places.end(), random);
    problem.places.insert(problem.places.end(), places.begin(), places.end());
  }
  problem.num_entries = problem.offsets.back();
  const int64_t x_rows = sizes.is_grouped ? problem.num_entries / 2 + 1 : problem.num_entries;
  problem.x = RandomHalves(dtype, x_rows * sizes.columns, random);
  std::uniform_int_distribution<int32_t> row(0, static_cast<int32_t>(x_rows) - 1);
  std::uniform_real_distribution<float> weight(0.1f, 1.0f);
  for (int64_t i = 0; i < problem.num_entries; ++i) {
    problem.x_row.push_back(sizes.is_grouped ? row(random) : static_cast<int32_t>(i));
    problem.weights.push_back(sizes.has_weights ? weight(random) : 1.0f);
  }
  return problem;
}

// y [entries, out_features] as it lies in memory; entries of no expert are NaN.
std::vector<double> RunOnDevice(const Problem& problem) {
  constexpr int64_t kOfNoExpert = 3;
  const Case& sizes = problem.sizes;
  const auto num_experts = static_cast<int64_t>(sizes.counts.size());
  const int64_t num_pairs = problem.num_entries + (sizes.is_grouped ? kOfNoExpert : 0);
  ExpertPermutation permutation{.num_pairs = num_pairs, .num_experts = num_experts};
  std::vector<int32_t> tile_begin = {0};
  std::vector<int32_t> tile_expert;
  std::vector<int32_t> active_expert;
  for (int64_t e = 0; e < num_experts; ++e) {
    if (sizes.counts[static_cast<size_t>(e)] > 0) active_expert.push_back(static_cast<int32_t>(e));
    const int64_t tiles = (sizes.counts[static_cast<size_t>(e)] + kExpertTileRows - 1) / kExpertTileRows;
    tile_expert.insert(tile_expert.end(), static_cast<size_t>(tiles), static_cast<int32_t>(e));
    tile_begin.push_back(static_cast<int32_t>(tile_expert.size()));
  }
  CHECK(static_cast<int64_t>(tile_expert.size()) <= permutation.max_tiles());
  tile_expert.resize(static_cast<size_t>(permutation.max_tiles()), -1);
  active_expert.resize(static_cast<size_t>(permutation.max_active_experts()), -1);
  const DeviceVector<int32_t> offsets(problem.offsets);
  const DeviceVector<int32_t> tile_begins(tile_begin);
  const DeviceVector<int32_t> tile_experts(tile_expert);
  const DeviceVector<int32_t> active_experts(active_expert);
  if (sizes.is_grouped) {
    permutation.offsets = offsets.data();
    permutation.tile_begin = tile_begins.data();
    permutation.tile_expert = tile_experts.data();
    permutation.active_experts = active_experts.data();
  }
  const DeviceVector<uint8_t> memory = UploadQuantized(problem.matrices);
  const DeviceVector<uint16_t> x(problem.x);
  const DeviceVector<int32_t> x_row(problem.x_row);
  const DeviceVector<float> weights(problem.weights);
  const DeviceVector<int32_t> places(problem.places);
  const auto y_size = static_cast<size_t>(num_pairs * sizes.out_features);
  const DeviceVector<uint16_t> half_y(sizes.has_float_y ? 0 : y_size);
  const DeviceVector<float> float_y(sizes.has_float_y ? y_size : 0);
  const QuantizedGemmArgs args = {.dtype = problem.dtype,
                                  .y_dtype = sizes.has_float_y ? DType::kFloat32 : problem.dtype,
                                  .is_gate_up = sizes.is_gate_up,
                                  .weights = ViewOf(problem.matrices, memory),
                                  .x = x.data(),
                                  .x_row = sizes.is_grouped ? x_row.data() : nullptr,
                                  .weight = sizes.has_weights ? weights.data() : nullptr,
                                  .y = sizes.has_float_y ? static_cast<void*>(float_y.data()) : half_y.data(),
                                  .y_place = sizes.has_places ? places.data() : nullptr,
                                  .y_place_stride = sizes.out_features,
                                  .permutation = permutation,
                                  .num_multiprocessors = sizes.num_multiprocessors};
  if (problem.form == QuantizedForm::kTiled) {
    LaunchQuantizedGemmTiled(args, TestStream());
  } else {
    LaunchQuantizedGemmStreaming(args, TestStream());
  }
  std::vector<double> y;
  for (const uint16_t value : half_y.ToHost()) y.push_back(FloatFromHalf(problem.dtype, value));
  for (const float value : float_y.ToHost()) y.push_back(value);
  return y;
}

// A sum of products and what float32 may make of it.
struct Bounded {
  double value = 0;
  double error = 0;
};

class Reference {
 public:
  explicit Reference(const Problem& problem) : problem_(problem) {
    for (const QuantizedTensor& matrix : problem.matrices) values_.push_back(ProductValues(matrix, problem.dtype));
    for (const uint16_t bits : problem.x) x_.push_back(FloatFromHalf(problem.dtype, bits));
  }

  Bounded At(size_t expert, int64_t entry, int64_t feature) const {
    const Case& sizes = problem_.sizes;
    Bounded y = Dot(expert, entry, feature);
    if (sizes.is_gate_up) {
      const Bounded up = Dot(expert, entry, sizes.out_features + feature);
      const double silu = y.value / (1.0 + std::exp(-y.value));
      // The slope of silu is below 1.1.
      y = {silu * up.value, 1.1 * y.error * std::abs(up.value) + std::abs(silu) * up.error};
    }
    const double weight = problem_.weights[static_cast<size_t>(entry)];
    y = {y.value * weight, y.error * weight};
    y.error += sizes.has_float_y ? 0 : HalfRounding(problem_.dtype, y.value);
    return y;
  }

 private:
  Bounded Dot(size_t expert, int64_t entry, int64_t row) const {
    const int64_t columns = problem_.sizes.columns;
    const double* w = values_[expert].data() + row * columns;
    const double* x = x_.data() + problem_.x_row[static_cast<size_t>(entry)] * columns;
    Bounded sum;
    double magnitude = 0;
    for (int64_t i = 0; i < columns; ++i) {
      sum.value += w[i] * x[i];
      magnitude += std::abs(w[i] * x[i]);
    }
    sum.error = 0x1p-23 * static_cast<double>(columns + 8) * magnitude;
    return sum;
  }

  const Problem& problem_;
  std::vector<std::vector<double>> values_;
  std::vector<double> x_;
};

void ExpectRight(const Problem& problem) {
  const Case& sizes = problem.sizes;
  const std::vector<double> y = RunOnDevice(problem);
  const Reference reference(problem);
  for (size_t expert = 0; expert < sizes.counts.size(); ++expert) {
    for (int64_t entry = problem.offsets[expert]; entry < problem.offsets[expert + 1]; ++entry) {
      for (int64_t feature = 0; feature < sizes.out_features; ++feature) {
        const auto of_expert = static_cast<int64_t>(expert) * sizes.out_features + feature;
        const int64_t place = sizes.has_places ? problem.places[static_cast<size_t>(of_expert)] : feature;
        const Bounded expected = reference.At(expert, entry, feature);
        ASSERT_NEAR(y[static_cast<size_t>(entry * sizes.out_features + place)], expected.value, 1.05 * expected.error)
            << "expert " << expert << ", entry " << entry << " of " << problem.num_entries << ", feature " << feature
            << " of " << sizes.out_features << ", " << sizes.columns << " columns";
      }
    }
  }
  for (size_t i = static_cast<size_t>(problem.num_entries * sizes.out_features); i < y.size(); ++i) {
    ASSERT_TRUE(std::isnan(y[i])) << "written beyond the entries of experts";
  }
}

using Parameters = std::tuple<QuantizedForm, DType, NamedQuantization>;

std::string NameOf(QuantizedForm form) { return form == QuantizedForm::kTiled ? "Tiled" : "Streaming"; }

class QuantizedGemmTest : public testing::TestWithParam<Parameters> {
 protected:
  void ExpectRightFor(const Case& sizes) {
    ExpectRight(MakeProblem(sizes, std::get<0>(GetParam()), std::get<1>(GetParam()), quantization()));
  }
  Quantization quantization() const { return std::get<2>(GetParam()).quantization; }
  // Of columns that rows of the format may have any multiple of.
  int64_t column_step() const { return quantization().format == WeightFormat::kNf4 ? 64 : 8; }
};

INSTANTIATE_TEST_SUITE_P(All, QuantizedGemmTest,
                         testing::Combine(testing::Values(QuantizedForm::kStreaming, QuantizedForm::kTiled),
                                          testing::Values(DType::kBFloat16, DType::kFloat16),
                                          testing::ValuesIn(AllQuantizations())),
                         [](const testing::TestParamInfo<Parameters>& info) {
                           return NameOf(std::get<0>(info.param)) + Name(std::get<1>(info.param)) +
                                  std::get<2>(info.param).name;
                         });

TEST_P(QuantizedGemmTest, MultipliesRaggedExpertsAndSkipsEmptyOnes) {
  ExpectRightFor({.counts = {17, 0, 1, 40, 0}, .out_features = 72, .columns = 192, .has_weights = true});
  ExpectRightFor({.counts = {0, 17, 1, 40}, .out_features = 72, .columns = 192, .is_gate_up = true});
}

// Tiles that are full, or all but, and the rest of one.
TEST_P(QuantizedGemmTest, MultipliesFullTiles) {
  ExpectRightFor({.counts = {135}, .out_features = 136, .columns = 64 * 7, .is_grouped = false});
  ExpectRightFor({.counts = {113, 112}, .out_features = 24, .columns = 128, .is_gate_up = true});
}

// Longer than both rings and some panels of scales, and with more than one nested scale in a row.
TEST_P(QuantizedGemmTest, SumsOverManySteps) {
  ExpectRightFor({.counts = {18}, .out_features = 16, .columns = 64 * 9, .is_grouped = false});
  ExpectRightFor({.counts = {3, 2}, .out_features = 16, .columns = 64 * 24, .is_gate_up = true});
  ExpectRightFor({.counts = {2}, .out_features = 8, .columns = 128 * 67, .is_grouped = false});
  ExpectRightFor({.counts = {9}, .out_features = 8, .columns = 128 * 67});
}

// Rows end anywhere in a step, a block and a group.
TEST_P(QuantizedGemmTest, TakesAnyNumberOfColumns) {
  for (const int64_t steps : {1, 9, 17, 23, 25}) {
    ExpectRightFor({.counts = {2}, .out_features = 16, .columns = column_step() * steps, .is_grouped = false});
  }
}

// Few and many entries of an expert, with blocks for few and for many of the rows: every shape of the streaming form.
TEST_P(QuantizedGemmTest, TakesAnyNumberOfEntries) {
  for (const int64_t count : {1, 4, 5, 9, 33}) {
    ExpectRightFor({.counts = {count, 1}, .out_features = 264, .columns = 320});
    ExpectRightFor({.counts = {2, count}, .out_features = 136, .columns = 192, .is_gate_up = true});
    ExpectRightFor(
        {.counts = {count}, .out_features = 40, .columns = 192, .is_grouped = false, .num_multiprocessors = 8});
  }
}

TEST_P(QuantizedGemmTest, TakesAnyNumberOfFeatures) {
  for (const int64_t features : {1, 33, 67, 129}) {
    ExpectRightFor({.counts = {2}, .out_features = features, .columns = 64, .is_grouped = false});
  }
  ExpectRightFor({.counts = {2, 3}, .out_features = 65, .columns = 64, .is_gate_up = true});
}

class QuantizedGemmOutputTest : public testing::TestWithParam<std::tuple<QuantizedForm, DType>> {
 protected:
  static Problem MakeInt4Problem(const Case& sizes) {
    return MakeProblem(sizes, std::get<0>(GetParam()), std::get<1>(GetParam()), Int4());
  }
  static Quantization Int4() { return {.format = WeightFormat::kInt4, .group_size = 128, .has_zeros = true}; }
};
INSTANTIATE_TEST_SUITE_P(All, QuantizedGemmOutputTest,
                         testing::Combine(testing::Values(QuantizedForm::kStreaming, QuantizedForm::kTiled),
                                          testing::Values(DType::kBFloat16, DType::kFloat16)),
                         [](const auto& info) {
                           return NameOf(std::get<0>(info.param)) + Name(std::get<1>(info.param));
                         });

TEST_P(QuantizedGemmOutputTest, WritesFloat32) {
  for (const int64_t features : {72, 67}) {
    ExpectRight(MakeInt4Problem({.counts = {19, 4}, .out_features = features, .columns = 72, .has_float_y = true}));
  }
}

TEST_P(QuantizedGemmOutputTest, WritesFeaturesToThePlacesOfEachExpert) {
  for (const bool is_gate_up : {false, true}) {
    ExpectRight(MakeInt4Problem({.counts = {3, 0, 18},
                                 .out_features = 72,
                                 .columns = 72,
                                 .is_gate_up = is_gate_up,
                                 .has_weights = true,
                                 .has_places = true}));
  }
}

// More tiles of one expert than are ordered as one group.
TEST_P(QuantizedGemmOutputTest, TakesManyTilesOfOneExpert) {
  ExpectRight(MakeInt4Problem({.counts = {5, 2200}, .out_features = 136, .columns = 8}));
  ExpectRight(MakeInt4Problem({.counts = {2200}, .out_features = 136, .columns = 8, .is_grouped = false}));
}

TEST_P(QuantizedGemmOutputTest, GivesTheSameBitsEveryTime) {
  const Problem problem = MakeInt4Problem({.counts = {33}, .out_features = 72, .columns = 136});
  const std::vector<double> first = RunOnDevice(problem);
  const std::vector<double> second = RunOnDevice(problem);
  for (size_t i = 0; i < 33 * 72; ++i) ASSERT_EQ(first[i], second[i]);
}

}  // namespace
}  // namespace switchyard::cuda
