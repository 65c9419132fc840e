// The engine on two emulated GPUs: the CUDA kernels, backend and graphs on the host, and the NCCL communicator on a
// fake NCCL.
#include <gtest/gtest.h>

#include "tests/engine/device_engine_test.h"
#include "tests/engine/device_prefix_cache.h"

namespace switchyard {
namespace {

class EmulatedEngineTest : public testing::TestWithParam<DeviceEngineCase> {};

TEST_P(EmulatedEngineTest, ScoresAndContinuesAsTheReference) {
  // A fiber per CUDA thread takes its time, so short parts of short sequences.
  ExpectScoresAndContinuationsOfTheReference(GetParam(), {.source_dir = SWITCHYARD_SOURCE_DIR,
                                                          .num_gpus = 2,
                                                          .max_sequences = 1,
                                                          .max_scored_tokens = 40,
                                                          .max_generated_tokens = 8,
                                                          .max_batch_tokens = 32});
}

TEST(EmulatedPrefixCache, GivesTheSameBehindACachedBeginning) {
  ExpectSameBehindACachedBeginning(SWITCHYARD_SOURCE_DIR, /*num_gpus=*/2);
}

INSTANTIATE_TEST_SUITE_P(Gpus, EmulatedEngineTest, testing::ValuesIn(DeviceEngineCases(SWITCHYARD_SOURCE_DIR)),
                         [](const auto& info) { return Describe(info.param); });

}  // namespace
}  // namespace switchyard
