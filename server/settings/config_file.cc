#include "server/settings/config_file.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace switchyard {
namespace {

bool IsSectionMark(const CLI::ConfigItem& item) { return item.name == "++" || item.name == "--"; }

// The reader cuts values at #, within quotes too; such a value must not count as what is left of it.
bool IsCut(const std::string& value) { return absl::StartsWith(value, "\"") || absl::StartsWith(value, "'"); }

// A value that the reader would not give back as it is: "" if there is none.
std::string Quote(const std::string& value) {
  if (value.find_first_of("#\n\r\\") != std::string::npos) return "";
  if (!absl::StrContains(value, '"')) return absl::StrCat("\"", value, "\"");
  return absl::StrContains(value, '\'') ? "" : absl::StrCat("'", value, "'");
}

std::string Line(const Flag& flag, const std::vector<std::string>& values) {
  std::vector<std::string> quoted;
  for (const std::string& value : values) {
    quoted.push_back(Quote(value));
    if (quoted.back().empty()) {
      return absl::StrCat("# ", flag.name, " is set to what a configuration file cannot hold\n");
    }
  }
  if (flag.show_all == nullptr) return absl::StrCat(flag.name, " = ", quoted.front(), "\n");
  return absl::StrCat(flag.name, " = [", absl::StrJoin(quoted, ", "), "]\n");
}

}  // namespace

absl::StatusOr<ConfigFile> ReadConfigFile(const std::string& path, const std::string& command,
                                          const std::set<std::string>& known_flags) {
  std::ifstream stream(path);
  if (!stream) return absl::InvalidArgumentError(absl::StrCat("--config ", path, ": cannot be read"));
  std::vector<CLI::ConfigItem> items;
  try {
    items = CLI::ConfigTOML().from_config(stream);
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(absl::StrCat("--config ", path, ": ", error.what()));
  }
  ConfigFile file{.path = path, .values = {}};
  std::map<std::string, std::vector<std::string>> of_section;
  for (const CLI::ConfigItem& item : items) {
    if (IsSectionMark(item)) continue;
    const std::string name = absl::StrReplaceAll(item.name, {{"_", "-"}});
    if (!known_flags.contains(name) || item.parents.size() > 1) {
      return absl::InvalidArgumentError(absl::StrCat("--config ", path, ": \"", item.fullname(),
                                                     "\" is no flag of switchyard; --print-config lists them"));
    }
    for (const std::string& value : item.inputs) {
      if (!IsCut(value)) continue;
      return absl::InvalidArgumentError(absl::StrCat("--config ", path, ": the quotes of ", name,
                                                     " do not end; # begins a comment even within quotes"));
    }
    if (item.parents.empty()) {
      file.values[name] = item.inputs;
    } else if (item.parents.front() == command) {
      of_section[name] = item.inputs;
    }
  }
  for (auto& [name, values] : of_section) file.values[name] = std::move(values);
  return file;
}

std::string PrintConfig(const std::string& command, const std::vector<Flag>& flags) {
  std::string text = absl::StrCat("# switchyard ", command, ": what is in effect\n");
  std::string group;
  for (const Flag& flag : flags) {
    if (flag.group != group) {
      group = flag.group;
      absl::StrAppend(&text, "\n# ", group, "\n");
    }
    std::vector<std::string> values;
    if (flag.show_all != nullptr) {
      values = flag.show_all();
    } else if (std::optional<std::string> value = flag.show()) {
      values = {*std::move(value)};
    }
    if (values.empty()) {
      absl::StrAppend(&text, "# ", flag.name, " is not set\n");
    } else if (flag.is_secret) {
      absl::StrAppend(&text, "# ", flag.name, " is set, and not printed\n");
    } else {
      absl::StrAppend(&text, Line(flag, values));
    }
  }
  return text;
}

}  // namespace switchyard
