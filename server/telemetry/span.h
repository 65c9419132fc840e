// One timed part of a trace. Values only.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"

namespace switchyard {

struct Attribute {
  std::string name;
  std::variant<std::string, int64_t, double, std::vector<std::string>> value;
};

struct Span {
  std::string trace_id;  // as TraceContext's
  std::string span_id;
  std::string parent_span_id;  // empty: none
  std::string name;
  bool is_server = false;  // a request to this server; else a part of one
  absl::Time begin;
  absl::Time end;
  std::vector<Attribute> attributes;
  std::string error;  // not empty: it failed
};

}  // namespace switchyard
