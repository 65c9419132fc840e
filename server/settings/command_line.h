// Arguments, environment and configuration file -> Settings. The only file that knows CLI11.
//
// For each flag the first source that has it counts: command line, SWITCHYARD_<FLAG> variable (an empty one counts as
// unset), --config file, default.
// The file is TOML or INI, `flag = value` lines; lines below a [serve], [generate] or [score] heading hold for that
// command only. `--print-config` writes such a file.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/settings/launch_environment.h"
#include "server/settings/settings.h"

namespace switchyard {

struct CommandLine {
  std::optional<Settings> settings;  // none: all that was asked for is `output`
  std::string output;                // of --help, --version and --print-config, for standard output
};

// `arguments` without the program's name. INVALID_ARGUMENT names flag (and the variable or file it came from), value,
// limit and remedy.
absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments, const Environment& environment);

}  // namespace switchyard
