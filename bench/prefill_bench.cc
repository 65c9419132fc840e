// Prefill: prompt tokens per second by prompt length and number of ranks, beside the float32 multiply-add rate measured
// in the same run.
//
//   chrt -f 5 taskset -c 0,1 build/prefill_bench --threads 2
#include <cstdio>

#include "bench/limits.h"
#include "bench/model_bench.h"

int main(int argc, char** argv) {
  using namespace switchyard;
  const ModelBenchOptions options = ParseModelBenchOptions(argc, argv);
  const std::string model = PrepareModel(options);
  const double limit = MeasureFmaRate(options.threads);  // before any engine's threads are there
  std::printf("| ranks | requests x prompt | tokens/s | GFLOP/s | FMA GFLOP/s | of the arithmetic limit |\n");
  std::printf("|---|---|---|---|---|---|\n");
  for (const int ranks : options.ranks) {
    const std::unique_ptr<Engine> engine = StartBenchEngine(options, model, ranks, 2048);
    for (const auto& [requests, prompt] : {std::pair<int64_t, int64_t>{1, 128}, {1, 512}, {2, 512}, {1, 2048}}) {
      RunBatch(*engine, 1, 8, 1);  // warm
      const RunTimes times = RunBatch(*engine, requests, prompt, 1);
      const double seconds = absl::ToDoubleSeconds(times.first_token);
      const double flops = static_cast<double>(requests) * PrefillFlops(engine->model_info().spec, prompt);
      std::printf("| %d | %ld x %ld | %.1f | %.1f | %.1f | %.0f%% |\n", ranks, static_cast<long>(requests),
                  static_cast<long>(prompt), static_cast<double>(requests * prompt) / seconds, flops / seconds * 1e-9,
                  limit * 1e-9, 100 * flops / seconds / limit);
      std::fflush(stdout);
    }
  }
  return 0;
}
