// Finds stop strings in text that arrives in pieces, and never lets a prefix of one escape.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard {

// The match that ends earliest in the text wins; among those that end at the same byte, the longest. So the result does
// not depend on how the text is divided into pieces. Empty stop strings are ignored.
// Every stop is followed by a Knuth-Morris-Pratt automaton (SIAM J. Comput. 6(2), 1977): a byte costs O(1) amortised
// per stop, whatever the stops' length. One per generated sequence; not thread-safe.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops, bool include_stop = false);

  struct Result {
    std::string text;                    // safe to send now
    std::optional<std::string> matched;  // the stop string that ended the text
  };
  // Adds a piece; holds back the longest tail that could begin a stop string. With `include_stop` the stop itself is
  // the end of the text. After a match nothing more is text: `matched` is repeated.
  Result Append(std::string_view piece);
  // The end of the text without a match: what was held back. Empty after a match.
  std::string Finish();

 private:
  struct Automaton {
    std::string stop;
    std::vector<size_t> border;  // [stop.size()]: longest proper border of stop[0..i]
    size_t state = 0;            // bytes of `stop` that the text ends with

    void Advance(char byte);
  };

  // constant after construction
  std::vector<Automaton> automata_;
  bool include_stop_;

  std::string held_;  // as long as the farthest state
  std::optional<std::string> matched_;
};

}  // namespace switchyard
