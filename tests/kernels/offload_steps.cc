#include "tests/kernels/offload_steps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "kernels/cpu/float_convert.h"

namespace switchyard {
namespace {

constexpr int64_t kTopK = 2;
constexpr int64_t kFirstSlot = 3;

std::unique_ptr<ExpertWeights> MakeExperts(Backend& backend, const ExpertWeightsSpec& spec, uint64_t seed) {
  absl::StatusOr<std::unique_ptr<ExpertWeights>> experts = backend.CreateExperts(spec);
  EXPECT_TRUE(experts.ok()) << experts.status();
  for (int64_t e = 0; e < spec.num_experts; ++e) {
    EXPECT_TRUE((*experts)->gate_up(e).FillRandom(seed + 2 * static_cast<uint64_t>(e), 0.2f).ok());
    EXPECT_TRUE((*experts)->down(e).FillRandom(seed + 2 * static_cast<uint64_t>(e) + 1, 0.2f).ok());
  }
  return *std::move(experts);
}

struct Step {
  std::vector<float> rows;  // [n, hidden]
  std::vector<int32_t> slots;
  std::vector<float> weights;
};

// Device tensors of one step.
struct StepTensors {
  Tensor rows;
  Tensor slots;
  Tensor weights;
  Tensor out;
};

StepTensors Upload(Backend& backend, const Step& step, int64_t hidden) {
  const auto n = static_cast<int64_t>(step.slots.size()) / kTopK;
  const DType dtype = backend.activation_dtype();
  StepTensors tensors = {.rows = *backend.AllocateTensor(dtype, Shape{n, hidden}),
                         .slots = *backend.AllocateTensor(DType::kInt32, Shape{n, kTopK}),
                         .weights = *backend.AllocateTensor(DType::kFloat32, Shape{n, kTopK}),
                         .out = *backend.AllocateTensor(dtype, Shape{n, hidden})};
  std::vector<uint16_t> halves(step.rows.size());
  std::transform(step.rows.begin(), step.rows.end(), halves.begin(), BFloat16FromFloat);
  const void* rows = dtype == DType::kFloat32 ? static_cast<const void*>(step.rows.data()) : halves.data();
  EXPECT_TRUE(backend.CopyFromHost(ConstTensorView(rows, dtype, Shape{n, hidden}), tensors.rows.view()).ok());
  EXPECT_TRUE(backend
                  .CopyFromHost(ConstTensorView::Of(std::span<const int32_t>(step.slots), Shape{n, kTopK}),
                                tensors.slots.view())
                  .ok());
  EXPECT_TRUE(backend
                  .CopyFromHost(ConstTensorView::Of(std::span<const float>(step.weights), Shape{n, kTopK}),
                                tensors.weights.view())
                  .ok());
  return tensors;
}

std::vector<std::byte> Run(Backend& backend, const ExpertWeights& experts, const Step& step, ExpertForecast next) {
  StepTensors tensors = Upload(backend, step, experts.spec().hidden_size);
  backend.RunExperts(experts, {.rows = tensors.rows.view(),
                               .slots = tensors.slots.view(),
                               .weights = tensors.weights.view(),
                               .first_slot = kFirstSlot,
                               .out = tensors.out.view(),
                               .next = next});
  std::vector<std::byte> out(tensors.out.view().bytes());
  EXPECT_TRUE(backend
                  .CopyToHost(tensors.out.view(),
                              TensorView(out.data(), tensors.out.view().dtype(), tensors.out.view().shape()))
                  .ok());
  EXPECT_TRUE(backend.Synchronize().ok());
  return out;
}

}  // namespace

void ExpectTheSameWithOffload(Backend& resident, Backend& offloaded, const OffloadSteps& steps) {
  const auto [num_experts, hidden, intermediate, dtype, gate_up, down] = steps.spec;
  for (Backend* backend : {&resident, &offloaded}) {
    ASSERT_TRUE(backend
                    ->Reserve({.max_tokens = steps.max_rows,
                               .max_sequences = 1,
                               .max_expert_rows = steps.max_rows,
                               .max_output_rows = 1,
                               .max_context = 16,
                               .attention = {.num_heads = 1, .num_kv_heads = 1, .head_dim = 64},
                               .hidden_size = hidden,
                               .expert_intermediate_size = intermediate,
                               .top_k = kTopK,
                               .num_local_experts = num_experts,
                               .vocab_size = 16})
                    .ok());
  }
  std::mt19937 random(steps.seed);
  std::vector<std::unique_ptr<ExpertWeights>> all;
  std::vector<std::unique_ptr<ExpertWeights>> some;
  for (uint64_t layer = 0; layer < 2; ++layer) {
    all.push_back(MakeExperts(resident, steps.spec, 100 * layer));
    some.push_back(MakeExperts(offloaded, steps.spec, 100 * layer));
  }
  EXPECT_FALSE(all[0]->is_offloaded());
  EXPECT_EQ(some[0]->is_offloaded(), steps.num_places < num_experts);

  uint64_t num_needed = 0;
  std::vector<int> ids(static_cast<size_t>(num_experts));
  std::iota(ids.begin(), ids.end(), 0);
  for (int i = 0; i < steps.num_steps; ++i) {
    const auto layer = static_cast<size_t>(i % 2);
    const auto n = 1 + static_cast<int64_t>(random() % static_cast<unsigned>(steps.max_rows));
    Step step = {.rows = std::vector<float>(static_cast<size_t>(n * hidden)),
                 .slots = std::vector<int32_t>(static_cast<size_t>(n * kTopK)),
                 .weights = std::vector<float>(static_cast<size_t>(n * kTopK))};
    std::normal_distribution<float> normal;
    for (float& value : step.rows) value = normal(random);
    for (float& value : step.weights) value = normal(random);
    std::set<int32_t> needed;
    for (int32_t& slot : step.slots) {
      // One in four is another rank's, or none.
      slot = random() % 4 == 0 ? static_cast<int32_t>(random() % 3) - 1
                               : static_cast<int32_t>(kFirstSlot + random() % static_cast<unsigned>(num_experts));
      if (slot >= kFirstSlot) needed.insert(slot);
    }
    num_needed += needed.size();
    std::shuffle(ids.begin(), ids.end(), random);
    const std::span<const int> likely = std::span(ids).first(random() % ids.size());
    const std::vector<std::byte> expected = Run(resident, *all[layer], step, {});
    const std::vector<std::byte> got =
        Run(offloaded, *some[layer], step, {.experts = some[1 - layer].get(), .likely = likely});
    EXPECT_TRUE(expected == got) << "step " << i << ", " << n << " rows";
  }

  ExpertCacheStats stats = some[0]->offload_stats();
  stats += some[1]->offload_stats();
  if (!some[0]->is_offloaded()) {
    EXPECT_EQ(stats.num_needed, 0u);
    return;
  }
  EXPECT_EQ(stats.num_needed, num_needed);
  EXPECT_LE(stats.num_hits, stats.num_needed);
  EXPECT_LE(stats.num_prefetch_hits, std::min(stats.num_hits, stats.num_prefetched));
  EXPECT_GE(stats.stall_seconds, 0.0);
  // Every load copies one whole expert; a prefetch that was overtaken before it began copies none.
  const uint64_t num_misses = stats.num_needed - stats.num_hits;
  const size_t matrix_bytes = some[0]->gate_up(0).bytes() + some[0]->down(0).bytes();
  EXPECT_GE(stats.bytes_copied, num_misses * matrix_bytes);
  EXPECT_LE(stats.bytes_copied, (num_misses + stats.num_prefetched) * (matrix_bytes + 4096));
}

}  // namespace switchyard
