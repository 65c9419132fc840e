// An Engine without a model: every request gets the same text, byte by byte, when the test says so. A prompt that was
// there before, with the same salt, counts as cached but for its last token.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "engine/engine.h"
#include "engine/text/stop_matcher.h"
#include "engine/text/utf8_assembler.h"
#include "tests/server/fake_tokenizer.h"

namespace switchyard {

// Thread safety: every member from any thread. Updates come from a thread of its own, as the real engine's do.
class FakeEngine : public Engine {
 public:
  struct Options {
    std::string output = "Hello, world!";  // then the end of sequence
    int64_t max_model_len = 256;
    GenerationDefaults defaults;
    bool has_tokenizer = true;
    std::vector<std::string> special_tokens;  // of the tokenizer, besides its own
    bool has_chat_template = true;
    ToolCallFormat tool_call_format = ToolCallFormat::kMistral;
    bool hold = false;           // no token before Step or Release
    int fail_after_tokens = -1;  // each request then ends with kError
    absl::Status submit_status;  // of every Submit
  };
  explicit FakeEngine(Options options);
  FakeEngine() : FakeEngine(Options()) {}
  ~FakeEngine() override;

  // Lets every request have `tokens` more, those that come later included.
  void Step(int tokens);
  void Release();

  // Blocks until so many requests were submitted in all, or are still in flight.
  void WaitForSubmitted(size_t count);
  void WaitForInFlight(size_t count);
  std::vector<GenerationRequest> submitted() const;  // in order
  size_t num_aborted() const;                        // in flight when they were
  void SetStats(EngineStats stats);
  void SetHealth(absl::Status health);  // of Failure, too, unless `recovers`
  void SetRecovers(bool recovers);

  const ModelInfo& model_info() const override { return info_; }
  const Tokenizer* tokenizer() const override { return options_.has_tokenizer ? &tokenizer_ : nullptr; }
  ConstraintCompiler* constraints() const override { return constraints_.get(); }
  const ChatTemplate* chat_template() const override { return options_.has_chat_template ? &template_ : nullptr; }
  absl::Status chat_template_status() const override;
  absl::Status Submit(GenerationRequest request, UpdateCallback on_update) override;
  void Abort(const std::string& request_id) override;
  absl::Status Drain(absl::Duration limit) override { return absl::OkStatus(); }
  absl::Status Health() const override;
  absl::Status Failure() const override;
  EngineStats Stats() const override;

  // What token `idx` of every request has; its top list leaves the token itself out when `idx` is odd.
  static float LogProbOf(int idx) { return -0.1f * static_cast<float>(idx + 1) / 3.0f; }
  static std::vector<int16_t> ExpertsOf(int idx) { return {static_cast<int16_t>(idx % 8), 5}; }
  static float PromptLogProbOf(int idx) { return -0.7f * static_cast<float>(idx + 1) / 9.0f; }

 private:
  struct Active {
    GenerationRequest request;
    UpdateCallback on_update;
    int32_t cached_tokens = 0;
    int allowed = 0;
    int produced = 0;
    bool aborted = false;
    Utf8Assembler assembler;
    StopMatcher stops;
  };

  void Run();
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  static bool Ready(const Active& active) {
    return active.aborted || active.produced < active.allowed || Scores(active);
  }
  static bool Scores(const Active& active) { return active.request.stop.max_tokens == 0; }
  RequestUpdate NextUpdate(Active& active) const;

  // constant after construction
  const Options options_;
  const FakeTokenizer tokenizer_;
  const std::unique_ptr<ConstraintCompiler> constraints_;  // if it has a tokenizer
  const FakeChatTemplate template_;
  ModelInfo info_;

  mutable absl::Mutex mu_;
  std::map<std::string, std::unique_ptr<Active>> active_ ABSL_GUARDED_BY(mu_);
  std::vector<GenerationRequest> submitted_ ABSL_GUARDED_BY(mu_);
  size_t num_aborted_ ABSL_GUARDED_BY(mu_) = 0;
  int granted_ ABSL_GUARDED_BY(mu_) = 0;  // tokens that a new request may have
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  EngineStats stats_ ABSL_GUARDED_BY(mu_);
  absl::Status health_ ABSL_GUARDED_BY(mu_);
  bool recovers_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace switchyard
