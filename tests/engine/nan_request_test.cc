#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "tests/engine/poisoned_token.h"

namespace switchyard {
namespace {

EngineConfig CpuConfig(int num_ranks) {
  return {.num_local_ranks = num_ranks, .num_threads = 2, .kv_cache_bytes = int64_t{1} << 19, .max_batch_tokens = 64};
}

TEST(NanRequest, FailsAloneOnOneRank) { ExpectNanToFailItsOwnRequestOnly(CpuConfig(1), "one_rank"); }

TEST(NanRequest, FailsAloneWithEveryExchange) {
  for (const ExchangeStrategy exchange :
       {ExchangeStrategy::kAllToAll, ExchangeStrategy::kAllGather, ExchangeStrategy::kAllReduce}) {
    for (const AttentionParallelism attention :
         {AttentionParallelism::kReplicated, AttentionParallelism::kTensorParallel}) {
      EngineConfig config = CpuConfig(2);
      config.exchange = exchange;
      config.attention = attention;
      ExpectNanToFailItsOwnRequestOnly(config, absl::StrCat(Name(exchange), "_", Name(attention)));
    }
  }
}

TEST(NanRequest, FailsAloneWithPlainLoops) {
  EngineConfig config = CpuConfig(2);
  config.reference_kernels = true;
  ExpectNanToFailItsOwnRequestOnly(config, "reference");
}

TEST(NanRequest, FailsAloneWithEightBitPages) {
  for (const DType dtype : {DType::kInt8, DType::kFloat8E4M3}) {
    EngineConfig config = CpuConfig(2);
    config.kv_dtype = dtype;
    ExpectNanToFailItsOwnRequestOnly(config, absl::StrCat("kv_", static_cast<int>(dtype)));
  }
}

TEST(NanRequest, FailsAloneWithEightBitActivations) {
  EngineConfig config = CpuConfig(2);
  config.activations = CpuActivations::kInt8;
  config.quantize.experts = config.quantize.attention = *ParseQuantizationRecipe("int8-g64");
  ExpectNanToFailItsOwnRequestOnly(config, "int8");
}

}  // namespace
}  // namespace switchyard
