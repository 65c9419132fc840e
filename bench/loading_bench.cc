// Loading: bytes of the checkpoint's files per second by format and number of ranks, beside a plain read of the same
// files by as many threads in the same run. Everything comes from the page cache: the files are read once before.
//
//   chrt -f 5 taskset -c 0,1 build/loading_bench --threads 2
#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "bench/model_bench.h"
#include "engine/checkpoint/checkpoint.h"
#include "engine/checkpoint/random_access_file.h"
#include "engine/engine_plan.h"
#include "kernels/quantization/quantization.h"

namespace switchyard {
namespace {

struct Options {
  ModelBenchOptions model;
  std::vector<std::string> formats = {"none", "nf4", "int4", "int8"};
  std::vector<int> ranks = {1, 2};
  int threads = 2;  // of all ranks together
};

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}

void OrDie(const absl::Status& status) { OrDie(status.ok() ? absl::StatusOr<int>(0) : absl::StatusOr<int>(status)); }

// Calls body(0) to body(count - 1), each on a thread of its own; seconds until the last has ended.
double TimeThreads(int count, const std::function<void(int)>& body) {
  const absl::Time start = absl::Now();
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(body, i);
  for (std::thread& thread : threads) thread.join();
  return absl::ToDoubleSeconds(absl::Now() - start);
}

// Bytes per second of plain reads, in the requests that the loader makes.
double ReadPlainly(const std::string& directory, int threads) {
  std::vector<std::unique_ptr<RandomAccessFile>> files;
  std::vector<std::pair<const RandomAccessFile*, int64_t>> blocks;
  int64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() != ".safetensors") continue;
    files.push_back(OrDie(OpenPosixFile(entry.path().string())));
    const int64_t size = files.back()->size();
    bytes += size;
    for (int64_t at = 0; at < size; at += kLoadBlockBytes) blocks.emplace_back(files.back().get(), at);
  }
  std::atomic<size_t> next = 0;
  const double seconds = TimeThreads(threads, [&](int) {
    std::vector<std::byte> buffer(kLoadBlockBytes);
    for (size_t i = next++; i < blocks.size(); i = next++) {
      const auto& [file, at] = blocks[i];
      const int64_t size = std::min(kLoadBlockBytes, file->size() - at);
      OrDie(file->ReadAt(at, std::span(buffer).first(static_cast<size_t>(size))));
    }
  });
  return static_cast<double>(bytes) / seconds;
}

struct Loaded {
  double bytes = 0;  // read, by all ranks
  double seconds = 0;
};

Loaded Load(const std::string& directory, const std::string& format, int ranks, int threads) {
  const QuantizationRecipe recipe = OrDie(ParseQuantizationRecipe(format));
  const EngineConfig config = {.model_dir = directory,
                               .num_local_ranks = ranks,
                               .num_threads = threads,
                               .quantize = {.experts = recipe, .attention = recipe}};
  const auto checkpoint = OrDie(Checkpoint::Open(directory, config.quantize));
  const EnginePlan plan = OrDie(MakeEnginePlan(config, checkpoint->spec(), ranks));
  std::vector<std::unique_ptr<Backend>> backends;
  std::vector<ModelWeights> weights;
  Loaded loaded;
  for (int rank = 0; rank < ranks; ++rank) {
    backends.push_back(CreateCpuBackend(plan.cpu_backend_options()));
    weights.push_back(OrDie(checkpoint->CreateWeights(plan.ShardOf(rank), *backends.back())));
    loaded.bytes += static_cast<double>(checkpoint->BytesOf(plan.ShardOf(rank)));
  }
  loaded.seconds = TimeThreads(ranks, [&](int rank) {
    const auto slot = static_cast<size_t>(rank);
    OrDie(checkpoint->FillWeights(plan.ShardOf(rank), *backends[slot], weights[slot],
                                  {.num_threads = plan.threads_per_rank}, [](const LoadProgress&) {}));
  });
  return loaded;
}

// The median of three: a virtual machine's memory comes at very different speeds.
Loaded MeasureLoad(const std::string& directory, const std::string& format, int ranks, int threads) {
  std::array<Loaded, 3> runs;
  for (Loaded& run : runs) run = Load(directory, format, ranks, threads);
  std::sort(runs.begin(), runs.end(), [](const Loaded& a, const Loaded& b) { return a.seconds < b.seconds; });
  return runs[1];
}

Options Parse(int argc, char** argv) {
  Options options;
  CLI::App app("Measures loading beside a plain read of the same files.");
  app.add_option("--model", options.model.model, "model directory; default: a random model of 1.15 billion parameters");
  app.add_option("--formats", options.formats, "of experts and attention")->delimiter(',')->capture_default_str();
  app.add_option("--ranks", options.ranks, "numbers of CPU ranks to measure")->delimiter(',')->capture_default_str();
  app.add_option("--threads", options.threads, "of all ranks together")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  return options;
}

void Run(const Options& options) {
  const std::string directory = PrepareModel(options.model);
  ReadPlainly(directory, options.threads);  // into the page cache
  std::printf(
      "| format | ranks | GB read | s | GB/s | plain read GB/s | of a plain read |\n|---|---|---|---|---|---|---|\n");
  for (const std::string& format : options.formats) {
    for (const int ranks : options.ranks) {
      const double plain = ReadPlainly(directory, options.threads);
      const Loaded loaded = MeasureLoad(directory, format, ranks, options.threads);
      const double rate = loaded.bytes / loaded.seconds;
      std::printf("| %s | %d | %.2f | %.2f | %.2f | %.2f | %.0f%% |\n", format.c_str(), ranks, loaded.bytes * 1e-9,
                  loaded.seconds, rate * 1e-9, plain * 1e-9, 100 * rate / plain);
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) {
  switchyard::Run(switchyard::Parse(argc, argv));
  return 0;
}
