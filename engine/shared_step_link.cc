#include <atomic>
#include <utility>

#include "absl/time/clock.h"
#include "engine/step_link.h"
#include "kernels/check.h"
#include "kernels/cpu/spin.h"

namespace switchyard {
namespace {

constexpr absl::Duration kLastWordsLimit = absl::Seconds(2);

// Rank 0 writes `batch`, then raises `published`; the others write their outputs, then raise `returned`.
// Who waits spins briefly and then sleeps, so idle ranks cost nothing.
struct SharedSteps {
  SharedSteps(int num_ranks, std::shared_ptr<SharedLoops> loops)
      : outputs(static_cast<size_t>(num_ranks), absl::StatusOr<StepOutput>(StepOutput())), loops(std::move(loops)) {}

  // Returns when `value` is no longer `old`.
  void Wait(const std::atomic<uint64_t>& value, uint64_t old) {
    WaitWhile(value, old, [this] { return loops != nullptr && loops->Help(); });
  }

  std::shared_ptr<const Batch> batch;
  std::vector<absl::StatusOr<StepOutput>> outputs;
  const std::shared_ptr<SharedLoops> loops;
  std::atomic<uint64_t> published = 0;
  std::atomic<uint64_t> returned = 0;  // over all steps and ranks
};

class SharedStepLink : public StepLink {
 public:
  SharedStepLink(std::shared_ptr<SharedSteps> steps, int rank) : steps_(std::move(steps)), rank_(rank) {}

  absl::Status Publish(std::shared_ptr<const Batch> batch) override {
    CHECK_EQ(rank_, 0);
    steps_->batch = std::move(batch);
    ++step_;
    steps_->published.store(step_, std::memory_order_release);
    steps_->published.notify_all();
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<StepOutput>> Collect(absl::StatusOr<StepOutput> own) override {
    CHECK_EQ(rank_, 0);
    const uint64_t expected = step_ * (steps_->outputs.size() - 1);
    if (!own.ok()) {
      WaitForLastWords(expected);
      return own.status();
    }
    uint64_t returned = steps_->returned.load(std::memory_order_acquire);
    while (returned != expected) {
      steps_->Wait(steps_->returned, returned);
      returned = steps_->returned.load(std::memory_order_acquire);
    }
    steps_->outputs[0] = std::move(own);
    std::vector<StepOutput> outputs;
    for (absl::StatusOr<StepOutput>& output : steps_->outputs) {
      if (!output.ok()) return output.status();
      outputs.push_back(*std::move(output));
    }
    return outputs;
  }

  absl::Duration MaxSilence() const override { return absl::InfiniteDuration(); }

  absl::StatusOr<std::shared_ptr<const Batch>> Next() override {
    CHECK_NE(rank_, 0);
    steps_->Wait(steps_->published, step_);
    ++step_;
    return steps_->batch;
  }

  absl::Status Return(absl::StatusOr<StepOutput> output) override {
    steps_->outputs[static_cast<size_t>(rank_)] = std::move(output);
    steps_->returned.fetch_add(1, std::memory_order_release);
    steps_->returned.notify_one();
    return absl::OkStatus();
  }

 private:
  // The others have been told by the data plane and come back at once, unless one hangs in its own work.
  void WaitForLastWords(uint64_t expected) const {
    const absl::Time deadline = absl::Now() + kLastWordsLimit;
    while (steps_->returned.load(std::memory_order_acquire) != expected && absl::Now() < deadline) {
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  const std::shared_ptr<SharedSteps> steps_;
  const int rank_;
  uint64_t step_ = 0;
};

}  // namespace

std::vector<std::unique_ptr<StepLink>> CreateSharedStepLinks(int num_ranks, std::shared_ptr<SharedLoops> loops) {
  auto steps = std::make_shared<SharedSteps>(num_ranks, std::move(loops));
  std::vector<std::unique_ptr<StepLink>> links;
  for (int rank = 0; rank < num_ranks; ++rank) links.push_back(std::make_unique<SharedStepLink>(steps, rank));
  return links;
}

}  // namespace switchyard
