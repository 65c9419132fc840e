// ChooseFittingFlags: what `switchyard plan --fit` settles on.
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "engine/memory_fit.h"
#include "tests/engine/planned_gpus.h"

namespace switchyard {
namespace {

FittingChoice Choose(const EngineConfig& config, const Checkpoint& checkpoint, const std::vector<int64_t>& free_bytes) {
  auto choice = ChooseFittingFlags(config, checkpoint, static_cast<int>(free_bytes.size()), free_bytes);
  EXPECT_TRUE(choice.ok()) << choice.status();
  if (!choice.ok()) return {};
  const Checkpoint& chosen = choice->checkpoint == nullptr ? checkpoint : *choice->checkpoint;
  EXPECT_TRUE(FitToMemory(PlanFor(choice->config, chosen), chosen, free_bytes).ok());
  return *std::move(choice);
}

TEST(ChooseFittingFlags, ChangesNothingThatFits) {
  const auto checkpoint = OpenMixtral();
  const FittingChoice choice = Choose(OnGpus(2), *checkpoint, {80 * kGiB, 80 * kGiB});
  EXPECT_EQ(choice.config.max_model_len, 32768);
  EXPECT_EQ(choice.config.max_batch_tokens, 2048);
  EXPECT_EQ(choice.config.attention, AttentionParallelism::kReplicated);
  EXPECT_EQ(choice.checkpoint, nullptr);
}

TEST(ChooseFittingFlags, GivesUpSpeedBeforeContext) {
  const auto checkpoint = OpenMixtral();
  const int64_t need = MemoryOf(PlanFor(OnGpus(2), *checkpoint), *checkpoint, 0).total();
  const FittingChoice smaller = Choose(OnGpus(2), *checkpoint, std::vector<int64_t>(2, need - kGiB / 64));
  EXPECT_EQ(smaller.config.max_batch_tokens, 1024);
  EXPECT_EQ(smaller.config.attention, AttentionParallelism::kReplicated);
  EXPECT_EQ(smaller.config.max_model_len, 32768);
  const FittingChoice divided = Choose(OnGpus(2), *checkpoint, std::vector<int64_t>(2, need - 2 * kGiB));
  EXPECT_EQ(divided.config.max_batch_tokens, 2048);
  EXPECT_EQ(divided.config.attention, AttentionParallelism::kTensorParallel);
  EXPECT_EQ(divided.config.max_model_len, 32768);
}

TEST(ChooseFittingFlags, GivesUpContextBeforePrecision) {
  const auto checkpoint = OpenMixtral();
  EngineConfig config = OnGpus(2);
  config.attention = AttentionParallelism::kTensorParallel;
  config.max_batch_tokens = 256;
  const int64_t have = MemoryOf(PlanFor(config, *checkpoint), *checkpoint, 0).total() - kGiB;
  const FittingChoice choice = Choose(OnGpus(2), *checkpoint, {have, have});
  EXPECT_EQ(choice.config.max_batch_tokens, 256);
  EXPECT_EQ(choice.config.attention, AttentionParallelism::kTensorParallel);
  EXPECT_GE(choice.config.max_model_len, 16384);  // a gibibyte less of two
  EXPECT_FALSE(choice.config.kv_dtype.has_value());
  EXPECT_EQ(choice.checkpoint, nullptr);
  config.max_model_len = choice.config.max_model_len + config.page_size;
  EXPECT_FALSE(FitToMemory(PlanFor(config, *checkpoint), *checkpoint, std::vector<int64_t>(2, have)).ok());
}

TEST(ChooseFittingFlags, TakesFourBitsOnTwoSmallCards) {
  const FittingChoice choice = Choose(OnGpus(2), *OpenMixtral(), {16 * kGiB, 16 * kGiB});
  EXPECT_EQ(choice.config.quantize, Quantized("nf4"));
  EXPECT_NE(choice.checkpoint, nullptr);
  EXPECT_EQ(choice.config.attention, AttentionParallelism::kTensorParallel);
  EXPECT_EQ(choice.config.max_model_len, 32768);
}

TEST(ChooseFittingFlags, SaysWhatIsLackingWhereNothingFits) {
  const auto checkpoint = OpenMixtral();
  const auto choice = ChooseFittingFlags(OnGpus(2), *checkpoint, 2, std::vector<int64_t>(2, 3 * kGiB));
  EXPECT_TRUE(absl::IsFailedPrecondition(choice.status())) << choice.status();
  EXPECT_NE(choice.status().message().find("needs "), std::string::npos) << choice.status();
}

}  // namespace
}  // namespace switchyard
