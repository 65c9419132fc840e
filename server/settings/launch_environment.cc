#include "server/settings/launch_environment.h"

#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

constexpr int kMaxPort = 65535;

class Reader {
 public:
  explicit Reader(const Environment& environment) : environment_(environment) {}

  bool Has(const std::string& name) const { return environment_(name).has_value(); }

  // `fallback` where it is unset; records the first error.
  int Int(const std::string& name, int fallback, int min, int max) {
    const std::optional<std::string> text = environment_(name);
    if (!text.has_value()) return fallback;
    int value = 0;
    if (absl::SimpleAtoi(*text, &value) && value >= min && value <= max) return value;
    if (status_.ok()) {
      status_ = absl::InvalidArgumentError(absl::StrCat("the environment has ", name, "=\"", *text,
                                                        "\", which is not a whole number from ", min, " to ", max,
                                                        "; mend or unset it"));
    }
    return fallback;
  }

  std::string Text(const std::string& name, const std::string& fallback) const {
    return environment_(name).value_or(fallback);
  }

  const absl::Status& status() const { return status_; }

 private:
  const Environment& environment_;
  absl::Status status_;
};

// "node[03-07,9],other" -> "node03"; "a,b" -> "a".
std::string FirstHost(const std::string& nodelist) {
  const size_t end = nodelist.find_first_of("[,");
  if (end == std::string::npos || nodelist[end] == ',') return nodelist.substr(0, end);
  const size_t last = nodelist.find_first_of("-,]", end + 1);
  const size_t close = nodelist.find(']', end);
  std::string host = nodelist.substr(0, end) + nodelist.substr(end + 1, last - end - 1);
  if (close != std::string::npos) {
    const size_t comma = nodelist.find(',', close);
    host += nodelist.substr(close + 1, comma == std::string::npos ? comma : comma - close - 1);
  }
  return host;
}

struct Names {
  std::string source, size, index, size_on_host, index_on_host;
};

}  // namespace

absl::StatusOr<LaunchEnvironment> ReadLaunchEnvironment(const Environment& environment) {
  Reader reader(environment);
  LaunchEnvironment result;
  LaunchConfig& launch = result.launch;

  Names names;
  std::string leader = launch.master_addr;
  if (reader.Has("WORLD_SIZE")) {
    names = {"torchrun", "WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK"};
  } else if (reader.Has("LWS_GROUP_SIZE")) {
    names = {"LeaderWorkerSet", "LWS_GROUP_SIZE", "LWS_WORKER_INDEX", "LOCAL_WORLD_SIZE", "LOCAL_RANK"};
    leader = reader.Text("LWS_LEADER_ADDRESS", leader);
  } else if (reader.Has("SLURM_NTASKS") && reader.Has("SLURM_PROCID")) {
    names = {"Slurm", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_NTASKS_PER_NODE", "SLURM_LOCALID"};
    if (reader.Has("SLURM_STEP_NODELIST")) leader = FirstHost(reader.Text("SLURM_STEP_NODELIST", ""));
  } else {
    return result;
  }

  result.source = names.source;
  launch.num_processes = reader.Int(names.size, 1, 1, std::numeric_limits<int>::max());
  if (launch.num_processes > 1 && !reader.Has(names.index)) {
    return absl::InvalidArgumentError(absl::StrCat("the environment has ", names.size, "=", launch.num_processes,
                                                   " but no ", names.index, ": set it to this process's number, 0 to ",
                                                   launch.num_processes - 1));
  }
  launch.process_idx = reader.Int(names.index, 0, 0, launch.num_processes - 1);
  launch.master_addr = reader.Text("MASTER_ADDR", leader);
  launch.master_port = reader.Int("MASTER_PORT", launch.master_port, 1, kMaxPort);
  result.processes_on_host = reader.Int(names.size_on_host, 1, 1, std::numeric_limits<int>::max());
  result.process_idx_on_host = reader.Int(names.index_on_host, 0, 0, std::numeric_limits<int>::max());
  if (absl::AsciiStrToLower(reader.Text("TORCHELASTIC_USE_AGENT_STORE", "")) == "true") {
    if (launch.master_port == kMaxPort) {
      return absl::InvalidArgumentError(
          "the environment has MASTER_PORT=65535, which torchrun itself uses, so there is no port after it to meet "
          "on; give torchrun a lower --master-port");
    }
    ++launch.master_port;
  }
  if (!reader.status().ok()) return reader.status();
  return result;
}

}  // namespace switchyard
