#include "engine/text/jinja/lexer.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "engine/text/jinja/text.h"

namespace switchyard::jinja {
namespace {

// Longest first.
constexpr std::array<std::string_view, 26> kOperators = {"**", "//", "==", "!=", "<=", ">=", "+", "-", "*",
                                                         "/",  "%",  "~",  "<",  ">",  "=",  "(", ")", "[",
                                                         "]",  "{",  "}",  "|",  ".",  ",",  ":", ";"};

bool IsNameStart(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool IsNamePart(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_'; }
bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (status_.ok() && pos_ < source_.size()) Text();
    Add(Token::Kind::kEnd, "");
    if (!status_.ok()) return status_;
    return std::move(tokens_);
  }

 private:
  std::string_view Rest() const { return source_.substr(pos_); }
  void Skip(size_t count) {
    line_ += static_cast<int>(std::count(source_.begin() + pos_, source_.begin() + pos_ + count, '\n'));
    pos_ += count;
  }
  void SkipSpace() {
    while (pos_ < source_.size() && IsSpace(source_[pos_])) Skip(1);
  }
  bool Accept(std::string_view text) {
    if (!Rest().starts_with(text)) return false;
    Skip(text.size());
    return true;
  }
  void Add(Token::Kind kind, std::string text) {
    tokens_.push_back({.kind = kind, .text = std::move(text), .line = line_});
  }
  void Fail(const std::string& message) {
    if (status_.ok()) status_ = LineError(line_, message);
    pos_ = source_.size();
  }

  // Text up to the next tag, and that tag.
  void Text() {
    size_t end = pos_;
    while (end < source_.size() && !IsTag(end)) ++end;
    std::string_view text = source_.substr(pos_, end - pos_);
    const bool at_line_start = pos_ == 0 || source_[pos_ - 1] == '\n';
    const bool has_tag = end < source_.size();
    const char kind = has_tag ? source_[end + 1] : ' ';
    const char sign = has_tag && end + 2 < source_.size() ? source_[end + 2] : ' ';
    const int text_line = line_;
    Skip(text.size());
    if (has_tag) text = CutBefore(text, kind, sign, at_line_start);
    if (!text.empty()) tokens_.push_back({.kind = Token::Kind::kData, .text = std::string(text), .line = text_line});
    if (!has_tag) return;
    Skip(sign == '-' || (sign == '+' && kind != '{') ? 3 : 2);
    if (kind == '#') return Comment();
    if (kind == '%' && Raw()) return;
    Add(kind == '{' ? Token::Kind::kOutputOpen : Token::Kind::kBlockOpen, "");
    Code(kind);
  }
  bool IsTag(size_t pos) const {
    return source_[pos] == '{' && pos + 1 < source_.size() &&
           (source_[pos + 1] == '{' || source_[pos + 1] == '%' || source_[pos + 1] == '#');
  }
  // "{%-" cuts all white space before it; lstrip_blocks cuts the indentation before a tag that begins its line.
  static std::string_view CutBefore(std::string_view text, char kind, char sign, bool at_line_start) {
    if (sign == '-') return StripRight(text);
    if (sign == '+' || kind == '{') return text;
    const size_t newline = text.rfind('\n');
    if (newline == std::string_view::npos && !at_line_start) return text;
    const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
    return StripLeft(text.substr(begin)).empty() ? text.substr(0, begin) : text;
  }
  // "-%}" cuts all white space behind it; trim_blocks cuts one newline.
  bool AcceptClose(char kind) {
    const std::string cutting = {'-', kind == '{' ? '}' : kind, '}'};
    const std::string_view close = std::string_view(cutting).substr(1);
    if (Accept(cutting)) {
      SkipSpace();
      return true;
    }
    if (kind != '{' && Rest().starts_with('+') && Rest().substr(1).starts_with(close)) {
      Skip(1 + close.size());
      return true;
    }
    if (!Accept(close)) return false;
    if (kind != '{') Accept("\n");
    return true;
  }
  void Comment() {
    const int line = line_;
    while (pos_ < source_.size()) {
      if (AcceptClose('#')) return;
      Skip(1);
    }
    line_ = line;
    Fail("a comment {# has no end #}");
  }
  // Behind "{%": a whole raw block, if it is one.
  bool Raw() {
    const size_t begin = pos_;
    const int line = line_;
    SkipSpace();
    const bool named = Accept("raw");
    SkipSpace();
    const bool cuts = named && Accept("-%}");
    if (!named || (!cuts && !Accept("%}"))) {
      pos_ = begin;
      line_ = line;
      return false;
    }
    if (cuts) SkipSpace();
    const size_t text_begin = pos_;
    while (pos_ < source_.size()) {
      const size_t text_end = pos_;
      if (Accept("{%")) {
        const char sign = pos_ < source_.size() ? source_[pos_] : ' ';
        if (sign == '-' || sign == '+') Skip(1);
        SkipSpace();
        if (Accept("endraw")) {
          SkipSpace();
          if (AcceptClose('%')) {
            const std::string_view text = source_.substr(text_begin, text_end - text_begin);
            Add(Token::Kind::kData, std::string(CutBefore(text, '%', sign, /*at_line_start=*/false)));
            return true;
          }
        }
      } else {
        Skip(1);
      }
    }
    line_ = line;
    Fail("a raw block has no {% endraw %}");
    return true;
  }

  // Inside a tag, up to its end.
  void Code(char kind) {
    const int line = line_;
    int open = 0;  // brackets: "}}" closes two dictionaries before it closes the tag
    while (true) {
      SkipSpace();
      if (pos_ >= source_.size()) {
        line_ = line;
        return Fail(kind == '{' ? "an expression {{ has no end }}" : "a tag {% has no end %}");
      }
      if (open == 0 && AcceptClose(kind)) {
        Add(kind == '{' ? Token::Kind::kOutputClose : Token::Kind::kBlockClose, "");
        return;
      }
      const char c = source_[pos_];
      if (IsNameStart(c)) {
        TakeWhile(Token::Kind::kName, IsNamePart);
      } else if (IsDigit(c)) {
        Number();
      } else if (c == '\'' || c == '"') {
        String(c);
      } else if (!Operator(&open)) {
        return Fail(
            absl::StrCat("unexpected character '", absl::CHexEscape(std::string(source_.substr(pos_, 1))), "'"));
      }
      if (!status_.ok()) return;
    }
  }
  void TakeWhile(Token::Kind kind, bool (*accepts)(char)) {
    size_t end = pos_;
    while (end < source_.size() && accepts(source_[end])) ++end;
    Add(kind, std::string(source_.substr(pos_, end - pos_)));
    Skip(end - pos_);
  }
  void Number() {
    size_t end = pos_;
    const auto digits = [&] {
      while (end < source_.size() && (IsDigit(source_[end]) || source_[end] == '_')) ++end;
    };
    digits();
    bool is_float = false;
    if (end + 1 < source_.size() && source_[end] == '.' && IsDigit(source_[end + 1])) {
      is_float = true;
      ++end;
      digits();
    }
    const size_t exponent = end;
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      ++end;
      if (end < source_.size() && (source_[end] == '+' || source_[end] == '-')) ++end;
      const size_t begin = end;
      digits();
      is_float = is_float || end > begin;
      if (end == begin) end = exponent;
    }
    std::string text(source_.substr(pos_, end - pos_));
    text.erase(std::remove(text.begin(), text.end(), '_'), text.end());
    Add(is_float ? Token::Kind::kFloat : Token::Kind::kInteger, std::move(text));
    Skip(end - pos_);
  }
  void String(char quote) {
    const int line = line_;
    size_t end = pos_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return Fail("a string has no end");
    const std::optional<std::string> text = Unescape(source_.substr(pos_ + 1, end - pos_ - 1));
    if (!text) return Fail("a string has a broken \\x, \\u or \\U escape");
    tokens_.push_back({.kind = Token::Kind::kString, .text = *text, .line = line});
    Skip(end + 1 - pos_);
  }
  bool Operator(int* open) {
    for (const std::string_view op : kOperators) {
      if (!Rest().starts_with(op)) continue;
      if (op == "(" || op == "[" || op == "{") ++*open;
      if (op == ")" || op == "]" || op == "}") *open = std::max(0, *open - 1);
      Add(Token::Kind::kOperator, std::string(op));
      Skip(op.size());
      return true;
    }
    return false;
  }

  const std::string_view source_;
  size_t pos_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
  absl::Status status_;
};

}  // namespace

absl::Status LineError(int line, const std::string& message) {
  return absl::InvalidArgumentError(absl::StrCat("line ", line, ": ", message));
}

absl::StatusOr<std::vector<Token>> Tokenize(std::string_view source) {
  std::string text;  // newlines as "\n", and not the last one
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    text.push_back(source[i] == '\r' ? '\n' : source[i]);
  }
  if (text.ends_with('\n')) text.pop_back();
  return Lexer(text).Run();
}

}  // namespace switchyard::jinja
