// What the two parsers share: the tokens, and the first fault.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/text/jinja/lexer.h"

namespace switchyard::jinja {

// The first fault is kept; from then on the stream is at its end, so that parsers come to theirs.
class TokenStream {
 public:
  using Kind = Token::Kind;

  // `tokens` ends with kEnd.
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& Peek(size_t ahead = 0) const {
    return next_ + ahead < tokens_.size() ? tokens_[next_ + ahead] : tokens_.back();
  }
  Token Take() {
    Token token = Peek();
    if (next_ + 1 < tokens_.size()) ++next_;
    return token;
  }
  bool Is(Kind kind) const { return Peek().kind == kind; }
  bool IsOperator(std::string_view text) const { return Is(Kind::kOperator) && Peek().text == text; }
  bool IsName(std::string_view text) const { return Is(Kind::kName) && Peek().text == text; }
  bool AcceptOperator(std::string_view text) { return IsOperator(text) && Advance(); }
  bool AcceptName(std::string_view text) { return IsName(text) && Advance(); }
  bool Accept(Kind kind) { return Is(kind) && Advance(); }
  void ExpectOperator(const std::string& text) {
    if (!AcceptOperator(text)) FailExpected(absl::StrCat("'", text, "'"));
  }
  std::string ExpectName() {
    if (Is(Kind::kName)) return Take().text;
    FailExpected("a name");
    return "";
  }

  int line() const { return Peek().line; }
  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }
  void Fail(const std::string& message) { Keep(LineError(line(), message)); }
  void FailUnknown(int line, const std::string& message) {
    Keep(absl::UnimplementedError(absl::StrCat("line ", line, ": ", message)));
  }
  void FailExpected(const std::string& expected) { Fail(absl::StrCat("expected ", expected, ", found ", Found())); }

 private:
  bool Advance() {
    Take();
    return true;
  }
  void Keep(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
    next_ = tokens_.size() - 1;
  }
  std::string Found() const {
    switch (Peek().kind) {
      case Kind::kData:
        return "text";
      case Kind::kOutputOpen:
        return "{{";
      case Kind::kOutputClose:
        return "}}";
      case Kind::kBlockOpen:
        return "{%";
      case Kind::kBlockClose:
        return "%}";
      case Kind::kEnd:
        return "the end of the template";
      default:
        return absl::StrCat("'", Peek().text.substr(0, 40), "'");
    }
  }

  std::vector<Token> tokens_;
  size_t next_ = 0;
  absl::Status status_;
};

}  // namespace switchyard::jinja
