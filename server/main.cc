// The switchyard binary: reads the command line and hands over to a command.
#include <jemalloc/jemalloc.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "server/commands/doctor.h"
#include "server/commands/generate.h"
#include "server/commands/plan.h"
#include "server/commands/quantize.h"
#include "server/commands/score.h"
#include "server/commands/serve.h"
#include "server/commands/startup.h"
#include "server/logging.h"
#include "server/settings/command_line.h"

namespace {

std::optional<std::string> ReadEnvironment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

// A thread of the allocator's gives freed memory back to the system, also where nobody allocates any more. Without one
// it is kept, no more than that.
void GiveBackFreedMemory() {
  bool enabled = true;
  mallctl("background_thread", nullptr, nullptr, &enabled, sizeof(enabled));
}

// Ranks that share a GPU share its context. NCCL refuses them without the first variable, which it reads when it
// starts; without the second a kernel's first launch may wait for the whole GPU, where NCCL may be waiting for this
// rank.
void LetRanksShareGpus(std::vector<int> gpus) {
  std::sort(gpus.begin(), gpus.end());
  if (std::adjacent_find(gpus.begin(), gpus.end()) == gpus.end()) return;
  setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", /*overwrite=*/0);
  setenv("CUDA_MODULE_LOADING", "EAGER", /*overwrite=*/0);
}

int Run(const switchyard::Settings& settings) {
  if (settings.check) return switchyard::RunCheck(settings);
  // These concern no other process.
  const bool is_alone = settings.command == switchyard::Command::kPlan ||
                        settings.command == switchyard::Command::kQuantize ||
                        settings.command == switchyard::Command::kDoctor;
  if (settings.engine.launch.process_idx > 0 && !is_alone) return switchyard::RunFollower(settings);
  switch (settings.command) {
    case switchyard::Command::kServe:
      return switchyard::RunServe(settings);
    case switchyard::Command::kGenerate:
      return switchyard::RunGenerate(settings);
    case switchyard::Command::kScore:
      return switchyard::RunScore(settings);
    case switchyard::Command::kPlan:
      return switchyard::RunPlan(settings);
    case switchyard::Command::kQuantize:
      return switchyard::RunQuantize(settings);
    case switchyard::Command::kDoctor:
      return switchyard::RunDoctor(settings);
  }
  return switchyard::kExitRefused;
}

}  // namespace

int main(int argc, char** argv) {
  const absl::StatusOr<switchyard::CommandLine> line =
      switchyard::ParseCommandLine(std::vector<std::string>(argv + 1, argv + argc), ReadEnvironment);
  if (!line.ok()) {
    std::cerr << "switchyard: " << line.status().message() << std::endl;
    return switchyard::kExitRefused;
  }
  if (!line->settings.has_value()) {
    std::cout << line->output << std::flush;
    return switchyard::kExitOk;
  }
  switchyard::SetUpLogging(line->settings->log);
  GiveBackFreedMemory();
  LetRanksShareGpus(line->settings->engine.gpus);
  return Run(*line->settings);
}
