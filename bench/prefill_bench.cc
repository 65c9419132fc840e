// Prefill: prompt tokens per second by prompt length and number of ranks, beside the arithmetic limit measured in the
// same run: float32 multiply-adds on the CPU, matrix products on GPUs.
//
//   chrt -f 5 taskset -c 0,1 build/prefill_bench --threads 2
//   build-gpu/prefill_bench --device cuda --gpus 0 --config tests/engine/data/mixtral-8x7b/config.json
//       --load-format dummy --lengths 512,4096,16384 --max-batch-tokens 4096
#include <algorithm>
#include <cstdio>

#include "bench/model_bench.h"

int main(int argc, char** argv) {
  using namespace switchyard;
  const ModelBenchOptions options = ParseModelBenchOptions(argc, argv);
  const std::string model = PrepareModel(options);
  LimitMeter meter(options, model);
  const int64_t max_length = *std::max_element(options.lengths.begin(), options.lengths.end());
  constexpr int kRuns = 3;
  std::printf("| ranks | prompt | tokens/s | ms | GFLOP/s | limit GFLOP/s | of the arithmetic limit |\n");
  std::printf("|---|---|---|---|---|---|---|\n");
  for (const int ranks : options.RanksToMeasure()) {
    const std::unique_ptr<Engine> engine = StartBenchEngine(options, model, ranks, 1, max_length + 1);
    const ModelInfo& info = engine->model_info();
    std::fprintf(stderr, "%s; exchange %s\n", info.device.c_str(), info.exchange.c_str());
    for (const int64_t prompt : options.lengths) {
      RunBatch(*engine, 1, prompt, 1);  // warm: libraries choose their algorithms by shape
      meter.SinceLast();
      double seconds[kRuns];
      for (double& run : seconds) run = absl::ToDoubleSeconds(RunBatch(*engine, 1, prompt, 1).first_token);
      const double limit = meter.SinceLast().flops_per_second;
      std::sort(seconds, seconds + kRuns);
      const double median = seconds[kRuns / 2];
      const double flops = PrefillFlops(info.spec, prompt);
      std::printf("| %d | %ld | %.1f | %.2f | %.1f | %.1f | %.0f%% |\n", ranks, static_cast<long>(prompt),
                  static_cast<double>(prompt) / median, median * 1e3, flops / median * 1e-9, limit * 1e-9,
                  100 * flops / median / limit);
      std::fflush(stdout);
    }
  }
  return 0;
}
