#include "tests/engine/blocking_client.h"

#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <utility>

#include "kernels/check.h"

namespace switchyard {
namespace {

void Accumulate(RequestUpdate update, Completion& completion) {
  ++completion.num_updates;
  for (GeneratedToken& token : update.tokens) completion.tokens.push_back(std::move(token));
  completion.text += update.text;
  if (update.prompt_logprobs.has_value()) {
    completion.prompt_logprobs = *std::move(update.prompt_logprobs);
    completion.prompt_top1 = update.prompt_top1;
  }
  completion.usage = update.usage;
  if (update.finish.has_value()) {
    completion.finish = *update.finish;
    completion.matched_stop = update.matched_stop;
    completion.status = update.status;
  }
}

}  // namespace

std::vector<int32_t> Completion::ids() const {
  std::vector<int32_t> ids;
  for (const GeneratedToken& token : tokens) ids.push_back(token.id);
  return ids;
}

std::vector<Completion> RunTogether(Engine& engine, std::vector<GenerationRequest> requests) {
  std::vector<Completion> completions(requests.size());
  std::mutex mu;
  std::condition_variable done;
  size_t num_left = requests.size();
  for (size_t i = 0; i < requests.size(); ++i) {
    const absl::Status status = engine.Submit(std::move(requests[i]), [&, i](RequestUpdate update) {
      const std::lock_guard lock(mu);
      const bool last = update.finish.has_value();
      Accumulate(std::move(update), completions[i]);
      if (last && --num_left == 0) done.notify_all();
    });
    if (!status.ok()) std::fprintf(stderr, "Submit: %s\n", status.ToString().c_str());
    CHECK(status.ok());
  }
  std::unique_lock lock(mu);
  done.wait(lock, [&] { return num_left == 0; });
  return completions;
}

Completion RunAlone(Engine& engine, GenerationRequest request) {
  return std::move(RunTogether(engine, {std::move(request)}).front());
}

GenerationRequest GreedyRequest(std::string id, std::vector<int32_t> prompt, int32_t max_tokens) {
  GenerationRequest request;
  request.id = std::move(id);
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.stop.max_tokens = max_tokens;
  return request;
}

GenerationRequest ScoringRequest(std::string id, std::vector<int32_t> tokens) {
  GenerationRequest request = GreedyRequest(std::move(id), std::move(tokens), 0);
  request.num_prompt_logprobs = 0;
  return request;
}

std::unique_ptr<Engine> StartEngine(const EngineConfig& config) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Create(config, [](const StartupProgress&) {});
  if (!engine.ok()) std::fprintf(stderr, "Engine::Create: %s\n", engine.status().ToString().c_str());
  CHECK(engine.ok());
  return *std::move(engine);
}

}  // namespace switchyard
