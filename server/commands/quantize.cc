#include "server/commands/quantize.h"

#include <spdlog/spdlog.h>

#include <string>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "engine/checkpoint/writer/quantize_checkpoint.h"
#include "server/commands/progress_line.h"
#include "server/commands/startup.h"
#include "server/life_cycle.h"

namespace switchyard {

int RunQuantize(const Settings& settings) {
  StopSignals signals;
  signals.ExpectDrain();
  ProgressLine line;
  const absl::Time start = absl::Now();
  const absl::StatusOr<QuantizeSummary> summary = QuantizeCheckpoint(
      {.model_dir = settings.engine.model_dir,
       .out_dir = settings.quantize.out_dir,
       .quantize = settings.engine.quantize,
       .max_shard_bytes = settings.quantize.max_shard_bytes,
       .num_threads = settings.engine.num_threads},
      [&line](const LoadProgress& progress) {
        line.Show({.what = "quantising",
                   .shard = progress.shard,
                   .num_shards = progress.num_shards,
                   .shard_path = progress.shard_path,
                   .bytes_done = progress.bytes_read,
                   .bytes_total = progress.bytes_total});
      },
      [&signals] { return signals.WaitFor(absl::ZeroDuration()); });
  line.End();
  if (!summary.ok()) return Report(summary.status());
  for (const std::string& warning : summary->warnings) spdlog::warn("{}", warning);
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  spdlog::info("{}: {}", settings.quantize.out_dir,
               absl::StrFormat("%.3f GB as %s, of %.3f GB, in %.0f s (%.2f GB/s)", summary->bytes_written / 1e9,
                               Name(settings.engine.quantize.experts), summary->bytes_read / 1e9, seconds,
                               summary->bytes_read / 1e9 / seconds));
  return kExitOk;
}

}  // namespace switchyard
