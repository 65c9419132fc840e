// Which process of a job this is, from the variables of the launcher that started it. The only place that knows them.
//
//   torchrun             WORLD_SIZE, RANK, MASTER_ADDR, MASTER_PORT, LOCAL_WORLD_SIZE, LOCAL_RANK
//   LeaderWorkerSet      LWS_GROUP_SIZE, LWS_WORKER_INDEX, LWS_LEADER_ADDRESS   (Kubernetes)
//   Slurm (srun)         SLURM_NTASKS, SLURM_PROCID, SLURM_STEP_NODELIST, SLURM_NTASKS_PER_NODE, SLURM_LOCALID
//
// The first of these launchers whose size variable is set decides. MASTER_ADDR and MASTER_PORT, where set, hold for all
// of them. Under torchrun's own store (TORCHELASTIC_USE_AGENT_STORE=True) torchrun itself listens on MASTER_PORT, so
// this job meets on MASTER_PORT + 1.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/engine_config.h"

namespace switchyard {

// The value of an environment variable; nullopt where it is unset.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

struct LaunchEnvironment {
  LaunchConfig launch;
  int processes_on_host = 1;      // share its CPUs
  int process_idx_on_host = 0;    // takes that GPU where none is named
  std::string source = "single";  // "torchrun", "LeaderWorkerSet", "Slurm"
};

// INVALID_ARGUMENT names the variable, its value and what it must be.
absl::StatusOr<LaunchEnvironment> ReadLaunchEnvironment(const Environment& environment);

}  // namespace switchyard
