// Quantised weights of the CUDA backend as the engine sees them, on a GPU or emulated, beside the plain CPU backend.
#include <cmath>
#include <random>
#include <thread>

#include "gtest/gtest.h"
#include "kernels/backend.h"
#include "kernels/cpu/float_convert.h"
#include "kernels/cuda/arena.h"
#include "kernels/cuda/quantized_weights.h"
#include "kernels/planning_backend.h"
#include "tests/kernels/cuda/quantized_problem.h"

namespace switchyard {
namespace {

constexpr BackendLimits kLimits = {.max_tokens = 16,
                                   .max_sequences = 2,
                                   .max_expert_rows = 16,
                                   .max_output_rows = 2,
                                   .max_context = 32,
                                   .attention = {.num_heads = 2, .num_kv_heads = 1, .head_dim = 16},
                                   .hidden_size = 128,
                                   .expert_intermediate_size = 64,
                                   .top_k = 2,
                                   .num_local_experts = 4,
                                   .vocab_size = 32};

class QuantizedBackendTest : public testing::TestWithParam<cuda::NamedQuantization> {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<Backend>> created = CreateCudaBackend({.activation_dtype = DType::kFloat16});
    if (absl::IsNotFound(created.status())) GTEST_SKIP() << "needs a GPU: " << created.status();
    ASSERT_TRUE(created.ok()) << created.status();
    gpu_ = *std::move(created);
    ASSERT_TRUE(gpu_->Reserve(kLimits).ok());
  }

  Quantization quantization(bool reordered = false) const {
    Quantization quantization = GetParam().quantization;
    quantization.reordered = reordered;
    return quantization;
  }

  // Rows [begin, end) of `tensor`.
  static void FillRows(Matrix& matrix, const QuantizedTensor& tensor, int64_t begin, int64_t end) {
    const int64_t code_bytes = tensor.quantization.CodeBytes(tensor.columns);
    const ConstTensorView codes(tensor.codes.data() + begin * code_bytes, DType::kUInt8, {end - begin, code_bytes});
    EXPECT_TRUE(matrix.FillScales(begin, tensor.scales.Rows(begin, end)).ok());
    EXPECT_TRUE(matrix.FillCodes(begin, codes).ok());
  }
  // The same random weights, in pieces that begin at odd rows.
  void Fill(Matrix& gpu, Matrix& cpu) {
    const MatrixSpec& spec = gpu.spec();
    const QuantizedTensor tensor =
        cuda::RandomQuantized(spec.quantization, spec.out_features, spec.in_features, random_);
    for (Matrix* matrix : {&gpu, &cpu}) {
      FillRows(*matrix, tensor, 5, spec.out_features);
      FillRows(*matrix, tensor, 0, 1);
      FillRows(*matrix, tensor, 1, 5);
      if (!spec.quantization.reordered) continue;
      EXPECT_TRUE(matrix->FillColumnOrder(tensor.order).ok());
    }
  }

  // Of float16 in the GPU's memory, float32 in the CPU's.
  struct Pair {
    Tensor gpu;
    Tensor cpu;
  };
  Pair RandomPair(Shape shape) {
    Pair pair{*gpu_->AllocateTensor(DType::kFloat16, shape), *cpu_->AllocateTensor(DType::kFloat32, shape)};
    std::normal_distribution<float> normal;
    std::vector<uint16_t> halves;
    for (float& value : pair.cpu.view().As<float>()) {
      halves.push_back(Float16FromFloat(normal(random_)));
      value = FloatFromFloat16(halves.back());
    }
    EXPECT_TRUE(gpu_->CopyFromHost(ConstTensorView(halves.data(), DType::kFloat16, shape), pair.gpu.view()).ok());
    return pair;
  }
  Pair EmptyPair(Shape shape, DType gpu_dtype) {
    return {*gpu_->AllocateTensor(gpu_dtype, shape), *cpu_->AllocateTensor(DType::kFloat32, shape)};
  }
  template <typename T>
  Tensor Upload(Backend& backend, DType dtype, const std::vector<T>& values, Shape shape) {
    Tensor tensor = *backend.AllocateTensor(dtype, shape);
    EXPECT_TRUE(backend.CopyFromHost(ConstTensorView(values.data(), dtype, shape), tensor.view()).ok());
    return tensor;
  }
  void ExpectClose(const Pair& pair, float tolerance) {
    const ConstTensorView gpu = pair.gpu.view();
    std::vector<std::byte> bytes(gpu.bytes());
    ASSERT_TRUE(gpu_->CopyToHost(gpu, TensorView(bytes.data(), gpu.dtype(), gpu.shape())).ok());
    ASSERT_TRUE(gpu_->Synchronize().ok());
    const std::span<const float> expected = pair.cpu.view().As<float>();
    for (size_t i = 0; i < expected.size(); ++i) {
      const float value = gpu.dtype() == DType::kFloat32
                              ? reinterpret_cast<const float*>(bytes.data())[i]
                              : FloatFromFloat16(reinterpret_cast<const uint16_t*>(bytes.data())[i]);
      ASSERT_NEAR(value, expected[i], tolerance * (1 + std::abs(expected[i]))) << "element " << i;
    }
  }

  std::mt19937 random_{11};
  std::unique_ptr<Backend> cpu_ = CreateCpuBackend({.reference = true});
  std::unique_ptr<Backend> gpu_;
};

INSTANTIATE_TEST_SUITE_P(All, QuantizedBackendTest, testing::ValuesIn(cuda::AllQuantizations()),
                         [](const auto& info) { return info.param.name; });

TEST_P(QuantizedBackendTest, DenseLayersEqualTheReference) {
  for (const bool reordered : {false, true}) {
    const MatrixSpec spec = {.out_features = 11, .in_features = 320, .quantization = quantization(reordered)};
    const std::unique_ptr<Matrix> gpu = *gpu_->CreateMatrix(spec);
    const std::unique_ptr<Matrix> cpu = *cpu_->CreateMatrix(spec);
    Fill(*gpu, *cpu);
    for (const int64_t rows : {3, 20}) {
      const Pair x = RandomPair({rows, 320});
      for (const DType y_dtype : {DType::kFloat16, DType::kFloat32}) {
        Pair y = EmptyPair({rows, 11}, y_dtype);
        gpu_->Linear(x.gpu.view(), *gpu, y.gpu.view());
        cpu_->Linear(x.cpu.view(), *cpu, y.cpu.view());
        ExpectClose(y, 1e-3f);
      }
    }
    const std::vector<int32_t> ids = {10, 0, 4, 4};
    Pair embedded = EmptyPair({4, 320}, DType::kFloat32);
    gpu_->EmbedTokens(*gpu, Upload(*gpu_, DType::kInt32, ids, {4}).view(), embedded.gpu.view());
    cpu_->EmbedTokens(*cpu, Upload(*cpu_, DType::kInt32, ids, {4}).view(), embedded.cpu.view());
    ExpectClose(embedded, 1e-6f);
  }
}

TEST_P(QuantizedBackendTest, ExpertsEqualTheReference) {
  for (const bool reordered : {false, true}) {
    const ExpertWeightsSpec spec = {.num_experts = 3,
                                    .hidden_size = 128,
                                    .intermediate_size = 64,
                                    .gate_up = quantization(reordered),
                                    .down = quantization()};
    const std::unique_ptr<ExpertWeights> gpu = *gpu_->CreateExperts(spec);
    const std::unique_ptr<ExpertWeights> cpu = *cpu_->CreateExperts(spec);
    for (int64_t e = 0; e < spec.num_experts; ++e) {
      Fill(gpu->gate_up(e), cpu->gate_up(e));
      Fill(gpu->down(e), cpu->down(e));
    }
    const std::vector<int32_t> slots = {4, 5, -1, 3, 6, 2, 5, 5, 4, 6};
    const std::vector<float> weights = {0.5f, 0.5f, 0, 1, 0.25f, 0.75f, 0.3f, 0.3f, 0.9f, 0.1f};
    const Pair rows = RandomPair({5, 128});
    Pair out = EmptyPair({5, 128}, DType::kFloat16);
    const auto run = [&](Backend& backend, const ExpertWeights& experts, ConstTensorView x, TensorView y) {
      const Tensor device_slots = Upload(backend, DType::kInt32, slots, {5, 2});
      const Tensor device_weights = Upload(backend, DType::kFloat32, weights, {5, 2});
      backend.RunExperts(
          experts,
          {.rows = x, .slots = device_slots.view(), .weights = device_weights.view(), .first_slot = 4, .out = y});
      EXPECT_TRUE(backend.Synchronize().ok());
    };
    run(*gpu_, *gpu, rows.gpu.view(), out.gpu.view());
    run(*cpu_, *cpu, rows.cpu.view(), out.cpu.view());
    ExpectClose(out, 3e-3f);
  }
}

TEST_P(QuantizedBackendTest, FillsFromManyThreads) {
  const MatrixSpec spec = {.out_features = 40, .in_features = 64, .quantization = quantization()};
  const std::unique_ptr<Matrix> gpu = *gpu_->CreateMatrix(spec);
  const std::unique_ptr<Matrix> cpu = *cpu_->CreateMatrix(spec);
  const QuantizedTensor tensor = cuda::RandomQuantized(spec.quantization, 40, 64, random_);
  FillRows(*cpu, tensor, 0, 40);
  std::vector<std::thread> threads;
  for (int64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t row = t; row < 40; row += 4) FillRows(*gpu, tensor, row, row + 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const Pair x = RandomPair({2, 64});
  Pair y = EmptyPair({2, 40}, DType::kFloat32);
  gpu_->Linear(x.gpu.view(), *gpu, y.gpu.view());
  cpu_->Linear(x.cpu.view(), *cpu, y.cpu.view());
  ExpectClose(y, 1e-3f);
}

TEST_P(QuantizedBackendTest, RandomWeightsHaveTheirDeviationInEveryExpert) {
  const ExpertWeightsSpec spec = {.num_experts = 2,
                                  .hidden_size = 128,
                                  .intermediate_size = 64,
                                  .gate_up = quantization(true),
                                  .down = quantization()};
  const std::unique_ptr<ExpertWeights> experts = *gpu_->CreateExperts(spec);
  for (int64_t e = 0; e < 2; ++e) {
    ASSERT_TRUE(experts->gate_up(e).FillRandom(static_cast<uint64_t>(e), 0.05f).ok());
    const Pair x = RandomPair({16, 128});
    Pair y = EmptyPair({16, 128}, DType::kFloat32);
    gpu_->Linear(x.gpu.view(), experts->gate_up(e), y.gpu.view());
    std::vector<float> values(16 * 128);
    ASSERT_TRUE(gpu_->CopyToHost(y.gpu.view(), TensorView::Of(std::span<float>(values), {16, 128})).ok());
    double squares = 0;
    for (const float value : values) squares += double{value} * value;
    EXPECT_NEAR(std::sqrt(squares / 16 / 128 / 128), 0.05, 0.005);
  }
}

TEST_P(QuantizedBackendTest, TakesWhatIsPlannedToTheByte) {
  const MatrixSpec matrix = {.out_features = 3, .in_features = 320, .quantization = quantization(true)};
  const ExpertWeightsSpec experts = {.num_experts = 3,
                                     .hidden_size = 128,
                                     .intermediate_size = 64,
                                     .gate_up = quantization(),
                                     .down = quantization(true)};
  ExpertWeightsSpec none = experts;
  none.num_experts = 0;
  PlanningBackend plan(DType::kFloat16);
  const std::unique_ptr<Matrix> planned_matrix = *plan.CreateMatrix(matrix);
  const std::unique_ptr<ExpertWeights> planned_experts = *plan.CreateExperts(experts);
  ASSERT_TRUE(plan.CreateExperts(none).ok());
  EXPECT_EQ(plan.bytes_allocated(), plan.matrix_bytes() + plan.expert_bytes());

  cuda::Arena arena = *cuda::Arena::Create(plan.bytes_allocated());
  cuda::CopyStreams copies(0);
  const cuda::WeightContext context = {.arena = arena, .copies = copies, .stored = DType::kFloat16};
  const auto device_matrix = *cuda::QuantizedDeviceMatrix::Create(matrix, context);
  const auto device_experts = *cuda::QuantizedDeviceExperts::Create(experts, context);
  ASSERT_TRUE(cuda::QuantizedDeviceExperts::Create(none, context).ok());
  EXPECT_EQ(arena.bytes_used(), plan.bytes_allocated());
  EXPECT_EQ(device_matrix->bytes(), planned_matrix->bytes());
  EXPECT_EQ(device_experts->gate_up(1).bytes(), planned_experts->gate_up(1).bytes());
  EXPECT_EQ(device_experts->down(2).bytes(), planned_experts->down(2).bytes());
}

TEST_P(QuantizedBackendTest, RefusesWhatDoesNotFit) {
  const MatrixSpec spec = {.out_features = 4, .in_features = 64, .quantization = quantization()};
  const std::unique_ptr<Matrix> matrix = *gpu_->CreateMatrix(spec);
  const std::vector<float> dense(4 * 64);
  EXPECT_TRUE(
      absl::IsFailedPrecondition(matrix->Fill(0, ConstTensorView::Of(std::span<const float>(dense), Shape{4, 64}))));
  const QuantizedTensor tensor = cuda::RandomQuantized(spec.quantization, 4, 64, random_);
  EXPECT_TRUE(absl::IsInvalidArgument(matrix->FillScales(1, tensor.scales.Rows(0, 4))));
  EXPECT_TRUE(
      absl::IsInvalidArgument(matrix->FillCodes(0, ConstTensorView(tensor.codes.data(), DType::kUInt8, {1, 3}))));
  EXPECT_TRUE(absl::IsInvalidArgument(matrix->FillColumnOrder(std::vector<int32_t>(64))));
  const auto odd = gpu_->CreateMatrix({.out_features = 4, .in_features = 68, .quantization = quantization()});
  EXPECT_TRUE(absl::IsInvalidArgument(odd.status())) << odd.status();
}

}  // namespace
}  // namespace switchyard
