// What clients see when a GPU rank fails: the engine on two emulated GPUs, with faults in NCCL and memory.
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/emulation/devices.h"
#include "tests/emulation/fake_nccl/fake_nccl.h"
#include "tests/engine/blocking_client.h"

namespace switchyard {
namespace {

EngineConfig TwoGpus() {
  return {.model_dir = SWITCHYARD_SOURCE_DIR "/tests/golden/top2-of-8",
          .device = DeviceKind::kCuda,
          .gpus = {0, 1},
          .exchange = ExchangeStrategy::kAllGather,
          .max_model_len = 64,
          .kv_cache_bytes = int64_t{1} << 20,
          .max_batch_tokens = 32,
          .max_running_requests = 2,
          .page_size = 4,
          .dtype = DType::kFloat16,
          .gpu_reserve_bytes = 0,
          .collective_timeout = absl::Seconds(120)};
}

class EmulatedFaultTest : public testing::Test {
 protected:
  void SetUp() override {
    emulation::SetDevices({});
    fake_nccl::Reset();
  }
  void TearDown() override { SetUp(); }
};

TEST_F(EmulatedFaultTest, AnErrorOfNcclOnOneRankEndsRequestsOnAllAsUnavailable) {
  std::unique_ptr<Engine> engine = StartEngine(TwoGpus());
  GenerationRequest request = GreedyRequest("before", {1, 2, 3}, 4);
  request.stop.ignore_eos = true;
  EXPECT_EQ(RunAlone(*engine, request).finish, FinishReason::kLength);

  fake_nccl::InjectAsyncError(1, ncclRemoteError);
  const absl::Time begin = absl::Now();
  // The watching thread may take a moment to see it: until then requests still succeed.
  Completion last;
  for (int i = 0; absl::Now() < begin + absl::Seconds(60); ++i) {
    request.id = absl::StrCat("after ", i);
    if (!engine->Health().ok()) break;
    last = RunAlone(*engine, request);
    if (last.finish == FinishReason::kError) break;
  }
  EXPECT_TRUE(absl::IsUnavailable(engine->Health())) << engine->Health();
  EXPECT_NE(engine->Health().message().find("rank 1"), std::string::npos) << engine->Health();
  while (engine->Failure().ok() && absl::Now() < begin + absl::Seconds(120)) absl::SleepFor(absl::Milliseconds(10));
  EXPECT_TRUE(absl::IsUnavailable(engine->Failure())) << "for good, without restart_ranks";
  EXPECT_EQ(last.finish, FinishReason::kError);
  EXPECT_TRUE(absl::IsUnavailable(last.status)) << last.status;
  // Nothing hangs: the engine ends, and what comes later is refused.
  EXPECT_TRUE(absl::IsUnavailable(engine->Submit(GreedyRequest("late", {1}, 1), [](const RequestUpdate&) {})));
  engine.reset();
  EXPECT_LT(absl::Now() - begin, absl::Seconds(180));
}

TEST_F(EmulatedFaultTest, RanksAreBuiltAnewAfterOneIsLostAndAnswerAsBefore) {
  EngineConfig config = TwoGpus();
  config.restart_ranks = 2;
  std::unique_ptr<Engine> engine = StartEngine(config);
  GenerationRequest request = GreedyRequest("before", {1, 2, 3}, 4);
  request.stop.ignore_eos = true;
  const Completion before = RunAlone(*engine, request);
  EXPECT_EQ(before.finish, FinishReason::kLength);

  fake_nccl::InjectAsyncError(1, ncclRemoteError);
  const absl::Time deadline = absl::Now() + absl::Seconds(120);
  while (engine->Stats().num_rank_restarts == 0 && absl::Now() < deadline) {
    // A request finds the loss, if no other has; those after it are refused meanwhile.
    std::promise<Completion> end;
    request.id = absl::StrCat("meanwhile ", absl::GetCurrentTimeNanos());
    const absl::Status status = engine->Submit(request, [&end](RequestUpdate update) {
      if (update.finish.has_value()) end.set_value({.finish = *update.finish, .status = std::move(update.status)});
    });
    if (status.ok()) {
      const Completion meanwhile = end.get_future().get();
      EXPECT_TRUE(meanwhile.finish == FinishReason::kLength || absl::IsUnavailable(meanwhile.status));
    } else {
      EXPECT_TRUE(absl::IsUnavailable(status)) << status;
      fake_nccl::InjectAsyncError(1, ncclSuccess);  // the fault is over
    }
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_EQ(engine->Stats().num_rank_restarts, 1u);
  EXPECT_TRUE(engine->Health().ok()) << engine->Health();
  EXPECT_TRUE(engine->Failure().ok()) << engine->Failure();
  request.id = "after";
  const Completion after = RunAlone(*engine, request);
  EXPECT_EQ(after.finish, FinishReason::kLength) << after.status;
  EXPECT_EQ(after.ids(), before.ids());
}

TEST_F(EmulatedFaultTest, AModelThatDoesNotFitIsRefusedWithNeedAndHave) {
  emulation::SetDevices({.count = 2, .memory_bytes = size_t{300} << 10});
  const absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(TwoGpus(), [](const StartupProgress&) {});
  ASSERT_FALSE(engine.ok());
  EXPECT_NE(engine.status().message().find("needs"), std::string::npos) << engine.status();
  EXPECT_NE(engine.status().message().find("has"), std::string::npos) << engine.status();
}

TEST_F(EmulatedFaultTest, AGpuThatIsNotThereIsRefusedByItsNumber) {
  EngineConfig config = TwoGpus();
  config.gpus = {0, 5};
  const absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(config, [](const StartupProgress&) {});
  EXPECT_TRUE(absl::IsNotFound(engine.status())) << engine.status();
  EXPECT_NE(engine.status().message().find("GPU 5"), std::string::npos) << engine.status();
}

TEST_F(EmulatedFaultTest, WithoutKvCacheThePagesFillTheCardsThatAreThere) {
  EngineConfig config = TwoGpus();
  config.kv_cache_bytes = 0;
  config.max_running_requests = 64;
  const std::unique_ptr<Engine> engine = StartEngine(config);
  EXPECT_GT(engine->Stats().kv_pages_total, 2 * 64 / 4);
  GenerationRequest request = GreedyRequest("one", {1, 2, 3}, 4);
  request.stop.ignore_eos = true;
  EXPECT_EQ(RunAlone(*engine, request).finish, FinishReason::kLength);
}

}  // namespace
}  // namespace switchyard
