#include "engine/text/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace switchyard {
namespace {

std::vector<size_t> Borders(const std::string& text) {
  std::vector<size_t> border(text.size(), 0);
  for (size_t i = 1; i < text.size(); ++i) {
    size_t k = border[i - 1];
    while (k > 0 && text[i] != text[k]) k = border[k - 1];
    border[i] = text[i] == text[k] ? k + 1 : 0;
  }
  return border;
}

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops, bool include_stop) : include_stop_(include_stop) {
  // Longest first, so that the first automaton to accept a byte is the one to report.
  std::sort(stops.begin(), stops.end(), [](const std::string& a, const std::string& b) { return a.size() > b.size(); });
  for (std::string& stop : stops) {
    if (stop.empty()) continue;
    std::vector<size_t> border = Borders(stop);
    automata_.push_back({.stop = std::move(stop), .border = std::move(border)});
  }
}

void StopMatcher::Automaton::Advance(char byte) {
  while (state > 0 && stop[state] != byte) state = border[state - 1];
  if (stop[state] == byte) ++state;
}

StopMatcher::Result StopMatcher::Append(std::string_view piece) {
  if (matched_) return {.text = "", .matched = matched_};
  for (size_t i = 0; i < piece.size(); ++i) {
    for (Automaton& automaton : automata_) {
      automaton.Advance(piece[i]);
      if (automaton.state < automaton.stop.size()) continue;
      matched_ = automaton.stop;
      std::string text = std::exchange(held_, {});
      text.append(piece.substr(0, i + 1));
      if (!include_stop_) text.resize(text.size() - automaton.stop.size());
      return {.text = std::move(text), .matched = matched_};
    }
  }
  size_t num_held = 0;
  for (const Automaton& automaton : automata_) num_held = std::max(num_held, automaton.state);
  held_.append(piece);
  std::string text = held_.substr(0, held_.size() - num_held);
  held_.erase(0, text.size());
  return {.text = std::move(text), .matched = std::nullopt};
}

std::string StopMatcher::Finish() { return std::exchange(held_, {}); }

}  // namespace switchyard
