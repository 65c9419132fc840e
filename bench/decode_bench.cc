// Decode: tokens per second by batch size and number of ranks, beside the bandwidth limit measured in the same run.
//
//   chrt -f 5 taskset -c 0,1 build/decode_bench --threads 2
//   build-gpu/decode_bench --device cuda --gpus 0 --config tests/engine/data/mixtral-8x7b/config.json
//       --load-format dummy --batches 1,8,64,256 --prompt 128 --generate 160
#include <algorithm>
#include <cstdio>

#include "bench/model_bench.h"

int main(int argc, char** argv) {
  using namespace switchyard;
  const ModelBenchOptions options = ParseModelBenchOptions(argc, argv);
  const std::string model = PrepareModel(options);
  const DeviceLimits limits = MeasureDeviceLimits(options, model);
  const double limit = limits.bytes_per_second;
  const int64_t max_batch = *std::max_element(options.batches.begin(), options.batches.end());
  std::printf(
      "| ranks | batch | tokens/s | ms/step | GB/step (least) | GB/s | limit GB/s | of the bandwidth limit |\n");
  std::printf("|---|---|---|---|---|---|---|---|\n");
  for (const int ranks : options.RanksToMeasure()) {
    const std::unique_ptr<Engine> engine =
        StartBenchEngine(options, model, ranks, max_batch, options.prompt + options.generate);
    const ModelInfo& info = engine->model_info();
    std::fprintf(stderr, "%s; exchange %s\n", info.device.c_str(), info.exchange.c_str());
    for (const int64_t batch : options.batches) {
      RunBatch(*engine, batch, options.prompt, 2);  // warm
      const RunTimes times = RunBatch(*engine, batch, options.prompt, options.generate);
      if (times.decode_steps == 0) {
        std::fprintf(stderr, "batch %ld: the first sequence ended before the last began; raise --generate\n",
                     static_cast<long>(batch));
        return 1;
      }
      const double step = absl::ToDoubleSeconds(times.decode) / static_cast<double>(times.decode_steps);
      const double bytes =
          DecodeBytes(info.spec, StoredTypesOf(options, info.spec), batch, options.prompt + options.generate / 2);
      std::printf("| %d | %ld | %.1f | %.3f | %.3f | %.1f | %.1f | %.0f%% |\n", ranks, static_cast<long>(batch),
                  static_cast<double>(batch) / step, step * 1e3, bytes * 1e-9, bytes / step * 1e-9, limit * 1e-9,
                  100 * bytes / step / limit);
      std::fflush(stdout);
    }
  }
  return 0;
}
