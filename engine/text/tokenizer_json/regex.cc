#include "engine/text/tokenizer_json/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/text/tokenizer_json/regex_syntax.h"
#include "engine/text/tokenizer_json/unicode.h"
#include "kernels/check.h"

namespace switchyard::tokenizer_json {
namespace {

constexpr size_t kMaxPatternBytes = 1 << 16;
constexpr uint32_t kMaxNesting = 64;
// A search looks this far, and farther only where a match may depend on it.
constexpr size_t kWindowBytes = 1024;
// Of looking farther, in all, for a text of n bytes.
constexpr size_t WorkLimit(size_t n) { return (size_t{64} << 20) + 64 * n; }
// Of backtracking from one starting point that sees n bytes.
constexpr uint32_t MatchLimit(size_t n) { return static_cast<uint32_t>(std::min<size_t>(1'000'000 + 8 * n, 1 << 30)); }
constexpr uint32_t kHeapLimitKibibytes = 64 << 10;

struct FreeMatchData {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct FreeMatchContext {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct FreeCompileContext {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};

}  // namespace

struct Regex::Code {
  explicit Code(pcre2_code* code) : code(code) {}
  ~Code() { pcre2_code_free(code); }
  Code(const Code&) = delete;
  Code& operator=(const Code&) = delete;

  pcre2_code* const code;
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

absl::StatusOr<Regex> Regex::Compile(std::string_view pattern) {
  if (pattern.size() > kMaxPatternBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("has a pattern of ", pattern.size(), " bytes; at most ", kMaxPatternBytes, " are allowed"));
  }
  const absl::StatusOr<std::string> translated = ToPcre2Syntax(pattern);
  if (!translated.ok()) return translated.status();
  const std::unique_ptr<pcre2_compile_context, FreeCompileContext> context(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), kMaxNesting);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* const code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated->data()), translated->size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_USE_OFFSET_LIMIT | PCRE2_NEVER_BACKSLASH_C, &error,
                    &offset, context.get());
  if (code == nullptr) {
    PCRE2_UCHAR message[256] = {};
    pcre2_get_error_message(error, message, sizeof(message));
    return absl::InvalidArgumentError(
        absl::StrCat("has a pattern that is no regular expression: ", reinterpret_cast<const char*>(message)));
  }
  // Where memory may not be made executable it stays interpreted.
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
  return Regex(std::make_unique<Code>(code));
}

namespace {

// Searches in one text, with a bound on all of them together.
class Scanner {
 public:
  Scanner(const pcre2_code* code, std::string_view text)
      : code_(code),
        text_(text),
        work_left_(WorkLimit(text.size())),
        data_(pcre2_match_data_create(1, nullptr)),
        context_(pcre2_match_context_create(nullptr)) {
    CHECK(data_ != nullptr && context_ != nullptr);
    pcre2_set_heap_limit(context_.get(), kHeapLimitKibibytes);
  }

  // The leftmost match that starts at `from` or later; false: there is none, or the bound is reached.
  bool Find(size_t from, Match* match) {
    while (from <= text_.size()) {
      // Any start in the window, as long as no attempt looks beyond it.
      const size_t end = CharacterBoundary(from + kWindowBytes);
      int result = Attempt(from, end, /*last_start=*/end < text_.size() ? end - 1 : end);
      if (result == PCRE2_ERROR_PARTIAL) {
        from = pcre2_get_ovector_pointer(data_.get())[0];
        result = AttemptAt(from, end);
        if (result == PCRE2_ERROR_NOMATCH) {
          if (from == text_.size()) return false;
          from += CharacterAt(text_, from).size;
          continue;
        }
      } else if (result == PCRE2_ERROR_NOMATCH) {
        if (end == text_.size()) return false;
        from = end;
        continue;
      }
      if (result < 0) return false;  // a limit
      const PCRE2_SIZE* const bounds = pcre2_get_ovector_pointer(data_.get());
      *match = {bounds[0], bounds[1]};
      return true;
    }
    return false;
  }

 private:
  // The end of the character that `at` is in or before.
  size_t CharacterBoundary(size_t at) const {
    while (at < text_.size() && (static_cast<unsigned char>(text_[at]) & 0xC0) == 0x80) ++at;
    return std::min(at, text_.size());
  }

  // A match that starts at `start` and may end anywhere: ever more of the text is shown until none of it is missing.
  int AttemptAt(size_t start, size_t end) {
    while (true) {
      end = CharacterBoundary(start + 2 * (end - start) + kWindowBytes);
      if (end - start > work_left_) return PCRE2_ERROR_MATCHLIMIT;
      work_left_ -= end - start;
      const int result = Attempt(start, end, /*last_start=*/start);
      if (result != PCRE2_ERROR_PARTIAL) return result;
    }
  }

  // PARTIAL: the answer may depend on what follows `end`.
  int Attempt(size_t start, size_t end, size_t last_start) {
    pcre2_set_offset_limit(context_.get(), last_start);
    pcre2_set_match_limit(context_.get(), MatchLimit(end - start));
    const uint32_t options = PCRE2_NO_UTF_CHECK | (end < text_.size() ? PCRE2_PARTIAL_HARD : 0);
    int result = Run(start, end, options);
    // The compiled code has a stack of its own, which a long match of many groups exhausts.
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = Run(start, end, options | PCRE2_NO_JIT);
    return result;
  }

  int Run(size_t start, size_t end, uint32_t options) {
    return pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(text_.data()), end, start, options, data_.get(),
                       context_.get());
  }

  const pcre2_code* code_;
  std::string_view text_;
  size_t work_left_;
  std::unique_ptr<pcre2_match_data, FreeMatchData> data_;
  std::unique_ptr<pcre2_match_context, FreeMatchContext> context_;
};

}  // namespace

void Regex::FindAll(std::string_view text, std::vector<Match>* matches) const {
  Scanner scanner(code_->code, text);
  size_t from = 0;
  bool has_last = false;
  size_t last_end = 0;
  Match match;
  while (scanner.Find(from, &match)) {
    from = match.end;
    if (match.begin == match.end && has_last && last_end == match.end) {
      if (from >= text.size()) return;
      from += CharacterAt(text, from).size;
      continue;
    }
    has_last = true;
    last_end = match.end;
    matches->push_back(match);
  }
}

}  // namespace switchyard::tokenizer_json
