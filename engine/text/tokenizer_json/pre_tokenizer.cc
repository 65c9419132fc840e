#include "engine/text/tokenizer_json/pre_tokenizer.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/text/tokenizer_json/byte_level.h"
#include "engine/text/tokenizer_json/component.h"
#include "engine/text/tokenizer_json/pattern.h"
#include "engine/text/tokenizer_json/unicode.h"
#include "kernels/check.h"

namespace switchyard::tokenizer_json {
namespace {

// GPT-2's.
constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

class Split : public PreTokenizerStep {
 public:
  Split(Finder find, SplitBehavior behavior, bool invert)
      : find_(std::move(find)), behavior_(behavior), invert_(invert) {}
  void Apply(Pieces* pieces) const override { SplitPieces(find_, behavior_, invert_, pieces); }

 private:
  Finder find_;
  SplitBehavior behavior_;
  bool invert_;
};

class ByteLevel : public PreTokenizerStep {
 public:
  ByteLevel(bool add_prefix_space, std::optional<Regex> regex)
      : add_prefix_space_(add_prefix_space), regex_(std::move(regex)) {}

  void Apply(Pieces* pieces) const override {
    if (add_prefix_space_) {
      RewritePieces(
          [](std::string_view piece, bool at_start, std::string* out) {
            if (!piece.starts_with(' ')) out->push_back(' ');
            out->append(piece);
          },
          pieces);
    }
    if (regex_) {
      SplitPieces([this](std::string_view text, std::vector<Match>* matches) { regex_->FindAll(text, matches); },
                  SplitBehavior::kIsolated, /*invert=*/false, pieces);
    }
    RewritePieces([](std::string_view piece, bool at_start, std::string* out) { AppendByteLevel(piece, out); }, pieces);
  }

 private:
  bool add_prefix_space_;
  std::optional<Regex> regex_;
};

class Metaspace : public PreTokenizerStep {
 public:
  enum class Prefix { kAlways, kFirst, kNever };

  Metaspace(char32_t mark, Prefix prefix, bool splits) : prefix_(prefix), splits_(splits) {
    AppendCharacter(mark, &mark_);
  }

  void Apply(Pieces* pieces) const override {
    RewritePieces(
        [this](std::string_view piece, bool at_start, std::string* out) {
          const bool is_marked = piece.starts_with(' ') || piece.starts_with(mark_);
          const bool wants_mark = prefix_ == Prefix::kAlways || (prefix_ == Prefix::kFirst && at_start);
          if (wants_mark && !is_marked) out->append(mark_);
          for (const char c : piece) {
            if (c == ' ') {
              out->append(mark_);
            } else {
              out->push_back(c);
            }
          }
        },
        pieces);
    if (!splits_) return;
    SplitPieces(
        [this](std::string_view text, std::vector<Match>* matches) {
          for (size_t at = text.find(mark_); at != std::string_view::npos; at = text.find(mark_, at + mark_.size())) {
            matches->push_back({at, at + mark_.size()});
          }
        },
        SplitBehavior::kMergedWithNext, /*invert=*/false, pieces);
  }

 private:
  std::string mark_;
  Prefix prefix_;
  bool splits_;
};

// Each character of a kind is a match.
Finder FindEach(bool (*is_kind)(char32_t)) {
  return [is_kind](std::string_view text, std::vector<Match>* matches) {
    for (size_t i = 0; i < text.size();) {
      const Character character = CharacterAt(text, i);
      if (is_kind(character.code)) matches->push_back({i, i + character.size});
      i += character.size;
    }
  };
}

// \w+|[^\w\s]+
void FindWords(std::string_view text, std::vector<Match>* matches) {
  enum class Kind { kSpace, kWord, kOther };
  Kind last = Kind::kSpace;
  for (size_t i = 0; i < text.size();) {
    const Character character = CharacterAt(text, i);
    const Kind kind = IsWord(character.code) ? Kind::kWord : IsWhiteSpace(character.code) ? Kind::kSpace : Kind::kOther;
    if (kind != Kind::kSpace && kind != last) matches->push_back({i, i});
    i += character.size;
    if (kind != Kind::kSpace) matches->back().end = i;
    last = kind;
  }
}

std::optional<SplitBehavior> ReadBehavior(JsonFields* fields, std::optional<SplitBehavior> absent) {
  const std::optional<std::string> name = fields->String("behavior");
  if (!name && absent) return absent;
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  fields->Fail("behavior", "must be Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
  return std::nullopt;
}

std::unique_ptr<const PreTokenizerStep> MakeMetaspace(JsonFields* fields) {
  const char32_t mark = RequiredCharacter(fields, "replacement");
  const std::optional<std::string> scheme = fields->String("prepend_scheme");
  const std::optional<bool> add_prefix_space = fields->Boolean("add_prefix_space");  // of older files
  Metaspace::Prefix prefix = Metaspace::Prefix::kAlways;
  if (scheme == "first") prefix = Metaspace::Prefix::kFirst;
  if (scheme == "never") prefix = Metaspace::Prefix::kNever;
  if (scheme && scheme != "always" && scheme != "first" && scheme != "never") {
    fields->Fail("prepend_scheme", "must be always, first or never");
  }
  if (add_prefix_space == false) {
    if (scheme && prefix != Metaspace::Prefix::kNever) {
      fields->Fail("add_prefix_space", "is false; with it prepend_scheme must be never");
    }
    prefix = Metaspace::Prefix::kNever;
  }
  return std::make_unique<Metaspace>(mark, prefix, fields->Boolean("split").value_or(true));
}

std::unique_ptr<const PreTokenizerStep> MakeByteLevel(JsonFields* fields, std::optional<bool> add_prefix_space) {
  const bool field = fields->Boolean("add_prefix_space").value_or(true);
  std::optional<Regex> regex;
  if (fields->Boolean("use_regex").value_or(true)) {
    absl::StatusOr<Regex> compiled = Regex::Compile(kByteLevelPattern);
    CHECK(compiled.ok());
    regex = *std::move(compiled);
  }
  return std::make_unique<ByteLevel>(add_prefix_space.value_or(field), std::move(regex));
}

std::unique_ptr<const PreTokenizerStep> MakeSplit(JsonFields* fields) {
  std::optional<Pattern> pattern = Pattern::Read(fields, "pattern");
  const std::optional<SplitBehavior> behavior = ReadBehavior(fields, std::nullopt);
  const bool invert = fields->Boolean("invert").value_or(false);
  if (!pattern || !behavior) return nullptr;
  const auto shared = std::make_shared<const Pattern>(*std::move(pattern));
  return std::make_unique<Split>(
      [shared](std::string_view text, std::vector<Match>* matches) { shared->FindAll(text, matches); }, *behavior,
      invert);
}

// Null for an unknown type, and after a fault.
std::unique_ptr<const PreTokenizerStep> Make(const std::string& type, JsonFields* fields,
                                             std::optional<bool> add_prefix_space) {
  if (type == "ByteLevel") return MakeByteLevel(fields, add_prefix_space);
  if (type == "Metaspace") return MakeMetaspace(fields);
  if (type == "Split") return MakeSplit(fields);
  if (type == "Digits") {
    const bool each = fields->Boolean("individual_digits").value_or(false);
    return std::make_unique<Split>(FindEach(IsNumeric), each ? SplitBehavior::kIsolated : SplitBehavior::kContiguous,
                                   false);
  }
  if (type == "Whitespace") return std::make_unique<Split>(FindWords, SplitBehavior::kRemoved, /*invert=*/true);
  if (type == "WhitespaceSplit") {
    return std::make_unique<Split>(FindEach(IsWhiteSpace), SplitBehavior::kRemoved, false);
  }
  if (type != "Punctuation") return nullptr;
  const std::optional<SplitBehavior> behavior = ReadBehavior(fields, SplitBehavior::kIsolated);
  if (!behavior) return nullptr;
  return std::make_unique<Split>(FindEach(IsPunctuation), *behavior, false);
}

}  // namespace

absl::StatusOr<PreTokenizer> PreTokenizer::Parse(const std::string& place, const nlohmann::json& json,
                                                 std::optional<bool> add_prefix_space) {
  PreTokenizer pre_tokenizer;
  const bool stands_alone = json.is_object() && json.value("type", nlohmann::json()) == "ByteLevel";
  if (!stands_alone) add_prefix_space.reset();
  const absl::Status status =
      ForEachComponent(place, json, "pretokenizers", [&](const std::string& type, JsonFields* fields) -> absl::Status {
        auto step = Make(type, fields, add_prefix_space);
        if (step == nullptr && fields->status().ok()) {
          return UnsupportedComponent(*fields, "pre-tokenizer", type,
                                      "Sequence, ByteLevel, Metaspace, Split, Digits, Whitespace, WhitespaceSplit and "
                                      "Punctuation");
        }
        pre_tokenizer.steps_.push_back(std::move(step));
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return pre_tokenizer;
}

}  // namespace switchyard::tokenizer_json
