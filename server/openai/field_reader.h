// Typed, checked access to the fields of a request. The first fault is kept; reading goes on with absent values.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/openai/errors.h"

namespace switchyard::openai {

// A JSON null counts as absent throughout, as OpenAI's clients send it for what was not set.
class FieldReader {
 public:
  // `object` is borrowed. `prefix` goes before names in errors: "stream_options.".
  explicit FieldReader(const nlohmann::json& object, std::string prefix = "");

  // nullptr if absent.
  const nlohmann::json* Find(const std::string& name);
  std::optional<bool> Bool(const std::string& name);
  std::optional<std::string> String(const std::string& name);
  // A whole number, also when written as 16.0, in [min, max].
  std::optional<int64_t> Int(const std::string& name, int64_t min, int64_t max);
  // In [min, max], or in (min, max] with `above_min`.
  std::optional<float> Float(const std::string& name, double min, double max, bool above_min = false);
  // Whole numbers in [min, max]; the message names the index.
  std::vector<int32_t> Ints(const std::string& name, const nlohmann::json& array, int64_t min, int64_t max);

  void Fail(const std::string& name, const std::string& message);
  // With the prefix: for readers of what lies inside.
  std::string FullName(const std::string& name) const { return prefix_ + name; }
  // 404, model_not_found.
  void FailNotFound(const std::string& name, const std::string& message);
  // "must be a string, but is the number 3"
  void FailType(const std::string& name, const std::string& expected, const nlohmann::json& found);

  // Replaces the code of the fault that was found.
  void SetCode(const std::string& code);

  bool ok() const { return !error_.has_value(); }
  const std::optional<ApiError>& error() const { return error_; }
  void TakeError(const FieldReader& nested);
  // Names in the object that nothing asked for.
  std::vector<std::string> UnreadNames() const;

 private:
  const nlohmann::json& object_;  // borrowed
  std::string prefix_;
  std::set<std::string> read_;
  std::optional<ApiError> error_;
};

// For messages: the value as JSON, cut to a readable length, with its type: `the string "hot"`.
std::string Describe(const nlohmann::json& value);

}  // namespace switchyard::openai
