// Decode: tokens per second by batch size and number of ranks, beside the bandwidth and arithmetic limits measured
// around every row.
//
//   chrt -f 5 taskset -c 0,1 build/decode_bench --threads 2
//   chrt -f 5 taskset -c 0,1 build/decode_bench --threads 2 --quantize int4 --quantize-embeddings int8
//       --activations int8
//   nice -n -20 taskset -c 0,1 build/decode_bench --threads 2 --batches 1 --quantize int4 --disturbed
//       (no real-time policy: it would keep the busy process from its core)
//   build-gpu/decode_bench --device cuda --gpus 0 --config tests/engine/data/mixtral-8x7b/config.json
//       --load-format dummy --quantize nf4 --batches 1,8,64,256 --prompt 128 --generate 160
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "bench/busy_process.h"
#include "bench/model_bench.h"

namespace switchyard {
namespace {

// Seconds per step while all sequences decode.
double MeasureStep(Engine& engine, const ModelBenchOptions& options, int64_t batch) {
  RunBatch(engine, batch, options.prompt, 2);  // warm
  const RunTimes times = RunBatch(engine, batch, options.prompt, options.generate);
  if (times.decode_steps == 0) {
    std::fprintf(stderr, "batch %ld: the first sequence ended before the last began; raise --generate\n",
                 static_cast<long>(batch));
    std::exit(1);
  }
  return absl::ToDoubleSeconds(times.decode) / static_cast<double>(times.decode_steps);
}

void Run(const ModelBenchOptions& options) {
  const std::string model = PrepareModel(options);
  LimitMeter meter(options, model);
  const int64_t max_batch = *std::max_element(options.batches.begin(), options.batches.end());
  std::printf(
      "| ranks | batch | tokens/s | ms/step | GB/step (least) | GB/s | limit GB/s | of bandwidth | GFLOP/s | limit "
      "GFLOP/s | of arithmetic |%s\n",
      options.disturbed ? " beside a busy process, tokens/s | of undisturbed |" : "");
  std::printf("|---|---|---|---|---|---|---|---|---|---|---|%s\n", options.disturbed ? "---|---|" : "");
  for (const int ranks : options.RanksToMeasure()) {
    const std::unique_ptr<Engine> engine =
        StartBenchEngine(options, model, ranks, max_batch, options.prompt + options.generate);
    const ModelInfo& info = engine->model_info();
    std::fprintf(stderr, "%s; exchange %s\n", info.device.c_str(), info.exchange.c_str());
    meter.SinceLast();  // loading is not measured
    for (const int64_t batch : options.batches) {
      const double step = MeasureStep(*engine, options, batch);
      const DeviceLimits limits = meter.SinceLast();
      const int64_t context = options.prompt + options.generate / 2;
      const double bytes = DecodeBytes(info.spec, StoredBitsOf(options, info.spec), batch, context);
      const double flops = DecodeFlops(info.spec, batch, context);
      std::printf("| %d | %ld | %.1f | %.3f | %.3f | %.1f | %.1f | %.0f%% | %.1f | %.1f | %.2f |", ranks,
                  static_cast<long>(batch), static_cast<double>(batch) / step, step * 1e3, bytes * 1e-9,
                  bytes / step * 1e-9, limits.bytes_per_second * 1e-9, 100 * bytes / step / limits.bytes_per_second,
                  flops / step * 1e-9, limits.flops_per_second * 1e-9, flops / step / limits.flops_per_second);
      if (options.disturbed) {
        const BusyProcess busy;
        const double disturbed = MeasureStep(*engine, options, batch);
        std::printf(" %.1f | %.0f%% |", static_cast<double>(batch) / disturbed, 100 * step / disturbed);
      }
      std::printf("\n");
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) {
  switchyard::Run(switchyard::ParseModelBenchOptions(argc, argv));
  return 0;
}
