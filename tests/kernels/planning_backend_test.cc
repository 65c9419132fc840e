#include "kernels/planning_backend.h"

#include <gtest/gtest.h>

#include "kernels/cuda/memory_layout.h"

namespace switchyard {
namespace {

uintptr_t Address(const void* data) { return reinterpret_cast<uintptr_t>(data); }

TEST(PlanningBackend, RoundsEveryAllocationUpAndReturnsNone) {
  PlanningBackend backend(DType::kBFloat16);
  EXPECT_EQ(backend.bytes_allocated(), 0u);
  { const auto released = backend.Allocate(1); }
  EXPECT_EQ(backend.bytes_allocated(), 256u);
  ASSERT_TRUE(backend.AllocateTensor(DType::kFloat32, Shape{64}).ok());
  EXPECT_EQ(backend.bytes_allocated(), 512u);
  ASSERT_TRUE(backend.AllocateTensor(DType::kInt32, Shape{65}).ok());
  EXPECT_EQ(backend.bytes_allocated(), 1024u);
  ASSERT_TRUE(backend.Allocate(0).ok());
  EXPECT_EQ(backend.bytes_allocated(), 1024u);
}

TEST(PlanningBackend, LaysAllocationsOutWithoutOverlap) {
  PlanningBackend backend(DType::kFloat16);
  absl::StatusOr<Tensor> first = backend.AllocateTensor(DType::kFloat32, Shape{100});
  absl::StatusOr<Tensor> second = backend.AllocateTensor(DType::kFloat32, Shape{1});
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(Address(first->view().data()) % cuda::kAlignment, 0u);
  EXPECT_EQ(Address(second->view().data()) - Address(first->view().data()), 512u);
}

TEST(PlanningBackend, HoldsMatricesInTheActivationTypeWhateverTheCheckpoints) {
  PlanningBackend backend(DType::kBFloat16);
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
    const auto matrix = backend.CreateMatrix({.out_features = 3, .in_features = 200, .dtype = dtype});
    ASSERT_TRUE(matrix.ok());
    EXPECT_EQ((*matrix)->bytes(), 3u * 200 * 2);
    EXPECT_EQ((*matrix)->spec().dtype, dtype);
  }
  EXPECT_EQ(backend.matrix_bytes(), 3u * 1280);
  EXPECT_EQ(backend.bytes_allocated(), backend.matrix_bytes());
}

TEST(PlanningBackend, HoldsALayersExpertsInTwoDenseBlocks) {
  PlanningBackend backend(DType::kFloat16);
  const auto experts =
      backend.CreateExperts({.num_experts = 3, .hidden_size = 8, .intermediate_size = 24, .dtype = DType::kFloat32});
  ASSERT_TRUE(experts.ok());
  EXPECT_EQ((*experts)->gate_up(2).bytes(), 48u * 8 * 2);
  EXPECT_EQ((*experts)->gate_up(2).spec().out_features, 48);
  EXPECT_EQ((*experts)->down(0).bytes(), 8u * 24 * 2);
  EXPECT_EQ((*experts)->down(0).spec().in_features, 24);
  // 3 * 768 = 2304 = 9 * 256; 3 * 384 = 1152, rounded up to 1280.
  EXPECT_EQ(backend.expert_bytes(), 2304u + 1280u);
  EXPECT_EQ(backend.bytes_allocated(), backend.expert_bytes());
}

TEST(PlanningBackend, HoldsNoExpertsInNoMemory) {
  PlanningBackend backend(DType::kBFloat16);
  ASSERT_TRUE(backend.CreateExperts({.num_experts = 0, .hidden_size = 8, .intermediate_size = 8}).ok());
  EXPECT_EQ(backend.bytes_allocated(), 0u);
}

TEST(PlanningBackend, HoldsQuantizedMatricesInCodesAndScales) {
  PlanningBackend backend(DType::kBFloat16);
  const Quantization int4 = {.format = WeightFormat::kInt4, .group_size = 128};
  // 3 rows of 100 bytes padded to 128, and of 2 scales of 2 bytes: 384 and 12, each rounded up to 256.
  const auto matrix = backend.CreateMatrix({.out_features = 3, .in_features = 200, .quantization = int4});
  ASSERT_TRUE(matrix.ok());
  EXPECT_EQ((*matrix)->bytes(), 512u + 256u);
  EXPECT_EQ(backend.matrix_bytes(), 768u);

  // w1 and w3: 128 rows of 64 bytes, 2 codes of scales, and 12 bytes of what those are made of; one table of 1 KiB.
  const Quantization nf4 = {.format = WeightFormat::kNf4, .group_size = 64, .double_quantized = true};
  const auto experts = backend.CreateExperts(
      {.num_experts = 3, .hidden_size = 128, .intermediate_size = 64, .gate_up = nf4, .down = nf4});
  ASSERT_TRUE(experts.ok());
  const size_t gate_up = 128 * 64 + 128 * 2 + 3 * 512;
  // 128 rows of 64 columns, padded to 128.
  const size_t down = 128 * 64 + 128 * 2 + 3 * 512;
  EXPECT_EQ((*experts)->gate_up(2).bytes(), gate_up);
  EXPECT_EQ((*experts)->down(0).bytes(), down);
  EXPECT_EQ(backend.expert_bytes(), 3 * gate_up + 1024 + 3 * down + 1024);
}

BackendLimits SomeLimits() {
  return {.max_tokens = 100,
          .max_sequences = 7,
          .max_expert_rows = 100,
          .max_output_rows = 16,
          .max_context = 512,
          .attention = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 64},
          .hidden_size = 256,
          .expert_intermediate_size = 512,
          .top_k = 2,
          .num_local_experts = 4,
          .vocab_size = 1000};
}

TEST(ScratchLayout, DividesOneBlockIntoAlignedPartsThatFollowEachOther) {
  const cuda::ScratchLayout layout = cuda::MakeScratchLayout(SomeLimits(), DType::kBFloat16);
  size_t end = 0;
  for (const auto& part : {layout.attention, layout.router, layout.experts, layout.sampling, layout.sampling_params,
                           layout.sampling_results, layout.gemm_workspace, layout.constants}) {
    EXPECT_EQ(part.offset % cuda::kAlignment, 0u);
    EXPECT_GE(part.offset, end);
    EXPECT_GT(part.bytes, 0u);
    end = part.offset + part.bytes;
  }
  EXPECT_GE(layout.total_bytes, end);
  EXPECT_EQ(layout.total_bytes % cuda::kAlignment, 0u);
}

TEST(ScratchLayout, GrowsWithTheRowsOfExperts) {
  BackendLimits larger = SomeLimits();
  larger.max_expert_rows *= 2;
  const cuda::ScratchLayout before = cuda::MakeScratchLayout(SomeLimits(), DType::kBFloat16);
  const cuda::ScratchLayout after = cuda::MakeScratchLayout(larger, DType::kBFloat16);
  // At least what lies between the two products: [rows * top_k, intermediate].
  EXPECT_GE(after.experts.bytes - before.experts.bytes, 100u * 2 * 512 * 2);
  EXPECT_EQ(after.attention.bytes, before.attention.bytes);
}

TEST(PlanningBackend, ReserveTakesTheWholeScratchLayout) {
  PlanningBackend backend(DType::kBFloat16);
  ASSERT_TRUE(backend.Reserve(SomeLimits()).ok());
  EXPECT_EQ(backend.scratch_bytes(), cuda::MakeScratchLayout(SomeLimits(), DType::kBFloat16).total_bytes);
  EXPECT_EQ(backend.bytes_allocated(), backend.scratch_bytes());
}

TEST(PlanningBackend, DoesNotCountHostMemory) {
  PlanningBackend backend(DType::kBFloat16);
  absl::StatusOr<Buffer> staging = backend.AllocateStaging(1000);
  ASSERT_TRUE(staging.ok());
  static_cast<char*>(staging->data())[999] = 1;  // this memory is there
  EXPECT_EQ(backend.bytes_allocated(), 0u);
}

TEST(PlanningBackendDeathTest, ComputesNothing) {
  PlanningBackend backend(DType::kBFloat16);
  EXPECT_DEATH(backend.Add({}, {}), "Add on a backend that only plans memory");
  EXPECT_DEATH(PlanningBackend(DType::kFloat32), "CHECK|kBFloat16");
}

}  // namespace
}  // namespace switchyard
