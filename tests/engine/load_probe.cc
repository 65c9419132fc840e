// Loads one rank of a checkpoint in a process of its own and prints what that took, beside what was planned: a line of
// JSON. What is measured is the system's account of the process, proc(5), not the loader's.
//
//   load_probe DIR FORMAT RANK RANKS THREADS
#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/memory_plan.h"
#include "engine/rank_model.h"
#include "parallel/communicators/in_process.h"

namespace switchyard {
namespace {

template <typename T>
T OrDie(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}

// The number behind `field` in a file of /proc/self.
int64_t FieldOf(const char* path, const std::string& field) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(field)) return std::atoll(line.c_str() + field.size());
  }
  std::fprintf(stderr, "%s has no %s\n", path, field.c_str());
  std::exit(1);
}
int64_t StatusBytes(const std::string& field) { return FieldOf("/proc/self/status", field) * 1024; }

// Private memory that the process may write to, less what its heap has to spare.
int64_t Allocated() { return StatusBytes("VmData:") - static_cast<int64_t>(mallinfo2().fordblks); }

int Run(const std::string& directory, const std::string& format, int rank, int ranks, int threads) {
  const QuantizationRecipe recipe = OrDie(ParseQuantizationRecipe(format));
  const EngineConfig config = {.model_dir = directory,
                               .num_local_ranks = ranks,
                               .num_threads = threads * ranks,
                               .max_model_len = 1024,
                               .kv_cache_bytes = int64_t{64} << 20,
                               .quantize = {.experts = recipe, .attention = recipe}};
  const auto checkpoint = OrDie(Checkpoint::Open(directory, config.quantize));
  const EnginePlan plan = OrDie(MakeEnginePlan(config, checkpoint->spec(), ranks));
  const RankMemory memory = OrDie(PlanRankMemory(plan, *checkpoint, rank));
  const auto backend = CreateCpuBackend(plan.cpu_backend_options());
  const auto communicators = CreateInProcessCommunicators(ranks, absl::Seconds(60));

  const int64_t resident_before = StatusBytes("VmRSS:");
  const int64_t allocated_before = Allocated();
  const int64_t read_before = FieldOf("/proc/self/io", "rchar:");
  RankModel model = OrDie(CreateRankModel(plan, *checkpoint, *backend, *communicators[static_cast<size_t>(rank)]));
  const absl::Status filled =
      checkpoint->FillWeights(plan.ShardOf(rank), *backend, model.decoder->weights(),
                              {.num_threads = plan.threads_per_rank}, [](const LoadProgress&) {});
  OrDie(filled.ok() ? absl::StatusOr<int>(0) : absl::StatusOr<int>(filled));
  const int64_t read = FieldOf("/proc/self/io", "rchar:") - read_before;
  const int64_t allocated = Allocated() - allocated_before;
  const int64_t peak = StatusBytes("VmHWM:") - resident_before;
  const int64_t weights = memory.experts + memory.attention + memory.embeddings + memory.other_weights;
  const std::string json =
      absl::StrCat("{\"planned_read\": ", checkpoint->BytesOf(plan.ShardOf(rank)), ", \"read\": ", read,
                   ", \"planned_weights\": ", weights, ", \"peak\": ", peak,
                   ", \"planned_memory\": ", memory.total() - memory.scratch, ", \"allocated\": ", allocated, "}");
  std::puts(json.c_str());
  return 0;
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  return switchyard::Run(argv[1], argv[2], std::atoi(argv[3]), std::atoi(argv[4]), std::atoi(argv[5]));
}
