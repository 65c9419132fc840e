// Plans for GPUs that are not there: what the tests of memory plans are made of.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "engine/memory_plan.h"

namespace switchyard {

inline constexpr int64_t kGiB = int64_t{1} << 30;
inline constexpr AttentionParallelism kAttentionModes[] = {AttentionParallelism::kReplicated,
                                                           AttentionParallelism::kTensorParallel};

inline std::unique_ptr<Checkpoint> OpenConfig(const std::string& path, const QuantizationChoices& quantize = {}) {
  auto checkpoint = Checkpoint::OpenConfig(std::string(SWITCHYARD_SOURCE_DIR "/") + path, quantize);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
  return checkpoint.ok() ? *std::move(checkpoint) : nullptr;
}
inline std::unique_ptr<Checkpoint> OpenMixtral(const QuantizationChoices& quantize = {}) {
  return OpenConfig("tests/engine/data/mixtral-8x7b/config.json", quantize);
}

inline EngineConfig OnGpus(int count) {
  EngineConfig config;
  config.device = DeviceKind::kCuda;
  for (int i = 0; i < count; ++i) config.gpus.push_back(i);
  config.num_local_ranks = count;
  return config;
}

inline EnginePlan PlanFor(const EngineConfig& config, const Checkpoint& checkpoint) {
  auto plan = MakeEnginePlan(config, checkpoint.spec(), config.num_local_ranks);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *std::move(plan);
}

inline RankMemory MemoryOf(const EnginePlan& plan, const Checkpoint& checkpoint, int rank) {
  const auto memory = PlanRankMemory(plan, checkpoint, rank);
  EXPECT_TRUE(memory.ok()) << memory.status();
  return memory.ok() ? *memory : RankMemory();
}

// Experts and attention in the same format.
inline QuantizationChoices Quantized(const char* format) {
  const QuantizationRecipe recipe = *ParseQuantizationRecipe(format);
  return {.experts = recipe, .attention = recipe};
}

}  // namespace switchyard
