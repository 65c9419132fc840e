// Offloaded experts of the CUDA backend, on a GPU or emulated, beside resident ones.
#include "kernels/cuda/offloaded_experts.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "kernels/planning_backend.h"
#include "tests/kernels/offload_steps.h"

namespace switchyard {
namespace {

// Null without a GPU.
std::unique_ptr<Backend> Create(int64_t num_places) {
  absl::StatusOr<std::unique_ptr<Backend>> created = CreateCudaBackend({.offload = {.num_places = num_places}});
  if (absl::IsNotFound(created.status())) return nullptr;
  EXPECT_TRUE(created.ok()) << created.status();
  return *std::move(created);
}

void ExpectTheSame(const OffloadSteps& steps) {
  const std::unique_ptr<Backend> resident = Create(0);
  if (resident == nullptr) GTEST_SKIP() << "needs a GPU";
  const std::unique_ptr<Backend> offloaded = Create(steps.num_places);
  ExpectTheSameWithOffload(*resident, *offloaded, steps);
}

TEST(OffloadedDeviceExperts, ComputeWhatResidentOnesDoWithAnyNumberOfPlaces) {
  for (int64_t num_places = 1; num_places <= 5; ++num_places) {
    SCOPED_TRACE(testing::Message() << num_places << " places");
    ExpectTheSame({.spec = {.num_experts = 5, .hidden_size = 32, .intermediate_size = 40},
                   .num_places = num_places,
                   .num_steps = 8,
                   .seed = static_cast<uint32_t>(num_places)});
  }
}

// So many rows that the products take the form of tiles.
TEST(OffloadedDeviceExperts, ComputeWhatResidentOnesDoInTiles) {
  ExpectTheSame({.spec = {.num_experts = 3, .hidden_size = 32, .intermediate_size = 24},
                 .num_places = 1,
                 .num_steps = 4,
                 .max_rows = 120});
}

TEST(OffloadedDeviceExperts, ComputeWhatResidentOnesDoWhateverTheFormat) {
  const Quantization nf4 = {.format = WeightFormat::kNf4, .group_size = 64};
  Quantization nested = nf4;
  nested.double_quantized = true;
  const Quantization int4 = {.format = WeightFormat::kInt4, .group_size = 128};
  Quantization zeros = int4;
  zeros.has_zeros = true;
  Quantization reordered = int4;
  reordered.reordered = true;
  const Quantization int8 = {.format = WeightFormat::kInt8, .group_size = 128};
  for (const auto& [gate_up, down] : {std::pair(nf4, nf4),
                                      {nested, nested},
                                      {int4, int4},
                                      {zeros, zeros},
                                      {reordered, int4},
                                      {int4, reordered},
                                      {reordered, reordered},
                                      {int8, int8}}) {
    for (const int64_t max_rows : {6, 80}) {
      SCOPED_TRACE(testing::Message() << Describe(gate_up) << "; " << Describe(down) << "; " << max_rows << " rows");
      ExpectTheSame(
          {.spec = {.num_experts = 4, .hidden_size = 128, .intermediate_size = 128, .gate_up = gate_up, .down = down},
           .num_places = 2,
           .num_steps = 4,
           .max_rows = max_rows});
    }
  }
}

TEST(OffloadedDeviceExperts, TakeWhatThePlanCounts) {
  const Quantization nested = {.format = WeightFormat::kNf4, .group_size = 64, .double_quantized = true};
  for (const Quantization& format : {Quantization{}, nested}) {
    const ExpertWeightsSpec spec = {
        .num_experts = 5, .hidden_size = 128, .intermediate_size = 64, .gate_up = format, .down = format};
    const ExpertOffload offload = {.num_places = 2};
    PlanningBackend planning(DType::kBFloat16, offload);
    const auto planned = planning.CreateExperts(spec);
    ASSERT_TRUE(planned.ok());
    EXPECT_TRUE((*planned)->is_offloaded());
    const std::unique_ptr<Backend> backend = Create(2);
    if (backend == nullptr) GTEST_SKIP() << "needs a GPU";
    const auto experts = *backend->CreateExperts(spec);
    experts->Prefetch(std::vector{4});
    EXPECT_TRUE(backend->Synchronize().ok());
    const uint64_t expert_bytes = experts->offload_stats().bytes_copied;
    EXPECT_EQ(expert_bytes, experts->gate_up(0).bytes() + experts->down(0).bytes());
    EXPECT_EQ(planning.offloaded_bytes(), 5 * expert_bytes);
    // Two places, a list of who has which, and a table each for both projections' scales where there are such.
    EXPECT_EQ(planning.expert_bytes(), 2 * expert_bytes + 256 + (format.double_quantized ? 2 * 1024 : 0));
  }
}

}  // namespace
}  // namespace switchyard
