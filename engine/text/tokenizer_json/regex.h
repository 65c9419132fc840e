// Regular expressions. The one place that knows PCRE2.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace switchyard::tokenizer_json {

struct Match {
  size_t begin = 0;
  size_t end = 0;  // bytes
};

// Thread safety: immutable.
class Regex {
 public:
  // INVALID_ARGUMENT or UNIMPLEMENTED says what is wrong with `pattern` (Oniguruma's syntax, as in tokenizer.json).
  static absl::StatusOr<Regex> Compile(std::string_view pattern);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  // Appends the matches from left to right as Oniguruma's scan finds them: none overlap, and an empty one does not
  // follow another at once. Time is bounded for every pattern and text: where the search would take more than a
  // multiple of the text's size it ends, and what follows has no matches.
  void FindAll(std::string_view text, std::vector<Match>* matches) const;

 private:
  struct Code;
  explicit Regex(std::unique_ptr<Code> code);

  std::unique_ptr<Code> code_;
};

}  // namespace switchyard::tokenizer_json
