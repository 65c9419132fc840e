#include "server/settings/flag.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace switchyard {
namespace {

// "" and then "; remedy".
std::string Hint(const std::string& remedy) { return remedy.empty() ? "" : absl::StrCat("; ", remedy); }

std::string Limits(const IntRange& range) {
  if (range.max == std::numeric_limits<int64_t>::max())
    return absl::StrCat("a whole number of ", range.min, " or more");
  return absl::StrCat("a whole number from ", range.min, " to ", range.max);
}

// Shortest text that reads back as the same float.
std::string FormatFloat(float value) {
  for (int digits = 1; digits < 9; ++digits) {
    const std::string text = absl::StrFormat("%.*g", digits, value);
    float back = 0;
    if (absl::SimpleAtof(text, &back) && back == value) return text;
  }
  return absl::StrFormat("%.9g", value);
}

}  // namespace

Flag SwitchFlag(std::string name, std::string help, bool* target) {
  return {.name = std::move(name),
          .help = std::move(help),
          .read =
              [target](const std::string& text) {
                if (absl::SimpleAtob(text, target)) return absl::OkStatus();
                return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is neither true nor false"));
              },
          .show = [target]() -> std::optional<std::string> { return *target ? "true" : "false"; },
          .is_switch = true};
}

Flag TextFlag(std::string name, std::string value, std::string help, std::string* target) {
  return {.name = std::move(name),
          .value = std::move(value),
          .help = std::move(help),
          .read =
              [target](const std::string& text) {
                if (text.empty()) return absl::InvalidArgumentError("\"\" is empty; leave the flag out for none");
                *target = text;
                return absl::OkStatus();
              },
          .show = [target]() { return target->empty() ? std::nullopt : std::optional<std::string>(*target); }};
}

Flag RepeatableFlag(std::string name, std::string value, std::string help, std::vector<std::string>* target) {
  return {.name = std::move(name),
          .value = std::move(value),
          .help = std::move(help),
          .read =
              [target](const std::string& text) {
                if (text.empty()) return absl::InvalidArgumentError("\"\" is empty; leave the flag out for none");
                target->push_back(text);
                return absl::OkStatus();
              },
          .show_all = [target]() { return *target; }};
}

Flag SizeFlag(std::string name, std::string help, int64_t* target) {
  return {.name = std::move(name),
          .value = "SIZE",
          .help = std::move(help),
          .read =
              [target](const std::string& text) {
                const absl::StatusOr<int64_t> bytes = ParseBytes(text);
                if (bytes.ok()) *target = *bytes;
                return bytes.status();
              },
          .show = [target]() { return std::optional<std::string>(FormatBytes(*target)); }};
}

Flag BoundedSizeFlag(std::string name, std::string help, int64_t min, int64_t max, int64_t* target) {
  Flag flag = SizeFlag(std::move(name), std::move(help), target);
  flag.read = [min, max, target](const std::string& text) -> absl::Status {
    const absl::StatusOr<int64_t> bytes = ParseBytes(text);
    if (!bytes.ok()) return bytes.status();
    if (*bytes < min || *bytes > max) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", text, "\" is not within ", FormatBytes(min), " and ", FormatBytes(max)));
    }
    *target = *bytes;
    return absl::OkStatus();
  };
  return flag;
}

Flag DurationFlag(std::string name, std::string help, absl::Duration min, absl::Duration* target) {
  return {.name = std::move(name),
          .value = "DURATION",
          .help = std::move(help),
          .read = [target, min](const std::string& text) -> absl::Status {
            const absl::StatusOr<absl::Duration> duration = ParseDuration(text);
            if (!duration.ok()) return duration.status();
            if (*duration < min) {
              return absl::InvalidArgumentError(
                  absl::StrCat("\"", text, "\" is too short; ", absl::FormatDuration(min), " is the least"));
            }
            *target = *duration;
            return absl::OkStatus();
          },
          .show = [target]() { return std::optional<std::string>(absl::FormatDuration(*target)); }};
}

Flag EndpointFlag(std::string name, std::string help, Endpoint* target) {
  return {.name = std::move(name),
          .value = "HOST:PORT|unix:PATH",
          .help = std::move(help),
          .read = [target](const std::string& text) -> absl::Status {
            absl::StatusOr<Endpoint> endpoint = ParseEndpoint(text);
            if (!endpoint.ok()) return endpoint.status();
            *target = *std::move(endpoint);
            return absl::OkStatus();
          },
          .show = [target]() { return std::optional<std::string>(Format(*target)); }};
}

Flag IntFlag(std::string name, std::string help, IntRange range, std::function<void(int64_t)> store,
             std::function<std::optional<int64_t>()> load) {
  return {.name = std::move(name),
          .value = "N",
          .help = std::move(help),
          .read =
              [range = std::move(range), store = std::move(store)](const std::string& text) {
                int64_t value = 0;
                if (!absl::SimpleAtoi(text, &value) || value < range.min || value > range.max) {
                  return absl::InvalidArgumentError(
                      absl::StrCat("\"", text, "\" is not ", Limits(range), Hint(range.remedy)));
                }
                store(value);
                return absl::OkStatus();
              },
          .show =
              [load = std::move(load)]() {
                const std::optional<int64_t> value = load();
                return value.has_value() ? std::optional<std::string>(absl::StrCat(*value)) : std::nullopt;
              }};
}

Flag FloatFlag(std::string name, std::string help, FloatRange range, std::function<void(float)> store,
               std::function<std::optional<float>()> load) {
  return {.name = std::move(name),
          .value = "X",
          .help = std::move(help),
          .read =
              [range, store = std::move(store)](const std::string& text) {
                float value = 0;
                // Written so that NaN fails it.
                const bool within = absl::SimpleAtof(text, &value) &&
                                    (range.min_excluded ? value > range.min : value >= range.min) && value <= range.max;
                if (!within) {
                  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a number ",
                                                                 range.min_excluded ? "above " : "from ", range.min,
                                                                 range.min_excluded ? ", up to " : " to ", range.max));
                }
                store(value);
                return absl::OkStatus();
              },
          .show =
              [load = std::move(load)]() {
                const std::optional<float> value = load();
                return value.has_value() ? std::optional<std::string>(FormatFloat(*value)) : std::nullopt;
              }};
}

Flag ChoiceFlag(std::string name, std::string help, const std::vector<std::string>& choices,
                std::function<void(size_t)> store, std::function<size_t()> load) {
  std::string value = absl::StrJoin(choices, "|");
  return {.name = std::move(name),
          .value = std::move(value),
          .help = std::move(help),
          .read =
              [choices, store = std::move(store)](const std::string& text) {
                const auto found = std::find(choices.begin(), choices.end(), text);
                if (found == choices.end()) {
                  return absl::InvalidArgumentError(
                      absl::StrCat("\"", text, "\" is none of ", absl::StrJoin(choices, ", ")));
                }
                store(static_cast<size_t>(found - choices.begin()));
                return absl::OkStatus();
              },
          .show = [choices, load = std::move(load)]() { return std::optional<std::string>(choices[load()]); }};
}

Flag In(std::string group, Flag flag) {
  flag.group = std::move(group);
  return flag;
}

}  // namespace switchyard
