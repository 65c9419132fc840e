// The CUDA backend as the engine sees it, on a GPU or emulated: memory, weights, recording, and that every operation
// reaches its kernel with the right operands. The reference is the plain CPU backend.
#include "kernels/backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <thread>

#include "kernels/cpu/float_convert.h"
#include "kernels/device_info.h"

namespace switchyard {
namespace {

using testing::Each;

class CudaBackendTest : public testing::Test {
 protected:
  static constexpr int64_t kHidden = 64;
  static constexpr int64_t kIntermediate = 48;
  static constexpr AttentionSpec kAttention = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 16, .scale = 0.25f};

  void SetUp() override {
    absl::StatusOr<std::unique_ptr<Backend>> created = CreateCudaBackend({.activation_dtype = DType::kFloat16});
    if (absl::IsNotFound(created.status())) GTEST_SKIP() << "needs a GPU: " << created.status();
    ASSERT_TRUE(created.ok()) << created.status();
    gpu_ = *std::move(created);
    ASSERT_TRUE(gpu_->Reserve({.max_tokens = 32,
                               .max_sequences = 4,
                               .max_expert_rows = 32,
                               .max_output_rows = 8,
                               .max_context = 64,
                               .attention = kAttention,
                               .hidden_size = kHidden,
                               .expert_intermediate_size = kIntermediate,
                               .top_k = 2,
                               .num_local_experts = 4,
                               .vocab_size = 96})
                    .ok());
  }

  std::vector<float> Normal(int64_t count, float deviation = 1.0f) {
    std::normal_distribution<float> normal(0.0f, deviation);
    std::vector<float> values(static_cast<size_t>(count));
    // Exact in float16, so that both backends compute from the same numbers.
    for (float& value : values) value = FloatFromFloat16(Float16FromFloat(normal(random_)));
    return values;
  }

  // A tensor of each backend with the same values: activations (float16 on the GPU) or float32.
  struct Pair {
    Tensor gpu;
    Tensor cpu;
  };
  Pair MakePair(const std::vector<float>& values, Shape shape, DType gpu_dtype) {
    Pair pair{*gpu_->AllocateTensor(gpu_dtype, shape), *cpu_->AllocateTensor(DType::kFloat32, shape)};
    EXPECT_TRUE(cpu_->CopyFromHost(ConstTensorView::Of(std::span<const float>(values), shape), pair.cpu.view()).ok());
    if (gpu_dtype == DType::kFloat32) {
      EXPECT_TRUE(gpu_->CopyFromHost(ConstTensorView::Of(std::span<const float>(values), shape), pair.gpu.view()).ok());
      return pair;
    }
    std::vector<uint16_t> halves;
    for (const float value : values) halves.push_back(Float16FromFloat(value));
    EXPECT_TRUE(gpu_->CopyFromHost(ConstTensorView(halves.data(), gpu_dtype, shape), pair.gpu.view()).ok());
    return pair;
  }
  Tensor MakeInts(Backend& backend, const std::vector<int32_t>& values, Shape shape) {
    Tensor tensor = *backend.AllocateTensor(DType::kInt32, shape);
    EXPECT_TRUE(backend.CopyFromHost(ConstTensorView::Of(std::span<const int32_t>(values), shape), tensor.view()).ok());
    return tensor;
  }
  std::vector<float> Read(ConstTensorView tensor) {
    std::vector<float> values(static_cast<size_t>(tensor.num_elements()));
    if (tensor.dtype() == DType::kFloat32) {
      EXPECT_TRUE(gpu_->CopyToHost(tensor, TensorView::Of(std::span<float>(values), tensor.shape())).ok());
      return values;
    }
    std::vector<uint16_t> halves(values.size());
    EXPECT_TRUE(gpu_->CopyToHost(tensor, TensorView(halves.data(), tensor.dtype(), tensor.shape())).ok());
    for (size_t i = 0; i < values.size(); ++i) values[i] = FloatFromFloat16(halves[i]);
    return values;
  }
  void ExpectEqual(Pair& pair, float tolerance) {
    ASSERT_TRUE(gpu_->Synchronize().ok());
    const std::vector<float> got = Read(pair.gpu.view());
    const std::span<const float> expected = static_cast<const Tensor&>(pair.cpu).view().As<float>();
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], expected[i], tolerance * (1 + std::abs(expected[i]))) << "element " << i;
    }
  }
  // Weights of both backends from the same values.
  struct MatrixPair {
    std::unique_ptr<Matrix> gpu;
    std::unique_ptr<Matrix> cpu;
  };
  void Fill(Matrix& gpu, Matrix& cpu) {
    const MatrixSpec& spec = gpu.spec();
    const std::vector<float> values = Normal(spec.out_features * spec.in_features, 0.2f);
    const ConstTensorView rows =
        ConstTensorView::Of(std::span<const float>(values), Shape{spec.out_features, spec.in_features});
    EXPECT_TRUE(gpu.Fill(0, rows).ok());
    EXPECT_TRUE(cpu.Fill(0, rows).ok());
  }
  MatrixPair MakeMatrix(int64_t out, int64_t in) {
    const MatrixSpec spec = {.out_features = out, .in_features = in, .dtype = DType::kFloat32};
    MatrixPair pair{*gpu_->CreateMatrix(spec), *cpu_->CreateMatrix(spec)};
    Fill(*pair.gpu, *pair.cpu);
    return pair;
  }

  std::mt19937 random_{7};
  std::unique_ptr<Backend> cpu_ = CreateCpuBackend({.reference = true});
  std::unique_ptr<Backend> gpu_;
};

TEST_F(CudaBackendTest, MemoryBeginsZeroedAndCopiesOfAnySizeArrive) {
  const Tensor fresh = *gpu_->AllocateTensor(DType::kInt32, Shape{1000});
  std::vector<int32_t> values(1000, 1);
  ASSERT_TRUE(gpu_->CopyToHost(fresh.view(), TensorView::Of(std::span<int32_t>(values))).ok());
  EXPECT_THAT(values, Each(0));

  // Larger than the pinned memory that copies pass through, and many in a row.
  std::vector<int32_t> sent(3000000);
  for (size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<int32_t>(i);
  Tensor device = MakeInts(*gpu_, sent, Shape{3000000});
  for (int32_t i = 0; i < 100; ++i) {
    const std::vector<int32_t> block(20000, i);
    ASSERT_TRUE(gpu_->CopyFromHost(ConstTensorView::Of(std::span<const int32_t>(block)),
                                   device.view().Rows(i * 20000, (i + 1) * 20000))
                    .ok());
  }
  std::vector<int32_t> received(sent.size());
  ASSERT_TRUE(gpu_->CopyToHost(device.view(), TensorView::Of(std::span<int32_t>(received))).ok());
  for (size_t i = 0; i < received.size(); ++i) {
    ASSERT_EQ(received[i], static_cast<int32_t>(i < 2000000 ? i / 20000 : i));
  }
}

TEST_F(CudaBackendTest, RefusesAnArenaThatDoesNotFitAndAGpuThatIsNotThere) {
  const auto huge = CreateCudaBackend({.arena_bytes = size_t{1} << 50});
  EXPECT_TRUE(absl::IsResourceExhausted(huge.status())) << huge.status();
  EXPECT_NE(huge.status().message().find("free"), std::string::npos) << huge.status();
  const auto absent = CreateCudaBackend({.device_index = 99});
  EXPECT_TRUE(absl::IsNotFound(absent.status())) << absent.status();
  EXPECT_TRUE(absl::IsNotFound(ListGpus(std::vector<int>{99}).status()));
  EXPECT_TRUE((*ListGpus()).front().total_bytes > 0);
}

TEST_F(CudaBackendTest, WeightsAreFilledFromManyThreads) {
  const int64_t rows = 64;
  MatrixPair matrix{*gpu_->CreateMatrix({rows, kHidden, DType::kFloat32}),
                    *cpu_->CreateMatrix({rows, kHidden, DType::kFloat32})};
  const std::vector<float> values = Normal(rows * kHidden, 0.2f);
  const ConstTensorView view = ConstTensorView::Of(std::span<const float>(values), Shape{rows, kHidden});
  ASSERT_TRUE(matrix.cpu->Fill(0, view).ok());
  std::vector<std::thread> threads;
  for (int64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int64_t row = t; row < rows; row += 4) {
        EXPECT_TRUE(matrix.gpu->Fill(row, view.Rows(row, row + 1)).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  Pair x = MakePair(Normal(3 * kHidden), {3, kHidden}, DType::kFloat16);
  Pair y = MakePair(std::vector<float>(3 * rows), {3, rows}, DType::kFloat32);
  gpu_->Linear(x.gpu.view(), *matrix.gpu, y.gpu.view());
  cpu_->Linear(x.cpu.view(), *matrix.cpu, y.cpu.view());
  ExpectEqual(y, 1e-4f);
}

TEST_F(CudaBackendTest, RandomWeightsHaveTheirDeviation) {
  const auto matrix = *gpu_->CreateMatrix({256, kHidden, DType::kBFloat16});
  ASSERT_TRUE(matrix->FillRandom(11, 0.5f).ok());
  // Row i of the identity times W^T is column i of W.
  std::vector<float> identity(kHidden * kHidden);
  for (int64_t i = 0; i < kHidden; ++i) identity[static_cast<size_t>(i * kHidden + i)] = 1;
  Pair x = MakePair(identity, {kHidden, kHidden}, DType::kFloat16);
  Tensor y = *gpu_->AllocateTensor(DType::kFloat32, Shape{kHidden, 256});
  gpu_->Linear(x.gpu.view(), *matrix, y.view());
  double sum = 0;
  for (const float value : Read(y.view())) sum += static_cast<double>(value) * value;
  EXPECT_NEAR(std::sqrt(sum / (256 * kHidden)), 0.5, 0.02);
}

TEST_F(CudaBackendTest, DenseLayersAndNormsEqualTheReference) {
  const int64_t tokens = 5;
  const MatrixPair table = MakeMatrix(96, kHidden);
  const MatrixPair square = MakeMatrix(kHidden, kHidden);
  Pair residual = MakePair(std::vector<float>(tokens * kHidden), {tokens, kHidden}, DType::kFloat32);
  Pair normed = MakePair(std::vector<float>(tokens * kHidden), {tokens, kHidden}, DType::kFloat16);
  Pair delta = MakePair(std::vector<float>(tokens * kHidden), {tokens, kHidden}, DType::kFloat16);
  Pair weight = MakePair(Normal(kHidden), {kHidden}, DType::kFloat32);
  const std::vector<int32_t> ids = {3, 95, 0, 7, 7};
  const auto run = [&](Backend& backend, bool on_gpu, const Matrix& embedding, const Matrix& projection) {
    const Tensor device_ids = MakeInts(backend, ids, {tokens});
    const auto pick = [on_gpu](Pair& pair) { return on_gpu ? pair.gpu.view() : pair.cpu.view(); };
    backend.EmbedTokens(embedding, device_ids.view(), pick(residual));
    backend.RmsNorm(pick(residual), pick(weight), 1e-5f, pick(normed));
    backend.Linear(pick(normed), projection, pick(delta));
    backend.AddRmsNorm(pick(delta), pick(weight), 1e-5f, pick(residual), pick(normed));
    backend.Add(pick(normed), pick(delta));
    EXPECT_TRUE(backend.Synchronize().ok());
  };
  run(*gpu_, true, *table.gpu, *square.gpu);
  run(*cpu_, false, *table.cpu, *square.cpu);
  ExpectEqual(residual, 2e-3f);
  ExpectEqual(normed, 4e-3f);
  ExpectEqual(delta, 4e-3f);
}

TEST_F(CudaBackendTest, RowsAreGatheredAndSummed) {
  Pair source = MakePair(Normal(4 * kHidden), {4, kHidden}, DType::kFloat16);
  Pair gathered = MakePair(std::vector<float>(3 * kHidden), {3, kHidden}, DType::kFloat16);
  Pair summed = MakePair(std::vector<float>(2 * kHidden), {2, kHidden}, DType::kFloat16);
  for (Backend* backend : {gpu_.get(), cpu_.get()}) {
    const bool on_gpu = backend == gpu_.get();
    const auto pick = [on_gpu](Pair& pair) { return on_gpu ? pair.gpu.view() : pair.cpu.view(); };
    const Tensor index = MakeInts(*backend, {2, 0, 2}, {3});
    const Tensor begin = MakeInts(*backend, {0, 3, 3}, {3});
    backend->GatherRows(pick(source), index.view(), pick(gathered));
    backend->SumRows(pick(source), begin.view(), index.view(), pick(summed));
    ASSERT_TRUE(backend->Synchronize().ok());
  }
  ExpectEqual(gathered, 0);
  ExpectEqual(summed, 1e-3f);
}

TEST_F(CudaBackendTest, AttentionWithItsPagesEqualsTheReference) {
  const int64_t tokens = 7, pages = 6, page_size = 4;
  const Shape page_shape = {pages, kAttention.num_kv_heads, page_size, kAttention.head_dim};
  Pair k = MakePair(std::vector<float>(static_cast<size_t>(page_shape.num_elements())), page_shape, DType::kFloat16);
  Pair v = MakePair(std::vector<float>(static_cast<size_t>(page_shape.num_elements())), page_shape, DType::kFloat16);
  const Shape heads = {tokens, kAttention.num_heads, kAttention.head_dim};
  Pair qkv = MakePair(Normal(tokens * 8 * 16), {tokens, 8 * 16}, DType::kFloat16);
  Pair q = MakePair(std::vector<float>(static_cast<size_t>(heads.num_elements())), heads, DType::kFloat16);
  Pair out = MakePair(std::vector<float>(static_cast<size_t>(heads.num_elements())), heads, DType::kFloat16);
  const std::vector<float> inv_freq = {1.0f, 0.3f, 0.1f, 0.03f, 0.01f, 0.003f, 0.001f, 0.0003f};
  for (Backend* backend : {gpu_.get(), cpu_.get()}) {
    const bool on_gpu = backend == gpu_.get();
    const auto pick = [on_gpu](Pair& pair) { return on_gpu ? pair.gpu.view() : pair.cpu.view(); };
    // A prompt of six tokens and a sequence at its first position.
    const Tensor positions = MakeInts(*backend, {0, 1, 2, 3, 4, 5, 0}, {tokens});
    const Tensor sequence = MakeInts(*backend, {0, 0, 0, 0, 0, 0, 1}, {tokens});
    const Tensor begin = MakeInts(*backend, {0, 6, 7}, {3});
    const Tensor table = MakeInts(*backend, {4, 1, 2, -1}, {2, 2});
    const AttentionIndex index = {.positions = positions.view(),
                                  .token_sequence = sequence.view(),
                                  .sequence_begin = begin.view(),
                                  .page_table = table.view(),
                                  .max_context = 6,
                                  .max_query_tokens = 6,
                                  .min_query_tokens = 1};
    const KvPages kv = {.k = pick(k), .v = pick(v)};
    backend->RopeAppendKv(kAttention, {.inv_freq = inv_freq}, index, pick(qkv), pick(q), kv);
    backend->PagedAttention(kAttention, index, pick(q), kv, pick(out));
    ASSERT_TRUE(backend->Synchronize().ok());
  }
  ExpectEqual(k, 1e-3f);
  ExpectEqual(v, 0);
  ExpectEqual(out, 5e-3f);
}

TEST_F(CudaBackendTest, RouterAndExpertsEqualTheReference) {
  const int64_t tokens = 6;
  const MatrixPair router = MakeMatrix(6, kHidden);
  const ExpertWeightsSpec spec = {
      .num_experts = 4, .hidden_size = kHidden, .intermediate_size = kIntermediate, .dtype = DType::kFloat32};
  const auto gpu_experts = *gpu_->CreateExperts(spec);
  const auto cpu_experts = *cpu_->CreateExperts(spec);
  for (int64_t e = 0; e < spec.num_experts; ++e) {
    Fill(gpu_experts->gate_up(e), cpu_experts->gate_up(e));
    Fill(gpu_experts->down(e), cpu_experts->down(e));
  }
  Pair x = MakePair(Normal(tokens * kHidden), {tokens, kHidden}, DType::kFloat16);
  Pair weights = MakePair(std::vector<float>(tokens * 2), {tokens, 2}, DType::kFloat32);
  Pair out = MakePair(std::vector<float>(tokens * kHidden), {tokens, kHidden}, DType::kFloat16);
  std::vector<std::vector<int32_t>> chosen, counted;
  for (Backend* backend : {gpu_.get(), cpu_.get()}) {
    const bool on_gpu = backend == gpu_.get();
    const auto pick = [on_gpu](Pair& pair) { return on_gpu ? pair.gpu.view() : pair.cpu.view(); };
    Tensor experts = MakeInts(*backend, std::vector<int32_t>(tokens * 2, 77), {tokens, 2});
    Tensor counts = MakeInts(*backend, std::vector<int32_t>(6, 9), {6});
    const Tensor num_valid = MakeInts(*backend, {5}, {1});
    backend->Clear(counts.view());
    backend->Route({.num_experts = 6, .top_k = 2}, pick(x), on_gpu ? *router.gpu : *router.cpu, num_valid.view(),
                   {.experts = experts.view(), .weights = pick(weights), .counts = counts.view()});
    backend->RunExperts(on_gpu ? *gpu_experts : *cpu_experts, {.rows = pick(x),
                                                               .slots = experts.view(),
                                                               .weights = pick(weights),
                                                               .first_slot = 1,  // experts 1 to 4 are here
                                                               .out = pick(out)});
    std::vector<int32_t> read(tokens * 2), read_counts(6);
    ASSERT_TRUE(backend->CopyToHost(experts.view(), TensorView::Of(std::span<int32_t>(read), {tokens, 2})).ok());
    ASSERT_TRUE(backend->CopyToHost(counts.view(), TensorView::Of(std::span<int32_t>(read_counts))).ok());
    chosen.push_back(read);
    counted.push_back(read_counts);
  }
  EXPECT_EQ(chosen[0], chosen[1]);
  EXPECT_EQ(counted[0], counted[1]);
  EXPECT_EQ(chosen[0][10], -1);  // row 5 is padding
  ExpectEqual(weights, 1e-4f);
  ExpectEqual(out, 5e-3f);
}

TEST_F(CudaBackendTest, DrawsAndScoresAsTheReference) {
  const int64_t rows = 6, vocab = 96;
  Pair logits = MakePair(Normal(rows * vocab, 3.0f), {rows, vocab}, DType::kFloat32);
  std::vector<SamplingRow> sampling(rows);
  for (size_t i = 0; i < sampling.size(); ++i) {
    sampling[i] = {.temperature = i == 0 ? 0.0f : 0.8f, .top_k = i == 2 ? 5 : 0, .seed = 40 + i, .num_top_logprobs = 3};
  }
  sampling[3].counts = {{.id = 4, .in_prompt = 1, .in_output = 2}};
  sampling[3].frequency_penalty = 1.5f;
  const std::vector<SampledToken> got = gpu_->Sample(logits.gpu.view(), sampling);
  const std::vector<SampledToken> expected = cpu_->Sample(logits.cpu.view(), sampling);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].id, expected[i].id) << "row " << i;
    EXPECT_NEAR(got[i].logprob, expected[i].logprob, 1e-5f);
    ASSERT_EQ(got[i].top.size(), 3u);
    EXPECT_EQ(got[i].top[2].id, expected[i].top[2].id);
  }
  const std::vector<ScoringRow> scoring(rows, {.target = 5, .num_top_logprobs = 2});
  const std::vector<ScoredToken> scored = gpu_->Score(logits.gpu.view(), scoring);
  const std::vector<ScoredToken> scored_expected = cpu_->Score(logits.cpu.view(), scoring);
  for (size_t i = 0; i < scored.size(); ++i) {
    EXPECT_EQ(scored[i].top1, scored_expected[i].top1);
    EXPECT_NEAR(scored[i].logprob, scored_expected[i].logprob, 1e-5f);
  }
}

TEST_F(CudaBackendTest, RowsWithMoreParametersThanFitAreDrawnInRounds) {
  const int64_t rows = 8, vocab = 96;
  Pair logits = MakePair(Normal(rows * vocab), {rows, vocab}, DType::kFloat32);
  // Many biases of one id: only their number matters here.
  std::vector<SamplingRow> sampling(rows, {.temperature = 0});
  for (size_t i = 0; i < sampling.size(); ++i) {
    sampling[i].biases.assign(150000, {.id = 1, .bias = 0.0f});
    sampling[i].biases.push_back({.id = static_cast<int32_t>(10 + i), .bias = 100.0f});
  }
  const std::vector<SampledToken> got = gpu_->Sample(logits.gpu.view(), sampling);
  ASSERT_EQ(got.size(), sampling.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].id, static_cast<int32_t>(10 + i));
}

TEST_F(CudaBackendTest, RecordedWorkReplaysWithTheNumbersOfTheMoment) {
  ASSERT_TRUE(gpu_->can_record());
  const MatrixPair square = MakeMatrix(kHidden, kHidden);
  Pair x = MakePair(Normal(2 * kHidden), {2, kHidden}, DType::kFloat16);
  Pair y = MakePair(std::vector<float>(2 * kHidden), {2, kHidden}, DType::kFloat16);
  const auto body = [&] {
    gpu_->Clear(y.gpu.view());
    gpu_->Linear(x.gpu.view(), *square.gpu, y.gpu.view());
    return absl::OkStatus();
  };
  ASSERT_TRUE(body().ok());
  ASSERT_TRUE(gpu_->Synchronize().ok());
  const auto work = gpu_->Record(body);
  ASSERT_TRUE(work.ok()) << work.status();

  // Other numbers at the same places.
  const std::vector<float> values = Normal(2 * kHidden);
  std::vector<uint16_t> halves;
  for (const float value : values) halves.push_back(Float16FromFloat(value));
  ASSERT_TRUE(gpu_->CopyFromHost(ConstTensorView(halves.data(), DType::kFloat16, {2, kHidden}), x.gpu.view()).ok());
  ASSERT_TRUE(cpu_->CopyFromHost(ConstTensorView::Of(std::span<const float>(values), {2, kHidden}), x.cpu.view()).ok());
  ASSERT_TRUE(gpu_->Replay(**work).ok());
  cpu_->Linear(x.cpu.view(), *square.cpu, y.cpu.view());
  ExpectEqual(y, 3e-3f);
}

TEST_F(CudaBackendTest, ARecordingThatWaitsForTheHostFails) {
  Tensor tensor = *gpu_->AllocateTensor(DType::kInt32, Shape{4});
  std::vector<int32_t> host(4);
  const auto copy = gpu_->Record([&] { return gpu_->CopyToHost(tensor.view(), TensorView::Of(std::span(host))); });
  EXPECT_TRUE(absl::IsFailedPrecondition(copy.status())) << copy.status();
  const auto wait = gpu_->Record([&] { return gpu_->Synchronize(); });
  EXPECT_TRUE(absl::IsFailedPrecondition(wait.status())) << wait.status();
  // Nothing is left behind.
  gpu_->Clear(tensor.view());
  EXPECT_TRUE(gpu_->Synchronize().ok());
}

}  // namespace
}  // namespace switchyard
