#include "engine/text/tokenizer_json/pieces.h"

#include <algorithm>
#include <utility>

namespace switchyard::tokenizer_json {
namespace {

struct Cut {
  size_t begin = 0;
  size_t end = 0;
  bool is_match = false;
};

// The whole of a text of `size` bytes, matches and what is between them.
void Cover(const std::vector<Match>& matches, size_t size, bool invert, std::vector<Cut>* cuts) {
  cuts->clear();
  size_t begin = 0;
  for (const Match& match : matches) {
    if (begin != match.begin) cuts->push_back({begin, match.begin, invert});
    cuts->push_back({match.begin, match.end, !invert});
    begin = match.end;
  }
  if (begin != size) cuts->push_back({begin, size, invert});
}

// Joins neighbours; a cut that stays a match afterwards is to be removed.
void Join(SplitBehavior behavior, std::vector<Cut>* cuts) {
  if (behavior == SplitBehavior::kRemoved) return;
  if (behavior == SplitBehavior::kIsolated) {
    for (Cut& cut : *cuts) cut.is_match = false;
    return;
  }
  const bool backwards = behavior == SplitBehavior::kMergedWithNext;
  if (backwards) std::ranges::reverse(*cuts);
  std::vector<Cut> joined;
  bool previous_match = false;
  for (const Cut& cut : *cuts) {
    const bool joins =
        behavior == SplitBehavior::kContiguous ? cut.is_match == previous_match : cut.is_match && !previous_match;
    if (joins && !joined.empty()) {
      if (backwards) {
        joined.back().begin = cut.begin;
      } else {
        joined.back().end = cut.end;
      }
    } else {
      joined.push_back({cut.begin, cut.end, false});
    }
    previous_match = cut.is_match;
  }
  if (backwards) std::ranges::reverse(joined);
  *cuts = std::move(joined);
}

}  // namespace

void SplitPieces(const Finder& find, SplitBehavior behavior, bool invert, Pieces* pieces) {
  Pieces out{.at_start = pieces->at_start};
  const bool keeps_text = behavior != SplitBehavior::kRemoved;
  std::vector<Match> matches;
  std::vector<Cut> cuts;
  for (size_t i = 0; i < pieces->ends.size(); ++i) {
    const std::string_view piece = pieces->Piece(i);
    const auto begin = static_cast<size_t>(piece.data() - pieces->text.data());
    matches.clear();
    find(piece, &matches);
    Cover(matches, piece.size(), invert, &cuts);
    Join(behavior, &cuts);
    for (const Cut& cut : cuts) {
      if (cut.begin == cut.end) continue;
      if (keeps_text) {
        out.ends.push_back(begin + cut.end);
      } else if (!cut.is_match) {
        if (out.ends.empty() && begin + cut.begin > 0) out.at_start = false;
        out.text.append(piece.substr(cut.begin, cut.end - cut.begin));
        out.ends.push_back(out.text.size());
      }
    }
  }
  if (keeps_text) out.text = std::move(pieces->text);
  *pieces = std::move(out);
}

void RewritePieces(const Rewriter& rewrite, Pieces* pieces) {
  Pieces out{.at_start = pieces->at_start};
  out.text.reserve(pieces->text.size() + pieces->text.size() / 4);
  out.ends.reserve(pieces->ends.size());
  for (size_t i = 0; i < pieces->ends.size(); ++i) {
    rewrite(pieces->Piece(i), pieces->at_start && i == 0, &out.text);
    const size_t begin = out.ends.empty() ? 0 : out.ends.back();
    if (out.text.size() > begin) out.ends.push_back(out.text.size());
  }
  *pieces = std::move(out);
}

}  // namespace switchyard::tokenizer_json
