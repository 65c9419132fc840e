// Server-sent events (HTML Living Standard, 9.2).
#pragma once

#include <string>
#include <string_view>

namespace switchyard::http {

inline constexpr const char* kEventStreamType = "text/event-stream; charset=utf-8";

// Appends one event: a `data:` line for each line of `data`, and the blank line that sends it.
void AppendEvent(std::string_view data, std::string* out);

}  // namespace switchyard::http
