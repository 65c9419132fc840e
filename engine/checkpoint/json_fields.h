// Typed reading of one JSON object's fields. The first fault is kept, so a reader asks for every field and looks at
// status() once; after a fault the values returned are defaults.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace switchyard {

struct IntegerRange {
  int64_t min = 0;
  int64_t max = std::numeric_limits<int64_t>::max();
};

struct NumberRange {
  double min = 0;
  double max = std::numeric_limits<double>::max();
  bool min_allowed = true;  // whether `min` itself is allowed
};

// null counts as absent everywhere, as in transformers. Not thread-safe; borrows `object`.
class JsonFields {
 public:
  // `place` opens every message: "dir/config.json" or "dir/config.json: rope_scaling".
  JsonFields(std::string place, const nlohmann::json& object);

  bool Has(absl::string_view name);
  // The value, whatever its type; null if absent.
  const nlohmann::json* Find(absl::string_view name);

  int64_t RequiredInteger(absl::string_view name, IntegerRange range);
  std::optional<int64_t> Integer(absl::string_view name, IntegerRange range);
  double RequiredNumber(absl::string_view name, NumberRange range);
  std::optional<double> Number(absl::string_view name, NumberRange range);
  std::optional<bool> Boolean(absl::string_view name);
  std::optional<std::string> String(absl::string_view name);
  // One integer or a list of them, none twice.
  std::optional<std::vector<int32_t>> TokenIds(absl::string_view name, int64_t vocab_size);

  // Records a fault of field `name`: "<place>: <name> <what>".
  void Fail(absl::string_view name, absl::string_view what);
  // Takes over the fault, if any, of an object nested in this one.
  void Adopt(const absl::Status& nested) { status_.Update(nested); }
  // INVALID_ARGUMENT with the first fault.
  const absl::Status& status() const { return status_; }
  const std::string& place() const { return place_; }

  // Fields that are present, not null, and that nobody asked for, in alphabetical order.
  std::vector<std::string> Unread() const;

 private:
  int64_t CheckedInteger(absl::string_view name, const nlohmann::json& value, IntegerRange range);

  const std::string place_;
  const nlohmann::json& object_;
  std::unordered_set<std::string> read_;
  absl::Status status_;
};

// A value for a message, cut to a readable length.
std::string JsonText(const nlohmann::json& value);

}  // namespace switchyard
