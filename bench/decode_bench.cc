// Decode: tokens per second by batch size and number of ranks, beside the read bandwidth measured in the same run.
//
//   chrt -f 5 taskset -c 0,1 build/decode_bench --threads 2
#include <cstdio>

#include "bench/limits.h"
#include "bench/model_bench.h"

int main(int argc, char** argv) {
  using namespace switchyard;
  const ModelBenchOptions options = ParseModelBenchOptions(argc, argv);
  const std::string model = PrepareModel(options);
  const double limit = MeasureReadBandwidth(options.threads);  // before any engine's threads are there
  constexpr int64_t kPrompt = 16;
  constexpr int64_t kGenerate = 48;
  std::printf("| ranks | batch | tokens/s | ms/step | GB/step (least) | GB/s | read GB/s | of the bandwidth limit |\n");
  std::printf("|---|---|---|---|---|---|---|---|\n");
  for (const int ranks : options.ranks) {
    const std::unique_ptr<Engine> engine = StartBenchEngine(options, model, ranks, 2048);
    for (const int64_t batch : {1, 4, 8, 16, 32}) {
      const RunTimes times = RunBatch(*engine, batch, kPrompt, kGenerate);
      const double step = absl::ToDoubleSeconds(times.decode) / static_cast<double>(times.decode_steps);
      const double bytes = DecodeBytes(engine->model_info().spec, batch, kPrompt + kGenerate / 2);
      std::printf("| %d | %ld | %.1f | %.2f | %.3f | %.1f | %.1f | %.0f%% |\n", ranks, static_cast<long>(batch),
                  static_cast<double>(batch) / step, step * 1e3, bytes * 1e-9, bytes / step * 1e-9, limit * 1e-9,
                  100 * bytes / step / limit);
      std::fflush(stdout);
    }
  }
  return 0;
}
