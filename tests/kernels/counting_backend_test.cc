#include "kernels/counting_backend.h"

#include <gtest/gtest.h>

#include "kernels/cpu_planning_backend.h"

namespace switchyard {
namespace {

TEST(CpuPlanningBackend, RoundsEveryAllocationUpAndReturnsNone) {
  CpuPlanningBackend backend({});
  const void* first = nullptr;
  {
    const auto buffer = backend.Allocate(65);
    ASSERT_TRUE(buffer.ok());
    EXPECT_EQ(buffer->bytes(), 65u);
    first = buffer->data();
  }
  EXPECT_EQ(backend.bytes_allocated(), 128u);
  const auto second = backend.Allocate(64);
  EXPECT_EQ(static_cast<const char*>(second->data()) - static_cast<const char*>(first), 128);
  EXPECT_EQ(backend.bytes_allocated(), 192u);
}

TEST(CpuPlanningBackend, MeasuresMatricesAsTheBackendPacksThem) {
  for (const bool reference : {false, true}) {
    const CpuBackendOptions options = {.reference = reference};
    CpuPlanningBackend planning(options);
    const auto real = CreateCpuBackend(options);
    size_t sum = 0;
    for (const DType dtype : {DType::kBFloat16, DType::kFloat32, DType::kBFloat16}) {
      const MatrixSpec spec = {.out_features = 33, .in_features = 100, .dtype = dtype};
      const auto matrix = real->CreateMatrix(spec);
      const auto counted = planning.CreateMatrix(spec);
      ASSERT_TRUE(matrix.ok() && counted.ok());
      EXPECT_EQ((*counted)->bytes(), (*matrix)->bytes());
      EXPECT_EQ((*counted)->spec().in_features, 100);
      sum += planning.Taken((*matrix)->bytes());
    }
    EXPECT_EQ(planning.matrix_bytes(), sum);
    const ExpertWeightsSpec spec = {.num_experts = 3, .hidden_size = 40, .intermediate_size = 24};
    const auto experts = real->CreateExperts(spec);
    const auto counted = planning.CreateExperts(spec);
    ASSERT_TRUE(experts.ok() && counted.ok());
    EXPECT_EQ((*counted)->gate_up(2).bytes(), (*experts)->gate_up(2).bytes());
    EXPECT_EQ((*counted)->down(0).bytes(), (*experts)->down(0).bytes());
    EXPECT_EQ(planning.expert_bytes(),
              3 * (planning.Taken((*experts)->gate_up(0).bytes()) + planning.Taken((*experts)->down(0).bytes())));
    EXPECT_EQ(planning.bytes_allocated(), planning.matrix_bytes() + planning.expert_bytes());
  }
}

TEST(CpuPlanningBackend, HoldsNoExpertsInNoMemory) {
  CpuPlanningBackend backend({});
  ASSERT_TRUE(backend.CreateExperts({.num_experts = 0, .hidden_size = 40, .intermediate_size = 24}).ok());
  EXPECT_EQ(backend.bytes_allocated(), 0u);
}

TEST(CpuPlanningBackend, RefusesMatricesThatTheBackendRefuses) {
  CpuPlanningBackend backend({});
  EXPECT_TRUE(absl::IsInvalidArgument(backend.CreateMatrix({.out_features = 4, .in_features = -1}).status()));
}

TEST(CpuPlanningBackend, DoesNotCountStaging) {
  CpuPlanningBackend backend({});
  const auto staging = backend.AllocateStaging(100);
  ASSERT_TRUE(staging.ok());
  static_cast<char*>(staging->data())[99] = 1;
  EXPECT_EQ(backend.bytes_allocated(), 0u);
}

TEST(CpuPlanningBackendDeathTest, ComputesNothing) {
  CpuPlanningBackend backend({});
  EXPECT_DEATH(backend.Add({}, {}), "only plans memory");
}

}  // namespace
}  // namespace switchyard
