// One model on its ranks, generating for many requests at once. Knows no front end.
//
// Thread safety: every member may be called from any thread. Destruction aborts what is left, stops the ranks and joins
// every thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/constraint/constraint_compiler.h"
#include "engine/engine_config.h"
#include "engine/request.h"
#include "engine/stats.h"
#include "engine/text/chat_template.h"
#include "engine/text/tokenizer.h"

namespace switchyard {

// What clients may know of the model.
struct ModelInfo {
  DecoderSpec spec;
  GenerationDefaults defaults;
  int64_t max_model_len = 0;
  int world_size = 1;
  std::string attention;  // "replicated"
  std::string exchange;   // "auto (all_to_all, all_gather)"
  std::string placement;  // "rank 0: experts 0-3; rank 1: experts 4-7"
  std::string device;     // "cpu AVX3, 1 thread"
  // What the checkpoint says and the engine does not use, in words: for the log.
  std::vector<std::string> warnings;
};

struct StartupProgress {
  std::string phase;  // "connect", "load", "ready"; "restart 1 of 3 after: ..." where a lost rank is built anew
  // Of "load", by all ranks of this process together.
  int64_t bytes_read = 0;
  int64_t bytes_total = 0;
  // The file that the last of its ranks is reading, counted from 0.
  int64_t shard = 0;
  int64_t num_shards = 0;
  std::string shard_path;
};
using StartupCallback = std::function<void(const StartupProgress&)>;

class Engine {
 public:
  virtual ~Engine() = default;

  // Opens the checkpoint, connects the ranks, loads, allocates. Only in the process of rank 0; the others call
  // ServeFollower. INVALID_ARGUMENT for what the caller can mend (flags, checkpoint), with the remedy.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(const EngineConfig& config, const StartupCallback& progress);

  virtual const ModelInfo& model_info() const = 0;
  virtual const Tokenizer* tokenizer() const = 0;         // null: the model has none
  virtual ConstraintCompiler* constraints() const = 0;    // null: the model has no tokenizer
  virtual const ChatTemplate* chat_template() const = 0;  // null: chat_template_status() says why
  virtual absl::Status chat_template_status() const = 0;

  // Queues a request. INVALID_ARGUMENT names field, value and limit; RESOURCE_EXHAUSTED when the queue is full;
  // UNAVAILABLE when draining or after a rank was lost. After OK, `on_update` is called until an update has `finish`.
  virtual absl::Status Submit(GenerationRequest request, UpdateCallback on_update) = 0;
  // Ends a request; its pages are free before the next step. Unknown ids are ignored. The final update says kAborted.
  virtual void Abort(const std::string& request_id) = 0;

  // No new requests; OK once all in flight have finished, DEADLINE_EXCEEDED if some had to be aborted.
  virtual absl::Status Drain(absl::Duration limit) = 0;
  // OK while serving; UNAVAILABLE with the rank and the reason after a failure, while the ranks are built anew after
  // one, or while draining.
  virtual absl::Status Health() const = 0;
  // Not OK once it has failed for good: no rank is built anew any more.
  virtual absl::Status Failure() const = 0;
  virtual EngineStats Stats() const = 0;
};

// Serves the ranks of a process other than rank 0's until rank 0 stops (OK), or a rank is lost and restart_ranks allows
// no further try.
absl::Status ServeFollower(const EngineConfig& config, const StartupCallback& progress);

}  // namespace switchyard
