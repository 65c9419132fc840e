#include "engine/engine_plan.h"

#include <gtest/gtest.h>

namespace switchyard {
namespace {

DecoderSpec SmallSpec() {
  DecoderSpec spec;
  spec.model_type = "mixtral";
  spec.vocab_size = 100;
  spec.hidden_size = 64;
  spec.num_layers = 2;
  spec.max_position_embeddings = 512;
  spec.num_heads = 8;
  spec.num_kv_heads = 4;
  spec.head_dim = 16;
  spec.num_experts = 8;
  spec.experts_per_token = 2;
  spec.expert_intermediate_size = 32;
  return spec;
}

void ExpectRefused(const EngineConfig& config, int world_size, const std::vector<std::string>& words) {
  const absl::Status status = MakeEnginePlan(config, SmallSpec(), world_size).status();
  ASSERT_TRUE(absl::IsInvalidArgument(status)) << status;
  for (const std::string& word : words) EXPECT_NE(status.message().find(word), std::string::npos) << status;
}

TEST(EnginePlan, RefusesHeadsThatDoNotDivideAndSaysWhy) {
  ExpectRefused({.attention = AttentionParallelism::kTensorParallel}, 3, {"num_attention_heads", "8", "3 ranks"});
  ExpectRefused({.attention = AttentionParallelism::kTensorParallel}, 8, {"num_key_value_heads", "4", "8 ranks"});
  EXPECT_TRUE(MakeEnginePlan({.attention = AttentionParallelism::kReplicated}, SmallSpec(), 3).ok());
}

TEST(EnginePlan, RefusesLimitsThatCannotHold) {
  ExpectRefused({.max_model_len = 513}, 1, {"--max-model-len", "513", "512"});
  ExpectRefused({.max_batch_tokens = 0}, 1, {"--max-batch-tokens", "0", "1"});
  ExpectRefused({.kv_cache_bytes = 1000}, 1, {"--kv-cache", "1000", "--max-model-len 512"});
}

TEST(EnginePlan, SplitsHeadsOnlyForTensorParallelAttention) {
  const auto split = MakeEnginePlan({.attention = AttentionParallelism::kTensorParallel}, SmallSpec(), 4);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_EQ(split->attention.num_heads, 2);
  EXPECT_EQ(split->attention.num_kv_heads, 1);
  EXPECT_EQ(split->ShardOf(3).head_begin, 6);
  EXPECT_EQ(split->ShardOf(3).kv_head_end, 4);
  EXPECT_EQ(split->ShardOf(3).experts, (std::vector<int>{6, 7}));
  EXPECT_EQ(split->scheduler.num_kv_domains, 1);
  const auto replicated = MakeEnginePlan({}, SmallSpec(), 4);
  ASSERT_TRUE(replicated.ok()) << replicated.status();
  EXPECT_EQ(replicated->ShardOf(3).head_end, 8);
  EXPECT_EQ(replicated->scheduler.num_kv_domains, 4);
}

TEST(EnginePlan, AllReduceKeepsEverySequenceOnEveryRank) {
  const auto plan = MakeEnginePlan({.exchange = ExchangeStrategy::kAllReduce}, SmallSpec(), 4);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->scheduler.num_kv_domains, 1);
  EXPECT_EQ(plan->DescribeExchange(), "all_reduce");
}

TEST(EnginePlan, OneSequenceOfFullLengthAlwaysFits) {
  const auto plan = MakeEnginePlan({.max_running_requests = 1}, SmallSpec(), 1);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_GE(plan->kv_shape.num_pages * plan->kv_shape.page_size, 512);
}

TEST(EnginePlan, GpusComputeInTheCheckpointsTypeUnlessToldOtherwise) {
  DecoderSpec spec = SmallSpec();
  EngineConfig config;
  EXPECT_EQ(ActivationDType(config, spec), DType::kFloat32);
  config.device = DeviceKind::kCuda;
  EXPECT_EQ(ActivationDType(config, spec), DType::kBFloat16);
  spec.weight_dtype = DType::kFloat32;
  EXPECT_EQ(ActivationDType(config, spec), DType::kBFloat16);
  spec.weight_dtype = DType::kFloat16;
  EXPECT_EQ(ActivationDType(config, spec), DType::kFloat16);
  EXPECT_EQ(MakeEnginePlan(config, spec, 1)->kv_shape.dtype, DType::kFloat16);
  config.dtype = DType::kBFloat16;
  EXPECT_EQ(ActivationDType(config, spec), DType::kBFloat16);
}

TEST(EnginePlan, LeavesTheRestOfAGpusPagesToTheMemoryPlan) {
  const auto plan = MakeEnginePlan({.device = DeviceKind::kCuda}, SmallSpec(), 2);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->kv_shape.num_pages, 512 / 16);
  EXPECT_EQ(plan->config.kv_cache_bytes, 0);
  EXPECT_EQ(plan->max_useful_pages(), 128 * 32);  // 256 requests on two ranks, 32 pages each
}

TEST(EnginePlan, SetsPagesWhereverThePlanSaysThem) {
  auto plan = MakeEnginePlan({.device = DeviceKind::kCuda}, SmallSpec(), 1);
  ASSERT_TRUE(plan.ok()) << plan.status();
  plan->SetPages(100);
  EXPECT_EQ(plan->kv_shape.num_pages, 100);
  EXPECT_EQ(plan->scheduler.pages_per_domain, 100);
  EXPECT_EQ(plan->config.kv_cache_bytes, 100 * 2 * 2 * 4 * 16 * 16 * 2);
}

TEST(EnginePlan, LetsTheRanksOfOneProcessTakePartInEachOthersLoopsOnCpus) {
  const auto guests = [](const EngineConfig& config, int world_size) {
    const auto plan = MakeEnginePlan(config, SmallSpec(), world_size);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan->cpu_backend_options().num_guests;
  };
  EngineConfig config;
  config.num_threads = 6;
  EXPECT_EQ(guests(config, 1), 0);
  config.num_local_ranks = 2;
  EXPECT_EQ(guests(config, 2), 3);
  config.reference_kernels = true;
  EXPECT_EQ(guests(config, 2), 0);
  config.reference_kernels = false;
  config.launch.num_processes = 2;
  EXPECT_EQ(guests(config, 4), 0);
}

TEST(EnginePlan, RefusesShapesThatTheGpuKernelsDoNotTake) {
  const auto expect_refused = [](DecoderSpec spec, const std::vector<std::string>& words) {
    EXPECT_TRUE(MakeEnginePlan({}, spec, 1).ok());
    const absl::Status status = MakeEnginePlan({.device = DeviceKind::kCuda}, spec, 1).status();
    ASSERT_TRUE(absl::IsInvalidArgument(status)) << status;
    for (const std::string& word : words) EXPECT_NE(status.message().find(word), std::string::npos) << status;
  };
  DecoderSpec spec = SmallSpec();
  spec.head_dim = 20;
  expect_refused(spec, {"head_dim is 20", "multiples of 8 up to 256"});
  spec.head_dim = 264;
  expect_refused(spec, {"head_dim is 264", "up to 256"});
  spec = SmallSpec();
  spec.hidden_size = 60;
  expect_refused(spec, {"hidden_size is 60", "multiples of 8;"});
  spec = SmallSpec();
  spec.expert_intermediate_size = 4;
  expect_refused(spec, {"intermediate_size is 4"});
  spec = SmallSpec();
  spec.num_experts = 513;
  expect_refused(spec, {"num_local_experts is 513", "up to 512"});
  spec = SmallSpec();
  spec.num_experts = 64;
  spec.experts_per_token = 17;
  expect_refused(spec, {"num_experts_per_tok is 17", "up to 16"});
}

}  // namespace
}  // namespace switchyard
