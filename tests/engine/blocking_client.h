// Runs requests on an engine and waits for them: what the tests of the engine talk through.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace switchyard {

// Everything that the updates of one request said.
struct Completion {
  std::vector<GeneratedToken> tokens;
  std::string text;
  std::vector<PromptLogProb> prompt_logprobs;
  int32_t prompt_top1 = -1;
  FinishReason finish = FinishReason::kError;
  std::string matched_stop;
  absl::Status status;
  Usage usage;
  int num_updates = 0;

  std::vector<int32_t> ids() const;
};

// Submits all at once; CHECKs that they are accepted; in the order of the requests.
std::vector<Completion> RunTogether(Engine& engine, std::vector<GenerationRequest> requests);
Completion RunAlone(Engine& engine, GenerationRequest request);

GenerationRequest GreedyRequest(std::string id, std::vector<int32_t> prompt, int32_t max_tokens);
// Scores every position and generates nothing.
GenerationRequest ScoringRequest(std::string id, std::vector<int32_t> tokens);

// CHECKs that the engine starts.
std::unique_ptr<Engine> StartEngine(const EngineConfig& config);

}  // namespace switchyard
