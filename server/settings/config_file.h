// Configuration files: read through CLI11's TOML and INI reader, written by --print-config.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/settings/flag.h"

namespace switchyard {

struct ConfigFile {
  std::string path;
  std::map<std::string, std::vector<std::string>> values;  // flag name -> its values; lists have several
};

// The values that hold for `command`: outside of any section, then those of its own section. Keys are flag names, with
// - or _. INVALID_ARGUMENT names the file and a key that is no flag of any command (`known_flags`).
absl::StatusOr<ConfigFile> ReadConfigFile(const std::string& path, const std::string& command,
                                          const std::set<std::string>& known_flags);

// Every flag with its value now; unset ones and secrets as comments.
std::string PrintConfig(const std::string& command, const std::vector<Flag>& flags);

}  // namespace switchyard
