// What an engine does with more requests than it may take, and with requests that take longer than they may. Updates
// come on the engine's own thread: a request whose callback stays in it holds the engine up, however fast it is.
#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "engine/engine.h"
#include "engine/retry_after.h"
#include "tests/engine/blocking_client.h"
#include "tests/engine/tiny_config.h"

namespace switchyard {
namespace {

GenerationRequest LongRequest(const std::string& id) {
  GenerationRequest request = GreedyRequest(id, {1, 50, 60}, 4000);
  request.stop.ignore_eos = true;
  return request;
}

// The end of a request that is submitted by itself, after each of whose updates the engine stands still for a while.
std::future<Completion> Submit(Engine& engine, const GenerationRequest& request, absl::Duration pause = {}) {
  const auto end = std::make_shared<std::promise<Completion>>();
  const absl::Status status = engine.Submit(request, [end, pause](RequestUpdate update) {
    if (update.finish.has_value()) {
      end->set_value({.finish = *update.finish, .status = std::move(update.status), .usage = update.usage});
    } else {
      absl::SleepFor(pause);
    }
  });
  EXPECT_TRUE(status.ok()) << status;
  return end->get_future();
}

// Lets the engine run into a callback and stand there.
class Standstill {
 public:
  ~Standstill() { End(); }
  // Of the engine's thread, in any number of callbacks.
  void Begin() {
    if (!begun()) begun_.Notify();
  }
  void AwaitEnd() { over_.WaitForNotification(); }
  // Of the test.
  bool begun() const { return begun_.HasBeenNotified(); }
  void AwaitBegin() { begun_.WaitForNotification(); }
  void End() {
    if (!over_.HasBeenNotified()) over_.Notify();
  }

 private:
  absl::Notification begun_, over_;
};

TEST(EngineLimits, AFullQueueIsRefusedAndOthersGoOn) {
  EngineConfig config = TinyConfig();
  config.max_running_requests = 2;
  config.max_queued_requests = 2;
  Standstill standstill;
  const std::unique_ptr<Engine> engine = StartEngine(config);
  std::vector<std::shared_ptr<std::promise<FinishReason>>> taken;
  int num_refused = 0;
  for (int i = 0; i < 8; ++i) {
    GenerationRequest request = GreedyRequest(absl::StrCat("r", i), {1, 50, 60}, 200);
    request.stop.ignore_eos = true;
    const auto end = std::make_shared<std::promise<FinishReason>>();
    const absl::Status status = engine->Submit(request, [&standstill, end](RequestUpdate update) {
      standstill.Begin();
      standstill.AwaitEnd();
      if (update.finish.has_value()) end->set_value(*update.finish);
    });
    if (status.ok()) {
      taken.push_back(end);
    } else {
      EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
      ++num_refused;
    }
    if (i == 0) standstill.AwaitBegin();
  }
  // One runs; one may take the free place, and two wait.
  EXPECT_EQ(taken.size(), 4u);
  EXPECT_EQ(num_refused, 4);
  standstill.End();
  for (const auto& end : taken) EXPECT_EQ(end->get_future().get(), FinishReason::kLength);
}

TEST(EngineLimits, ARefusalSaysWhatWaitsAndWhenToComeBack) {
  EngineConfig config = TinyConfig();
  config.max_running_requests = 1;
  config.max_queued_requests = 1;
  const std::unique_ptr<Engine> engine = StartEngine(config);
  absl::Status refusal;
  std::vector<std::string> taken;
  std::promise<void> ended;
  std::atomic<int> num_left = 1;  // and one for each that is taken
  const auto end_one = [&] {
    if (--num_left == 0) ended.set_value();
  };
  for (int i = 0; refusal.ok(); ++i) {
    GenerationRequest request = GreedyRequest(absl::StrCat("r", i), {1, 50, 60}, 1000);
    request.stop.ignore_eos = true;
    ++num_left;
    refusal = engine->Submit(request, [&](const RequestUpdate& update) {
      if (update.finish.has_value()) end_one();
    });
    if (refusal.ok()) {
      taken.push_back(request.id);
    } else {
      --num_left;
    }
  }
  EXPECT_TRUE(absl::IsResourceExhausted(refusal)) << refusal;
  EXPECT_NE(refusal.message().find("--max-queued-requests 1"), std::string::npos) << refusal;
  EXPECT_GE(RetryAfterSeconds(refusal).value_or(0), 1) << refusal;
  EXPECT_EQ(engine->Stats().requests_rejected[static_cast<size_t>(RejectReason::kQueuedRequests)], 1u);
  for (const std::string& id : taken) engine->Abort(id);
  end_one();
  ended.get_future().wait();
}

TEST(EngineLimits, WaitingTooLongEndsInResourceExhausted) {
  EngineConfig config = TinyConfig();
  config.max_running_requests = 1;
  config.max_queue_time = absl::Milliseconds(50);
  Standstill standstill;
  const std::unique_ptr<Engine> engine = StartEngine(config);
  // One that this machine holds up for so long before it runs is refused itself: then another is sent.
  std::string running;
  std::promise<void> ended;
  for (int i = 0; !standstill.begun(); ++i) {
    running = absl::StrCat("runs ", i);
    const auto heard = std::make_shared<absl::Notification>();
    ASSERT_TRUE(engine
                    ->Submit(LongRequest(running),
                             [&, heard](RequestUpdate update) {
                               if (heard->HasBeenNotified()) {
                                 if (update.finish.has_value()) ended.set_value();
                                 return;
                               }
                               if (!update.finish.has_value()) standstill.Begin();
                               heard->Notify();
                               if (!update.finish.has_value()) standstill.AwaitEnd();
                             })
                    .ok());
    heard->WaitForNotification();
  }
  std::future<Completion> waiting = Submit(*engine, LongRequest("waits"));
  absl::SleepFor(absl::Milliseconds(51));
  standstill.End();
  const Completion end = waiting.get();
  EXPECT_TRUE(absl::IsResourceExhausted(end.status)) << end.status;
  EXPECT_NE(end.status.message().find("--max-queue-seconds is 50ms"), std::string::npos) << end.status;
  EXPECT_TRUE(RetryAfterSeconds(end.status).has_value());
  EXPECT_GE(engine->Stats().requests_rejected[static_cast<size_t>(RejectReason::kQueueTime)], 1u);
  engine->Abort(running);
  ended.get_future().wait();
}

TEST(EngineLimits, RunningTooLongEndsInDeadlineExceeded) {
  EngineConfig config = TinyConfig();
  config.max_request_time = absl::Milliseconds(200);
  const std::unique_ptr<Engine> engine = StartEngine(config);
  Completion end;
  // One that this machine holds up for so long before its first token has none.
  for (int i = 0; i < 100 && end.usage.completion_tokens == 0; ++i) {
    end = Submit(*engine, LongRequest(absl::StrCat("runs ", i)), config.max_request_time).get();
    EXPECT_EQ(end.finish, FinishReason::kAborted);
    EXPECT_TRUE(absl::IsDeadlineExceeded(end.status)) << end.status;
    EXPECT_NE(end.status.message().find("--max-request-seconds is 200ms"), std::string::npos) << end.status;
  }
  EXPECT_GT(end.usage.completion_tokens, 0);
  EXPECT_EQ(engine->Stats().kv_pages_used, 0);
}

TEST(EngineLimits, AClientsOwnDeadlineEndsItsRequest) {
  const std::unique_ptr<Engine> engine = StartEngine(TinyConfig());
  GenerationRequest request = LongRequest("hurried");
  request.deadline = absl::Now() + absl::Milliseconds(50);
  const Completion end = Submit(*engine, request, absl::Milliseconds(50)).get();
  EXPECT_TRUE(absl::IsDeadlineExceeded(end.status)) << end.status;
}

TEST(EngineLimits, DrainAbortsAtItsLimit) {
  const std::unique_ptr<Engine> engine = StartEngine(TinyConfig());
  std::future<Completion> end = Submit(*engine, LongRequest("long"), absl::Milliseconds(5));  // 20 s at least
  EXPECT_TRUE(absl::IsDeadlineExceeded(engine->Drain(absl::Milliseconds(50))));
  EXPECT_EQ(end.get().finish, FinishReason::kAborted);
  EXPECT_EQ(engine->Stats().kv_pages_used, 0);
}

}  // namespace
}  // namespace switchyard
