// A text on its way through the pre-tokenisers: the pieces that the model will see.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/text/tokenizer_json/regex.h"

namespace switchyard::tokenizer_json {

struct Pieces {
  std::string text;          // one piece behind another; valid UTF-8
  std::vector<size_t> ends;  // [num_pieces], ascending; no piece is empty
  bool at_start = false;     // the first piece begins where the whole input began

  std::string_view Piece(size_t i) const {
    const size_t begin = i == 0 ? 0 : ends[i - 1];
    return std::string_view(text).substr(begin, ends[i] - begin);
  }
};

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Appends the matches in a text, ascending.
using Finder = std::function<void(std::string_view text, std::vector<Match>* matches)>;

// Divides every piece into matches and what is between them, as Hugging Face's NormalizedString::split does; with
// `invert` what is between them counts as the match.
void SplitPieces(const Finder& find, SplitBehavior behavior, bool invert, Pieces* pieces);

// Writes what becomes of one piece, or nothing; `at_start` says whether it stands where the input began.
using Rewriter = std::function<void(std::string_view piece, bool at_start, std::string* out)>;
void RewritePieces(const Rewriter& rewrite, Pieces* pieces);

}  // namespace switchyard::tokenizer_json
