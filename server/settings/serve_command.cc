#include "server/settings/serve_command.h"

#include <numeric>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "server/settings/schema.h"

namespace switchyard {
namespace {

std::string Quoted(const std::string& text) {
  constexpr char kPlain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./,:=+@%";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string::npos) return text;
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

SettingsDraft DraftOf(const EngineConfig& engine) {
  SettingsDraft draft;
  draft.settings.engine = engine;
  if (engine.quantize.attention != engine.quantize.experts) draft.quantize_attention = engine.quantize.attention;
  if (engine.device == DeviceKind::kCpu) {
    if (engine.num_local_ranks > 1) draft.ranks = engine.num_local_ranks;
    return draft;
  }
  std::vector<int> gpus = engine.gpus;
  if (!engine.gpu_memory_bytes.empty()) {
    gpus.resize(engine.gpu_memory_bytes.size());
    std::iota(gpus.begin(), gpus.end(), 0);
  }
  draft.gpus = absl::StrJoin(gpus, ",");
  return draft;
}

}  // namespace

std::string ServeCommandOf(const EngineConfig& engine) {
  SettingsDraft defaults;
  SettingsDraft draft = DraftOf(engine);
  const std::vector<Flag> default_flags = FlagsOf(Command::kServe, &defaults);
  const std::vector<Flag> flags = FlagsOf(Command::kServe, &draft);
  std::string command = "switchyard serve";
  for (size_t i = 0; i < flags.size(); ++i) {
    if (flags[i].show == nullptr) continue;  // given several times: of front ends, not of the engine
    const std::optional<std::string> value = flags[i].show();
    if (!value.has_value() || value == default_flags[i].show()) continue;
    const bool is_turned_off = flags[i].is_switch && value == "false";
    absl::StrAppend(&command, is_turned_off ? " --no-" : " --", flags[i].name);
    if (!flags[i].is_switch) absl::StrAppend(&command, " ", Quoted(*value));
  }
  return command;
}

}  // namespace switchyard
