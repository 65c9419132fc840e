// One life of the engine's ranks in rank 0's process: connected, loaded and serving, until they are stopped or one of
// them is lost.
#pragma once

#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/engine.h"
#include "engine/engine_loop.h"
#include "engine/local_ranks.h"
#include "engine/startup.h"
#include "engine/step_link.h"

namespace switchyard {

// Thread safety: loop() as EngineLoop says; the rest belongs to one thread.
class RankGroup {
 public:
  // Blocks until every rank is ready to step. `tokenizer` is borrowed and may be null; `seed` serves requests that
  // bring none. Errors are the first of any rank.
  static absl::StatusOr<std::unique_ptr<RankGroup>> Start(Startup startup, const Tokenizer* tokenizer, uint64_t seed,
                                                          const StartupCallback& progress);
  ~RankGroup();

  EngineLoop& loop() { return *loop_; }
  const Startup& startup() const { return startup_; }
  const std::string& device() const { return device_; }  // in words

  // Until the loop has ended: OK if it was stopped, UNAVAILABLE with the rank and the reason if one was lost.
  absl::Status WaitForEnd();
  // After WaitForEnd: frees the devices. False: some rank's thread does not come back within `limit`.
  bool Release(absl::Duration limit);

 private:
  explicit RankGroup(Startup startup) : startup_(std::move(startup)) {}

  // The life of rank 0's thread; `ready` receives the outcome of the start.
  void Lead(std::promise<absl::StatusOr<std::string>>& ready);

  Startup startup_;
  std::string device_;
  std::vector<std::unique_ptr<StepLink>> links_;
  std::unique_ptr<EngineLoop> loop_;
  std::unique_ptr<LoadMeter> meter_;
  std::unique_ptr<FollowerThreads> followers_;
  std::thread leader_;
};

}  // namespace switchyard
