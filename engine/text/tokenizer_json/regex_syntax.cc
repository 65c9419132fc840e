#include "engine/text/tokenizer_json/regex_syntax.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "engine/text/tokenizer_json/unicode_additions.h"

namespace switchyard::tokenizer_json {
namespace {

std::string Join(std::initializer_list<std::string_view> parts) {
  std::string joined;
  for (const std::string_view part : parts) joined += part;
  return joined;
}

// Sets are written as what stands between brackets.
constexpr std::string_view kHexDigits = "0-9A-Fa-f";
constexpr std::string_view kWhiteSpace = "\\p{White_Space}";

// Categories by their first letter or in full.
std::string CategorySet(std::string_view name) {
  std::string set = Join({"\\p{", name, "}"});
  for (const CategoryRange& range : CategoryAdditions()) {
    if (std::string_view(range.category).starts_with(name)) {
      absl::StrAppendFormat(&set, "\\x{%X}-\\x{%X}", uint32_t{range.first}, uint32_t{range.last});
    }
  }
  return set;
}

// Oniguruma's \w: below U+0100 it has the superscripts and fractions too.
std::string WordSet() {
  return Join({"\\p{Alphabetic}\\x{B2}\\x{B3}\\x{B9}\\x{BC}-\\x{BE}", CategorySet("L"), CategorySet("M"),
               CategorySet("Nd"), CategorySet("Pc")});
}

std::optional<std::string> PropertySet(std::string_view name) {
  constexpr std::array<std::string_view, 29> kCategories = {"L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me",
                                                            "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi",
                                                            "Pf", "Po", "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs"};
  constexpr std::array<std::string_view, 5> kScripts = {"Latin", "Greek", "Hiragana", "Katakana", "Hangul"};
  if (std::ranges::find(kCategories, name) != kCategories.end()) return CategorySet(name);
  if (std::ranges::find(kScripts, name) != kScripts.end()) return Join({"\\p{sc:", name, "}"});
  // Extensions H and I and a character of Unicode 15.
  if (name == "Han") return "\\p{sc:Han}\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}";
  return std::nullopt;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  absl::StatusOr<std::string> Run() {
    while (at_ < in_.size() && status_.ok()) {
      switch (in_[at_]) {
        case '\\':
          Escape(/*in_brackets=*/false);
          break;
        case '[':
          Brackets();
          break;
        case '(':
          Group();
          break;
        case '{':
          Interval();
          break;
        default:
          out_.push_back(in_[at_++]);
      }
    }
    if (!status_.ok()) return status_;
    return out_;
  }

 private:
  void Refuse(std::string_view what) {
    status_.Update(
        absl::UnimplementedError(Join({what, " at byte ", std::to_string(at_), " of the pattern is not supported"})));
  }
  std::string_view Rest() const { return in_.substr(at_); }

  // A set as it stands in the pattern: in brackets it joins what is there, outside it gets brackets of its own.
  void Set(std::string_view set, bool negated, bool in_brackets) {
    if (!in_brackets) {
      out_ += Join({negated ? "[^" : "[", set, "]"});
    } else if (!negated) {
      out_ += Join({set});
    } else if (set == kWhiteSpace) {
      out_ += Join({"\\P{White_Space}"});
    } else {
      Refuse("a negated class inside brackets");
    }
  }

  void Escape(bool in_brackets) {
    if (at_ + 1 >= in_.size()) return Refuse("a backslash at the end");
    const char c = in_[at_ + 1];
    switch (c) {
      case 's':
      case 'S':
        Set(kWhiteSpace, c == 'S', in_brackets);
        break;
      case 'd':
      case 'D':
        Set(CategorySet("Nd"), c == 'D', in_brackets);
        break;
      case 'w':
      case 'W':
        Set(WordSet(), c == 'W', in_brackets);
        break;
      case 'h':
      case 'H':
        Set(kHexDigits, c == 'H', in_brackets);
        break;
      case 'p':
      case 'P':
        return Property(in_brackets);
      case 'x':
      case 'u':
        return Code(c);
      case 'v':
        out_ += "\\x{0B}";
        break;
      case 'b':
        if (in_brackets) return Refuse("\\b inside brackets");
        out_ += Join({"(?:(?<=[", WordSet(), "])(?![", WordSet(), "])|(?<![", WordSet(), "])(?=[", WordSet(), "]))"});
        break;
      case 'A':
      case 'z':
      case 'Z':
        if (in_brackets) return Refuse("an anchor inside brackets");
        out_ += Join({"\\", std::string_view(&c, 1)});
        break;
      default:
        if (absl::ascii_isalpha(static_cast<unsigned char>(c)) &&
            std::string_view("tnrfae").find(c) == std::string_view::npos) {
          return Refuse(Join({"\\", std::string_view(&c, 1)}));
        }
        if (absl::ascii_isdigit(static_cast<unsigned char>(c))) return Refuse("a back reference or octal number");
        if (static_cast<unsigned char>(c) >= 0x80) {  // the character itself
          ++at_;
          return;
        }
        out_ += Join({"\\", std::string_view(&c, 1)});
    }
    at_ += 2;
  }

  // \p{L}, \p{^L}, \P{L}
  void Property(bool in_brackets) {
    const size_t end = in_.find('}', at_);
    if (at_ + 2 >= in_.size() || in_[at_ + 2] != '{' || end == std::string_view::npos) return Refuse("\\p without {…}");
    std::string_view name = in_.substr(at_ + 3, end - at_ - 3);
    const bool is_inverted = name.starts_with('^');
    if (is_inverted) name.remove_prefix(1);
    const std::optional<std::string> set = PropertySet(name);
    if (!set) return Refuse(Join({"the property '", name, "'"}));
    Set(*set, (in_[at_ + 1] == 'P') != is_inverted, in_brackets);
    at_ = end + 1;
  }

  // \x{1F600}, \x41, \u00e9
  void Code(char kind) {
    const bool braced = kind == 'x' && Rest().substr(2).starts_with('{');
    size_t size = kind == 'u' ? 4 : 2;
    const size_t begin = at_ + (braced ? 3 : 2);
    if (braced) {
      const size_t end = in_.find('}', begin);
      if (end == std::string_view::npos) return Refuse("\\x{ without }");
      size = end - begin;
    }
    const std::string_view digits = in_.substr(std::min(begin, in_.size()), size);
    const bool are_digits = digits.size() == size && size > 0 && size <= 6 &&
                            std::ranges::all_of(digits, [](unsigned char c) { return absl::ascii_isxdigit(c); });
    // \x80 and above would be a byte, not a character.
    if (!are_digits || (kind == 'x' && !braced && digits[0] >= '8')) return Refuse("such a character code");
    out_ += Join({"\\x{", digits, "}"});
    at_ = begin + size + (braced ? 1 : 0);
  }

  void Brackets() {
    out_.push_back('[');
    ++at_;
    if (Rest().starts_with('^')) {
      out_.push_back('^');
      ++at_;
    }
    if (Rest().starts_with(']')) return Refuse("an empty class, or ] as its first member,");
    int depth = 1;
    while (status_.ok()) {
      if (at_ >= in_.size()) return Refuse("[ without ]");
      if (Rest().starts_with("&&")) return Refuse("an intersection of classes");
      if (Rest().starts_with("[:")) return Refuse("a POSIX class");
      if (Rest().starts_with("[^")) return Refuse("a negated class inside brackets");
      const char c = in_[at_];
      if (c == '\\') {
        Escape(/*in_brackets=*/true);
        continue;
      }
      ++at_;
      if (c == '[') {
        ++depth;
        if (Rest().starts_with(']')) return Refuse("an empty class, or ] as its first member,");
      } else if (c != ']') {
        out_.push_back(c);
      } else if (--depth == 0) {
        out_.push_back(']');
        return;
      }
    }
  }

  void Group() {
    if (Rest().starts_with("(*")) return Refuse("a verb");
    if (!Rest().starts_with("(?")) {
      out_.push_back('(');
      ++at_;
      return;
    }
    for (const std::string_view opening : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?#"}) {
      if (!Rest().starts_with(opening)) continue;
      out_ += opening;
      at_ += opening.size();
      return;
    }
    // (?i) (?i: (?-m: and so on: Ruby's m is PCRE2's s.
    const size_t end = in_.find_first_not_of("imx-", at_ + 2);
    if (end == std::string_view::npos || end == at_ + 2 || (in_[end] != ':' && in_[end] != ')')) {
      return Refuse("such a group");
    }
    std::string options(in_.substr(at_, end + 1 - at_));
    std::ranges::replace(options, 'm', 's');
    out_ += options;
    at_ = end + 1;
  }

  void Interval() {
    const size_t end = in_.find_first_not_of("0123456789,", at_ + 1);
    const std::string_view bounds = end == std::string_view::npos ? "" : in_.substr(at_ + 1, end - at_ - 1);
    if (bounds.empty() || bounds == "," || in_[end] != '}') {  // the character itself
      out_ += "\\{";
      ++at_;
      return;
    }
    if (in_.substr(end + 1).starts_with('+')) return Refuse("{…}+");
    out_ += Join({"{", bounds.starts_with(',') ? "0" : "", bounds, "}"});
    at_ = end + 1;
  }

  std::string_view in_;
  size_t at_ = 0;
  std::string out_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<std::string> ToPcre2Syntax(std::string_view pattern) { return Translator(pattern).Run(); }

}  // namespace switchyard::tokenizer_json
