// Tools of a chat request: what the model may call, and what it must.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/constraint/tool_calls.h"
#include "engine/text/tool_call_format.h"

namespace switchyard::openai {

struct ToolUse {
  std::vector<std::string> tools;  // given to the template; JSON, keys in the client's order
  ToolCallFormat format = ToolCallFormat::kMistral;
  bool parses_calls = false;  // calls in the answer become `tool_calls`
  size_t max_calls = 128;     // 1: no parallel_tool_calls, or a named function
  // For tool_choice "required" or a named function: what the answer is made to begin with, and the functions of which
  // it is constrained to call one, or up to max_calls; empty: it is free.
  std::string forced_start;
  std::vector<ToolFunction> forced;
};

}  // namespace switchyard::openai
