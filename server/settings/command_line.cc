#include "server/settings/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "server/settings/config_file.h"
#include "server/settings/schema.h"
#include "server/version.h"

namespace switchyard {
namespace {

constexpr Command kCommands[] = {Command::kServe, Command::kGenerate, Command::kScore,
                                 Command::kPlan,  Command::kQuantize, Command::kDoctor};

const char* Description(Command command) {
  switch (command) {
    case Command::kServe:
      return "Serve a model over OpenAI-compatible HTTP and gRPC";
    case Command::kGenerate:
      return "Continue one prompt on the terminal";
    case Command::kScore:
      return "Print the log-probabilities of given texts, one JSON line each";
    case Command::kPlan:
      return "Print what each GPU's memory would hold, without loading anything";
    case Command::kQuantize:
      return "Quantise a checkpoint once, into a new one that loads without further work";
    case Command::kDoctor:
      return "Look at the GPUs of this machine and what joins them, and advise";
  }
  return "";
}

std::string VariableOf(const std::string& flag) {
  return absl::StrCat("SWITCHYARD_", absl::AsciiStrToUpper(absl::StrReplaceAll(flag, {{"-", "_"}})));
}

// What a command's CLI11 application collects.
struct CommandApp {
  CLI::App* app = nullptr;
  std::vector<Flag> flags;
  std::vector<CLI::Option*> options;  // one per flag
  CLI::Option* config = nullptr;
  bool print_config = false;
  bool check = false;
};

std::string HelpOf(const Flag& flag) {
  if (flag.show == nullptr) return flag.help;
  const std::optional<std::string> value = flag.show();
  return value.has_value() && !flag.is_switch ? absl::StrCat(flag.help, " [", *value, "]") : flag.help;
}

void AddCommand(Command command, std::vector<Flag> flags, CLI::App* parent, CommandApp* result) {
  CLI::App* app = parent->add_subcommand(Name(command), Description(command));
  app->get_formatter()->column_width(44);
  app->footer(
      "Every flag is also read from the environment (--max-model-len: SWITCHYARD_MAX_MODEL_LEN) and from the --config\n"
      "file (max-model-len = 4096). The command line comes before the environment, the environment before the file.\n"
      "Sizes: 4GiB, 512MB, bytes. Durations: 30s, 1m30s, 250ms. Exit codes: 0 done, 1 failed while running, 2 "
      "refused:\n"
      "a wrong flag or checkpoint.");
  for (const Flag& flag : flags) {
    // CLI11 keeps the text; reading it is the flag's own business.
    const std::string help = HelpOf(flag);
    CLI::Option* option;
    if (flag.is_switch) {
      const bool is_on = flag.show() == "true";
      option = app->add_flag("--" + flag.name + (is_on ? ",!--no-" + flag.name : ""), help);
    } else {
      option = app->add_option("--" + flag.name, help);
      option->type_name(flag.value);
      option->multi_option_policy(flag.show_all == nullptr ? CLI::MultiOptionPolicy::TakeLast
                                                           : CLI::MultiOptionPolicy::TakeAll);
      option->allow_extra_args(false);
    }
    option->group(flag.group);
    result->options.push_back(option);
  }
  const std::string config_help = "TOML or INI file with any of these flags";
  result->config = app->add_option("--config", config_help)->type_name("FILE")->group("Configuration");
  app->add_flag("--print-config", result->print_config, "print what is in effect as such a file, and exit")
      ->group("Configuration");
  if (command != Command::kDoctor && command != Command::kQuantize) {  // which load no checkpoint
    app->add_flag("--check", result->check, "check flags and checkpoint headers, load nothing, and exit with 0 or 2")
        ->group("Configuration");
  }
  result->app = app;
  result->flags = std::move(flags);
}

// The values that count for a flag, and where they came from; none: the default.
struct Found {
  std::vector<std::string> values;
  std::string origin;
};

Found FindValues(const Flag& flag, const CLI::Option& option, const Environment& environment, const ConfigFile& file) {
  if (option.count() > 0) return {option.results(), absl::StrCat("--", flag.name)};
  if (std::optional<std::string> value = environment(VariableOf(flag.name)); value.has_value() && !value->empty()) {
    return {{*std::move(value)}, VariableOf(flag.name)};
  }
  const auto entry = file.values.find(flag.name);
  if (entry != file.values.end()) return {entry->second, absl::StrCat(file.path, ": ", flag.name)};
  return {};
}

absl::Status ReadFlag(const Flag& flag, const Found& found) {
  if (found.values.empty()) return absl::OkStatus();
  std::vector<std::string> values = found.values;
  if (flag.show_all == nullptr) values = {values.back()};
  for (const std::string& value : values) {
    const absl::Status status = flag.read(value);
    if (status.ok()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(found.origin, ": ", flag.is_secret ? "is not a usable value" : status.message()));
  }
  return absl::OkStatus();
}

std::set<std::string> AllFlagNames() {
  std::set<std::string> names;
  for (const Command command : kCommands) {
    SettingsDraft draft;
    for (const Flag& flag : FlagsOf(command, &draft)) names.insert(flag.name);
  }
  return names;
}

absl::StatusOr<ConfigFile> ReadConfigFileOf(const CommandApp& app, Command command, const Environment& environment) {
  std::string path = environment(VariableOf("config")).value_or("");
  if (app.config->count() > 0) path = app.config->results().back();
  if (path.empty()) return ConfigFile{};
  return ReadConfigFile(path, Name(command), AllFlagNames());
}

absl::StatusOr<CommandLine> Finish(Command command, const CommandApp& app, SettingsDraft* draft,
                                   const Environment& environment) {
  absl::StatusOr<ConfigFile> file = ReadConfigFileOf(app, command, environment);
  if (!file.ok()) return file.status();
  for (size_t i = 0; i < app.flags.size(); ++i) {
    const Found found = FindValues(app.flags[i], *app.options[i], environment, *file);
    if (absl::Status status = ReadFlag(app.flags[i], found); !status.ok()) return status;
  }
  if (app.print_config) return CommandLine{.settings = std::nullopt, .output = PrintConfig(Name(command), app.flags)};
  absl::StatusOr<LaunchEnvironment> launch = ReadLaunchEnvironment(environment);
  if (!launch.ok()) return launch.status();
  draft->settings.check = app.check;
  if (absl::Status status = Complete(*launch, draft); !status.ok()) return status;
  return CommandLine{.settings = std::move(draft->settings), .output = ""};
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments,
                                             const Environment& environment) {
  CLI::App main("Switchyard: mixture-of-experts language models served from several ranks", "switchyard");
  main.set_version_flag("--version", absl::StrCat("switchyard ", kServerVersion));
  main.require_subcommand(1);
  std::map<Command, SettingsDraft> drafts;
  std::map<Command, CommandApp> apps;
  for (const Command command : kCommands) {
    SettingsDraft& draft = drafts[command];
    AddCommand(command, FlagsOf(command, &draft), &main, &apps[command]);
  }
  const std::string first = arguments.empty() ? "" : arguments.front();
  const bool is_command = std::any_of(std::begin(kCommands), std::end(kCommands),
                                      [&first](Command command) { return first == Name(command); });
  if (!is_command && !absl::StartsWith(first, "-")) {
    return absl::InvalidArgumentError(
        absl::StrCat(first.empty() ? "a command is missing" : absl::StrCat("\"", first, "\" is no command"),
                     ": it is serve, generate, score, plan or doctor; see switchyard --help"));
  }
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());  // as CLI11 wants them
    main.parse(std::move(reversed));
  } catch (const CLI::Success& done) {  // --help, --version
    std::ostringstream output, errors;
    main.exit(done, output, errors);
    return CommandLine{.settings = std::nullopt, .output = output.str()};
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(error.what(), "; see switchyard --help and switchyard serve --help"));
  }
  for (const Command command : kCommands) {
    if (apps[command].app->parsed()) return Finish(command, apps[command], &drafts[command], environment);
  }
  return absl::InvalidArgumentError(
      "a command is missing: serve, generate, score, plan or doctor; see switchyard --help");
}

}  // namespace switchyard
