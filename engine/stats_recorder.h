// Collects the engine's statistics on its thread and hands out snapshots to any.
#pragma once

#include <functional>
#include <mutex>
#include <vector>

#include "absl/time/time.h"
#include "engine/batch.h"
#include "engine/engine_plan.h"
#include "engine/sequence.h"
#include "engine/stats.h"

namespace switchyard {

class StatsRecorder {
 public:
  StatsRecorder(const EnginePlan& plan, const DecoderSpec& spec);

  EngineStats Snapshot() const;

  // One step of all ranks, in rank order.
  void RecordStep(const Batch& batch, const std::vector<StepOutput>& outputs);
  // `previous` is when the sequence's token before this one was known; InfinitePast for the first.
  void RecordToken(const Sequence& sequence, absl::Time previous, absl::Time now);
  void RecordFinished(const Sequence& sequence, absl::Time now);
  // A request that ended before it became a sequence.
  void RecordReason(FinishReason reason);
  void RecordRejected(RejectReason reason);
  void SetGauges(const Scheduler& scheduler);

 private:
  const EnginePlan& plan_;
  const DecoderSpec& spec_;
  mutable std::mutex mu_;
  EngineStats stats_;  // guarded by mu_
};

}  // namespace switchyard
