// One setting of the command line: its name, its help, how it is read, checked and printed. The table of them
// (schema.h) is the one source for flags, SWITCHYARD_ variables, configuration files, --help and --print-config.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/settings/units.h"

namespace switchyard {

struct Flag {
  std::string name;   // "max-model-len": --max-model-len, SWITCHYARD_MAX_MODEL_LEN, `max-model-len = ` in a file
  std::string group;  // heading in --help
  std::string value;  // placeholder in --help: "N", "HOST:PORT"; empty for a switch
  std::string help;   // what it does, with unit and default where `show` does not tell
  // Reads a value into the settings; an error says what is wrong with it, without naming the flag.
  std::function<absl::Status(const std::string& text)> read;
  // The value now, as `read` takes it; nullopt: unset.
  std::function<std::optional<std::string>()> show;
  // Only of a flag that may be given several times, each of which is read: all values now. `show` is unset then.
  std::function<std::vector<std::string>()> show_all;
  bool is_switch = false;  // where it is on by default, --no-NAME turns it off
  bool is_secret = false;  // its values are not printed
};

// Makers. `target` outlives the flag; its value at that time is the default.
Flag SwitchFlag(std::string name, std::string help, bool* target);
Flag TextFlag(std::string name, std::string value, std::string help, std::string* target);
Flag SizeFlag(std::string name, std::string help, int64_t* target);  // bytes; 0 prints as "0"
// The same within [min, max].
Flag BoundedSizeFlag(std::string name, std::string help, int64_t min, int64_t max, int64_t* target);
Flag DurationFlag(std::string name, std::string help, absl::Duration min, absl::Duration* target);
Flag EndpointFlag(std::string name, std::string help, Endpoint* target);

Flag RepeatableFlag(std::string name, std::string value, std::string help, std::vector<std::string>* target);

// A whole number within [min, max]; `remedy` is added to the error: "use 0 for the model's own".
struct IntRange {
  int64_t min = 0;
  int64_t max = std::numeric_limits<int64_t>::max();
  std::string remedy;
};
Flag IntFlag(std::string name, std::string help, IntRange range, std::function<void(int64_t)> store,
             std::function<std::optional<int64_t>()> load);

// Of a plain number.
template <typename T>
Flag IntFlagOf(std::string name, std::string help, IntRange range, T* target) {
  return IntFlag(
      std::move(name), std::move(help), std::move(range), [target](int64_t value) { *target = static_cast<T>(value); },
      [target]() { return std::optional<int64_t>(static_cast<int64_t>(*target)); });
}

// Of one that may be unset.
template <typename T>
Flag OptionalIntFlag(std::string name, std::string help, IntRange range, std::optional<T>* target) {
  return IntFlag(
      std::move(name), std::move(help), std::move(range), [target](int64_t value) { *target = static_cast<T>(value); },
      [target]() { return target->has_value() ? std::optional<int64_t>(**target) : std::nullopt; });
}

struct FloatRange {
  double min = 0;
  double max = 1;
  bool min_excluded = false;
};
Flag FloatFlag(std::string name, std::string help, FloatRange range, std::function<void(float)> store,
               std::function<std::optional<float>()> load);

// One of a few words; `store` gets the index.
Flag ChoiceFlag(std::string name, std::string help, const std::vector<std::string>& choices,
                std::function<void(size_t)> store, std::function<size_t()> load);

// Of an enum whose values count from 0, in the order of `choices`.
template <typename Enum>
Flag EnumFlag(std::string name, std::string help, const std::vector<std::string>& choices, Enum* target) {
  return ChoiceFlag(
      std::move(name), std::move(help), choices, [target](size_t i) { *target = static_cast<Enum>(i); },
      [target]() { return static_cast<size_t>(*target); });
}

// The flag under a heading.
Flag In(std::string group, Flag flag);

}  // namespace switchyard
