// Finds stop strings in text that arrives in pieces, and never lets a prefix of one escape.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

// One per generated sequence; not thread-safe.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops, bool include_stop = false);

  struct Result {
    std::string text;                    // safe to send now
    std::optional<std::string> matched;  // the stop string that ended the text
  };
  // Adds a piece; holds back the longest tail that could begin a stop string.
  Result Append(std::string_view piece);
  // The end of the text without a match: what was held back.
  std::string Finish();

 private:
  std::vector<std::string> stops_;
  bool include_stop_;
  std::string held_;
};

}  // namespace switchyard
