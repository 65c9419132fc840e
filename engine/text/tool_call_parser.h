// Tool calls out of generated text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tool_call_format.h"

namespace switchyard {

// What one piece of text adds to the answer.
struct ToolCallText {
  struct Call {
    size_t index = 0;
    std::string name;       // not empty where a call begins
    std::string arguments;  // JSON text, to be appended
  };
  std::string content;      // outside of calls
  std::vector<Call> calls;  // in order; a call may have several
};

// One per answer; not thread-safe. The result does not depend on how the text is split, but for how arguments are cut
// into pieces.
class ToolCallParser {
 public:
  struct Options {
    ToolCallFormat format = ToolCallFormat::kMistral;
    // Arguments come out while they are written, unchecked. Otherwise a call comes out once it is whole, and one whose
    // arguments are no JSON object is text.
    bool incremental = false;
    size_t max_calls = 128;  // further ones are left out
  };
  explicit ToolCallParser(const Options& options) : options_(options), marker_(MarkerOf(options.format)) {}

  static constexpr std::string_view kArguments = "[ARGS]";
  static constexpr std::string_view kCallId = "[CALL_ID]";
  static constexpr std::string_view kHermesEnd = "</tool_call>";

  ToolCallText Append(std::string_view text);
  // What was held back. A call that is malformed or not whole is text, if nothing of it came out yet.
  ToolCallText Finish();

  size_t num_calls() const { return num_calls_; }

 private:
  enum class State {
    kText,       // outside, perhaps within the marker
    kMarked,     // behind the marker
    kList,       // in [ … ], before a call or the end
    kName,       // in f[ARGS]
    kHead,       // in {"name": "f", "arguments":
    kArguments,  // in the arguments' object
    kClosing     // behind a call, before or within kHermesEnd
  };
  // Of a JSON object, which may not have begun.
  struct Nesting {
    int depth = 0;
    bool in_string = false;
    bool escaped = false;

    void Take(char c);
  };

  void Take(char c);
  void TakeText(char c);
  void TakeMarked(char c);
  void TakeName(char c);
  void TakeHead(char c);
  void TakeArguments(char c);
  void TakeTail(char c);
  void TakeClosing(char c);
  void EndCall();
  // kHead: the object is whole.
  void FinishObject();
  void Begin(std::string name);
  void AddArguments(std::string_view text);
  void GiveUp();
  bool IsCounted() const { return num_calls_ <= options_.max_calls; }

  const Options options_;
  const std::string_view marker_;
  State state_ = State::kText;
  ToolCallText out_;
  std::string held_;       // read and not given out
  std::string object_;     // kHead: so far
  std::string arguments_;  // kArguments, unless incremental: so far
  std::string name_;       // of the call whose arguments are read
  Nesting nesting_;
  bool in_list_ = false;
  bool in_tail_ = false;  // kArguments: behind them, before the call's own "}"
  bool follows_ = false;  // kText: right behind a call with an end, where spaces are no content
  size_t num_calls_ = 0;  // begun, those left out included
};

}  // namespace switchyard
