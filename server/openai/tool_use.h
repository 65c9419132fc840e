// Tools of a chat request: what the model may call, and what it must.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace switchyard::openai {

struct ToolUse {
  std::vector<std::string> tools;  // given to the template; JSON, keys in the client's order
  bool parses_calls = false;       // calls in the answer become `tool_calls`
  size_t max_calls = 128;          // 1: no parallel_tool_calls, or a named function
  // What the answer is made to begin with, for tool_choice "required" or a named function; empty: it begins freely.
  std::string forced_start;
};

}  // namespace switchyard::openai
