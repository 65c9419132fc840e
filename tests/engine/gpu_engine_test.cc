// The engine on this machine's GPUs; with fewer GPUs than ranks, ranks share them.
//
//   gpu_engine_test [--source-dir DIR] [GoogleTest's flags]    DIR holds tests/golden and models; default: the checkout
//                                                              that the test was built in
//
// Every test skips, and says so, where there is no GPU.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "kernels/device_info.h"
#include "tests/engine/device_engine_test.h"
#include "tests/engine/device_prefix_cache.h"

namespace switchyard {
namespace {

// Set before GoogleTest makes the tests, whose parameters come from the directory.
std::string& SourceDir() {
  static std::string directory = SWITCHYARD_SOURCE_DIR;
  return directory;
}

class GpuEngineTest : public testing::TestWithParam<DeviceEngineCase> {
 protected:
  void SetUp() override {
    const absl::StatusOr<std::vector<GpuInfo>> gpus = ListGpus();
    if (!gpus.ok()) GTEST_SKIP() << "needs a GPU: " << gpus.status().message();
    num_gpus_ = static_cast<int>(gpus->size());
  }

  int num_gpus_ = 0;
};

TEST_P(GpuEngineTest, ScoresAndContinuesAsTheReference) {
  ExpectScoresAndContinuationsOfTheReference(GetParam(), {.source_dir = SourceDir(), .num_gpus = num_gpus_});
}

// 37 tokens a step split every longer sequence into chunks, at places that are no page borders.
TEST_P(GpuEngineTest, ScoresAndContinuesAsTheReferenceInChunks) {
  ExpectScoresAndContinuationsOfTheReference(
      GetParam(), {.source_dir = SourceDir(), .num_gpus = num_gpus_, .max_batch_tokens = 37});
}

TEST(GpuPrefixCache, GivesTheSameBehindACachedBeginning) {
  const absl::StatusOr<std::vector<GpuInfo>> gpus = ListGpus();
  if (!gpus.ok()) GTEST_SKIP() << "needs a GPU: " << gpus.status().message();
  ExpectSameBehindACachedBeginning(SourceDir(), static_cast<int>(gpus->size()));
}

INSTANTIATE_TEST_SUITE_P(Gpus, GpuEngineTest, testing::ValuesIn(DeviceEngineCases(SourceDir())),
                         [](const auto& info) { return Describe(info.param); });

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::string(argv[i]) == "--source-dir") switchyard::SourceDir() = argv[i + 1];
  }
  // Ranks may share a GPU where NCCL allows it; read by NCCL when it makes its first communicator.
  setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", /*overwrite=*/1);
  // A kernel that is loaded at its first launch waits for the GPU, where a collective waits for the other rank's
  // launch.
  setenv("CUDA_MODULE_LOADING", "EAGER", /*overwrite=*/1);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
