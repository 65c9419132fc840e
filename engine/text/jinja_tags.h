// A Jinja template as the sequence of its tags, for recognising templates without evaluating them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

struct JinjaTag {
  bool is_output = false;  // {{ … }}, not {% … %}
  // The inside without white space, with 'single' quotes and x['name'] for x.name of messages, so that spellings of one
  // construct compare equal: "ifmessage['role']=='user'". String literals are untouched but for their quotes.
  std::string code;

  friend bool operator==(const JinjaTag&, const JinjaTag&) = default;
};

// nullopt when the template is no well-formed sequence of tags, or writes text that is outside of them. White space
// that trim_blocks and lstrip_blocks (as transformers sets them) or "-" take away is no such text.
std::optional<std::vector<JinjaTag>> SplitJinja(std::string_view source);

}  // namespace switchyard
