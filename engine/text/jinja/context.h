// What one rendering may spend, and what went wrong in it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/text/jinja/value.h"

namespace switchyard::jinja {

// Generous for a chat that fills a context of a million tokens; a bomb meets them within a second.
struct Limits {
  int64_t max_steps = 5'000'000;           // expressions, statements, and items and 16-byte parts that they read
  int64_t max_bytes = int64_t{256} << 20;  // of all strings and lists made, also of those long gone
  int64_t max_output_bytes = int64_t{32} << 20;
  int max_depth = 300;          // expressions, statements and macros within each other
  int max_value_depth = 100;    // lists and dictionaries within each other
  int64_t max_range = 100'000;  // of range(), as in jinja2's sandbox
};

// The first fault is kept; after it every expression is undefined, and loops end. Not thread-safe.
class Context {
 public:
  explicit Context(const Limits& limits) : limits_(limits) {}

  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }
  const Limits& limits() const { return limits_; }
  void set_line(int line) { line_ = line; }
  int line() const { return line_; }

  // INVALID_ARGUMENT with the line. All return an undefined value, for callers to return.
  Value Fail(const std::string& message);
  // UNIMPLEMENTED with the line: a construct that this evaluator does not know.
  Value FailUnknown(const std::string& message);
  // FAILED_PRECONDITION: the template itself refuses what it was given.
  Value Refuse(const std::string& message);

  // False, and RESOURCE_EXHAUSTED, past a limit. Call it before the work.
  bool Charge(int64_t steps);
  bool Allocate(int64_t bytes);
  bool CheckDepth(int depth);

  // Values whose memory is accounted for.
  Value String(std::string text);
  Value List(std::vector<Value> items);
  Value Dict(std::vector<std::pair<std::string, Value>> entries);

  // Walks `value` once more: charges its weight.
  bool ChargeWalk(const Value& value) { return Charge(ExtentOf(value).weight); }

 private:
  Value FailLimit(const std::string& what, int64_t limit);
  bool CheckParts(const Value& container);

  const Limits limits_;
  absl::Status status_;
  int line_ = 1;
  int64_t steps_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace switchyard::jinja
