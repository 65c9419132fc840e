// How a model writes the tools that it calls.
#pragma once

#include <string_view>

namespace switchyard {

enum class ToolCallFormat {
  // [TOOL_CALLS] [{"name": "f", "arguments": {…}}, {"name": "g", "arguments": {…}}]
  // [TOOL_CALLS]f{…}   [TOOL_CALLS]f[ARGS]{…}   [TOOL_CALLS]f[CALL_ID]123456789[ARGS]{…}   each call with its marker
  kMistral,
  // <tool_call>{"name": "f", "arguments": {…}}</tool_call>   each call with its marker; also Qwen's
  kHermes,
};

// What calls begin with.
constexpr std::string_view MarkerOf(ToolCallFormat format) {
  return format == ToolCallFormat::kMistral ? "[TOOL_CALLS]" : "<tool_call>";
}

}  // namespace switchyard
