// Every flag of every command, and what must hold among them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/settings/flag.h"
#include "server/settings/launch_environment.h"
#include "server/settings/settings.h"

namespace switchyard {

// Settings in the making: what flags give as text or what stands for several settings.
struct SettingsDraft {
  Settings settings;
  std::optional<int64_t> ranks;
  std::string gpus;
  std::optional<QuantizationRecipe> quantize_attention;
  std::string prompt;
  std::string prompt_tokens;
  std::string otlp_endpoint;
};

// The flags of `command`, bound to `draft`, which outlives them. Its values now are the defaults; those in which the
// command differs from the others are set here.
std::vector<Flag> FlagsOf(Command command, SettingsDraft* draft);

// After all flags were read: what one flag says of another, files of keys, the launcher's share of ranks and CPUs.
// INVALID_ARGUMENT names the flags, the value and the remedy.
absl::Status Complete(const LaunchEnvironment& launch, SettingsDraft* draft);

}  // namespace switchyard
