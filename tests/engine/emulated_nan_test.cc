// A request whose numbers are NaN, on emulated GPUs.
#include <gtest/gtest.h>

#include "tests/engine/poisoned_token.h"

namespace switchyard {
namespace {

EngineConfig GpuConfig(std::vector<int> gpus) {
  return {.device = DeviceKind::kCuda,
          .gpus = std::move(gpus),
          .kv_cache_bytes = int64_t{1} << 17,
          .max_batch_tokens = 32,
          .max_running_requests = 4,
          .gpu_reserve_bytes = 0};
}

TEST(EmulatedNanRequest, FailsAloneOnOneGpu) { ExpectNanToFailItsOwnRequestOnly(GpuConfig({0}), "one_gpu"); }

TEST(EmulatedNanRequest, FailsAloneOnTwoGpus) {
  EngineConfig config = GpuConfig({0, 1});
  config.exchange = ExchangeStrategy::kAllGather;
  ExpectNanToFailItsOwnRequestOnly(config, "two_gpus");
}

}  // namespace
}  // namespace switchyard
