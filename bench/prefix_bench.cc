// Prefix cache: time to the first token of a prompt whose first N tokens nobody has sent before, and of one that shares
// them with an earlier one, in turns, medians. Each prompt has an end of its own behind them.
//
//   build/prefix_bench --threads 2 --lengths 256,1024,4096 --max-batch-tokens 4096
//   build/prefix_bench --model models/tiny-mixtral --lengths 1024 --ranks 1
#include <algorithm>
#include <cstdio>
#include <future>
#include <random>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "bench/model_bench.h"

namespace switchyard {
namespace {

constexpr int kRuns = 5;
constexpr int64_t kEndTokens = 16;

struct FirstToken {
  double seconds = 0;  // from submission
  int32_t cached_tokens = 0;
};

FirstToken TimeFirstToken(Engine& engine, std::vector<int32_t> prompt) {
  GenerationRequest request;
  request.id = "bench";
  request.prompt = std::move(prompt);
  request.sampling.temperature = 0;
  request.stop.max_tokens = 1;
  std::promise<FirstToken> ended;
  const absl::Time start = absl::Now();
  const absl::Status status = engine.Submit(std::move(request), [&](const RequestUpdate& update) {
    if (!update.finish.has_value()) return;
    if (!update.status.ok()) std::fprintf(stderr, "%s\n", update.status.ToString().c_str());
    ended.set_value({absl::ToDoubleSeconds(absl::Now() - start), update.usage.cached_tokens});
  });
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return {};
  }
  return ended.get_future().get();
}

class Prompts {
 public:
  explicit Prompts(int64_t vocab_size) : vocab_size_(vocab_size) {}

  std::vector<int32_t> Draw(int64_t count) { return Behind({}, count); }
  // `beginning` and `count` tokens more.
  std::vector<int32_t> Behind(std::vector<int32_t> beginning, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      beginning.push_back(static_cast<int32_t>(random_() % static_cast<uint64_t>(vocab_size_)));
    }
    return beginning;
  }

 private:
  const int64_t vocab_size_;
  std::mt19937 random_{17};
};

void Measure(Engine& engine, int ranks, int64_t prefix) {
  Prompts prompts(engine.model_info().spec.vocab_size);
  // Warm: libraries choose their algorithms by shape.
  TimeFirstToken(engine, prompts.Draw(prefix + kEndTokens));
  TimeFirstToken(engine, prompts.Draw(kEndTokens));
  std::vector<double> without, with;
  int32_t cached_tokens = 0;
  for (int run = 0; run < kRuns; ++run) {
    const std::vector<int32_t> beginning = prompts.Draw(prefix);
    without.push_back(TimeFirstToken(engine, prompts.Behind(beginning, kEndTokens)).seconds);
    const FirstToken shared = TimeFirstToken(engine, prompts.Behind(beginning, kEndTokens));
    with.push_back(shared.seconds);
    cached_tokens = shared.cached_tokens;
  }
  std::sort(without.begin(), without.end());
  std::sort(with.begin(), with.end());
  const double slow = without[kRuns / 2], fast = with[kRuns / 2];
  std::printf("| %d | %ld | %d | %.2f | %.2f | %.1f |\n", ranks, static_cast<long>(prefix), cached_tokens, slow * 1e3,
              fast * 1e3, slow / fast);
  std::fflush(stdout);
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) {
  using namespace switchyard;
  const ModelBenchOptions options = ParseModelBenchOptions(argc, argv);
  const std::string model = PrepareModel(options);
  const int64_t longest = *std::max_element(options.lengths.begin(), options.lengths.end());
  std::printf("| ranks | common beginning, tokens | found | first token without it, ms | with it, ms | times |\n");
  std::printf("|---|---|---|---|---|---|\n");
  for (const int ranks : options.RanksToMeasure()) {
    // Room for several texts, so that none is evicted between the two that share it.
    const std::unique_ptr<Engine> engine = StartBenchEngine(options, model, ranks, 4, longest + kEndTokens + 1);
    std::fprintf(stderr, "%s\n", engine->model_info().device.c_str());
    for (const int64_t prefix : options.lengths) Measure(*engine, ranks, prefix);
  }
  return 0;
}
