#include "engine/text/mixtral_template.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/text/jinja_tags.h"

namespace switchyard {
namespace {

using Part = MixtralTemplate::Part;

// 'a' + message['content'] + eos_token; nullopt for any other operand.
std::optional<std::vector<Part>> ParseSum(std::string_view code) {
  std::vector<Part> parts;
  while (true) {
    if (code.starts_with('\'')) {
      Part part{.kind = Part::Kind::kLiteral, .literal = ""};
      size_t i = 1;
      for (; i < code.size() && code[i] != '\''; ++i) {
        char c = code[i];
        if (c == '\\' && i + 1 < code.size()) {
          c = code[++i];
          if (c == 'n') {
            c = '\n';
          } else if (c == 't') {
            c = '\t';
          } else if (c != '\\' && c != '\'' && c != '"') {
            return std::nullopt;
          }
        }
        part.literal.push_back(c);
      }
      if (i == code.size()) return std::nullopt;
      code.remove_prefix(i + 1);
      parts.push_back(std::move(part));
    } else {
      const std::string_view name = code.substr(0, code.find('+'));
      if (name == "message['content']") {
        parts.push_back({.kind = Part::Kind::kContent, .literal = ""});
      } else if (name == "system_message") {
        parts.push_back({.kind = Part::Kind::kSystem, .literal = ""});
      } else if (name == "bos_token") {
        parts.push_back({.kind = Part::Kind::kBos, .literal = ""});
      } else if (name == "eos_token") {
        parts.push_back({.kind = Part::Kind::kEos, .literal = ""});
      } else {
        return std::nullopt;
      }
      code.remove_prefix(name.size());
    }
    if (code.empty()) return parts;
    if (!code.starts_with('+')) return std::nullopt;
    code.remove_prefix(1);
  }
}

size_t Count(const std::vector<Part>& parts, Part::Kind kind) {
  return std::count_if(parts.begin(), parts.end(), [kind](const Part& part) { return part.kind == kind; });
}

bool Writes(const std::vector<Part>& parts, std::string_view text) {
  return std::any_of(parts.begin(), parts.end(),
                     [text](const Part& part) { return part.literal.find(text) != std::string::npos; });
}

// Walks the tags; every step says whether the next one is as expected.
class TagReader {
 public:
  explicit TagReader(std::vector<JinjaTag> tags) : tags_(std::move(tags)) {}

  bool Block(std::string_view code) { return Take(/*is_output=*/false, code); }
  bool Output(std::string_view code) { return Take(/*is_output=*/true, code); }
  bool Refusal() {
    if (AtEnd() || !tags_[next_].is_output || !tags_[next_].code.starts_with("raise_exception('")) return false;
    ++next_;
    return true;
  }
  bool Sum(std::vector<Part>* parts) {
    if (AtEnd() || !tags_[next_].is_output) return false;
    std::optional<std::vector<Part>> parsed = ParseSum(tags_[next_].code);
    if (!parsed) return false;
    *parts = *std::move(parsed);
    ++next_;
    return true;
  }
  bool AtEnd() const { return next_ == tags_.size(); }

 private:
  bool Take(bool is_output, std::string_view code) {
    if (AtEnd() || tags_[next_].is_output != is_output || tags_[next_].code != code) return false;
    ++next_;
    return true;
  }

  std::vector<JinjaTag> tags_;
  size_t next_ = 0;
};

bool ReadSystemBranch(TagReader* tags) {
  return tags->Block("setsystem_message=messages[0]['content']") && tags->Block("setloop_messages=messages[1:]") &&
         tags->Block("else") && tags->Block("setloop_messages=messages") && tags->Block("endif");
}

// Text and tokens in turn; text between two tokens is encoded as one, as Hugging Face does.
class PromptWriter {
 public:
  explicit PromptWriter(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void Write(const std::vector<Part>& parts, const std::string& content, const std::string& system) {
    for (const Part& part : parts) {
      switch (part.kind) {
        case Part::Kind::kLiteral:
          // Some templates spell their end of turn '</s>'.
          if (IsName(part.literal, tokenizer_.eos_id())) {
            Token(tokenizer_.eos_id());
          } else {
            text_ += part.literal;
          }
          break;
        case Part::Kind::kContent:
          text_ += content;
          break;
        case Part::Kind::kSystem:
          text_ += system;
          break;
        case Part::Kind::kBos:
          Token(tokenizer_.bos_id());
          break;
        case Part::Kind::kEos:
          Token(tokenizer_.eos_id());
          break;
      }
    }
  }
  // A tokenizer without such a token writes nothing, as an undefined variable does.
  void Token(std::optional<int32_t> id) {
    if (!id) return;
    FlushText();
    ids_.push_back(*id);
  }
  std::vector<int32_t> Take() {
    FlushText();
    return std::move(ids_);
  }

 private:
  bool IsName(const std::string& literal, std::optional<int32_t> id) const {
    return id && literal == tokenizer_.Piece(*id);
  }
  void FlushText() {
    if (text_.empty()) return;
    const std::vector<int32_t> ids =
        tokenizer_.Encode(text_, {.add_special_tokens = false, .parse_special_tokens = false});
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    text_.clear();
  }

  const Tokenizer& tokenizer_;
  std::string text_;
  std::vector<int32_t> ids_;
};

bool IsSystem(const ChatMessage& message) { return message.role == "system" || message.role == "developer"; }

}  // namespace

std::optional<MixtralTemplate> MixtralTemplate::Recognise(std::string_view source) {
  std::optional<std::vector<JinjaTag>> split = SplitJinja(source);
  if (!split) return std::nullopt;
  TagReader tags(*std::move(split));
  MixtralTemplate format;

  const bool has_system = tags.Block("ifmessages[0]['role']=='system'");
  if (has_system && !ReadSystemBranch(&tags)) return std::nullopt;
  if (!tags.Output("bos_token")) return std::nullopt;
  if (!tags.Block(has_system ? "formessageinloop_messages" : "formessageinmessages")) return std::nullopt;
  if (!tags.Block("if(message['role']=='user')!=(loop.index0%2==0)") || !tags.Refusal() || !tags.Block("endif")) {
    return std::nullopt;
  }
  if (!tags.Block("ifmessage['role']=='user'")) return std::nullopt;
  if (has_system && !(tags.Block("ifloop.firstandsystem_messageisdefined") && tags.Sum(&format.user_with_system_) &&
                      tags.Block("else"))) {
    return std::nullopt;
  }
  if (!tags.Sum(&format.user_) || (has_system && !tags.Block("endif"))) return std::nullopt;
  if (!tags.Block("elifmessage['role']=='assistant'") || !tags.Sum(&format.assistant_)) return std::nullopt;
  if (!tags.Block("else") || !tags.Refusal() || !tags.Block("endif") || !tags.Block("endfor") || !tags.AtEnd()) {
    return std::nullopt;
  }

  if (!has_system) {
    for (const Part& part : format.user_) {
      if (part.kind == Part::Kind::kContent) {
        format.user_with_system_.push_back({.kind = Part::Kind::kSystem, .literal = ""});
        format.user_with_system_.push_back({.kind = Part::Kind::kLiteral, .literal = "\n\n"});
      }
      format.user_with_system_.push_back(part);
    }
  }
  const bool complete = Count(format.user_, Part::Kind::kContent) == 1 && Writes(format.user_, "[INST]") &&
                        Writes(format.user_, "[/INST]") && Count(format.user_, Part::Kind::kSystem) == 0 &&
                        Count(format.user_with_system_, Part::Kind::kContent) == 1 &&
                        Count(format.user_with_system_, Part::Kind::kSystem) == 1 &&
                        Count(format.assistant_, Part::Kind::kContent) == 1 &&
                        Count(format.assistant_, Part::Kind::kSystem) == 0;
  if (!complete) return std::nullopt;
  return format;
}

absl::StatusOr<std::vector<int32_t>> MixtralTemplate::Encode(const std::vector<ChatMessage>& messages,
                                                             const Tokenizer& tokenizer) const {
  std::string system;
  size_t first_user = 0;
  for (; first_user < messages.size() && IsSystem(messages[first_user]); ++first_user) {
    absl::StrAppend(&system, first_user == 0 ? "" : "\n\n", messages[first_user].content);
  }
  if (first_user == messages.size()) {
    return absl::InvalidArgumentError(absl::StrCat("messages[", messages.size(), "]: a user message is missing"));
  }
  PromptWriter writer(tokenizer);
  writer.Token(tokenizer.bos_id());
  for (size_t i = first_user; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    const bool user_turn = (i - first_user) % 2 == 0;
    if (IsSystem(message)) {
      return absl::InvalidArgumentError(absl::StrCat("messages[", i, "]: a '", message.role,
                                                     "' message can stand only before the first user message"));
    }
    if (message.role != "user" && message.role != "assistant") {
      return absl::InvalidArgumentError(
          absl::StrCat("messages[", i, "]: role '", message.role, "' is none of system, developer, user, assistant"));
    }
    if ((message.role == "user") != user_turn) {
      return absl::InvalidArgumentError(absl::StrCat("messages[", i, "]: role '", message.role, "' where '",
                                                     user_turn ? "user" : "assistant",
                                                     "' must stand; roles alternate user, assistant, user, …"));
    }
    const bool folds = i == first_user && first_user > 0;
    writer.Write(!user_turn ? assistant_ : folds ? user_with_system_ : user_, message.content, system);
  }
  return writer.Take();
}

}  // namespace switchyard
