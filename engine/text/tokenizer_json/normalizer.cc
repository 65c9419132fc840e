#include "engine/text/tokenizer_json/normalizer.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "engine/text/tokenizer_json/byte_level.h"
#include "engine/text/tokenizer_json/component.h"
#include "engine/text/tokenizer_json/pattern.h"
#include "engine/text/tokenizer_json/unicode.h"

namespace switchyard::tokenizer_json {
namespace {

class Prepend : public NormalizerStep {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void Apply(Stretch* stretch) const override {
    if (!stretch->text.empty()) stretch->text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class Replace : public NormalizerStep {
 public:
  explicit Replace(Replacement replacement) : replacement_(std::move(replacement)) {}
  void Apply(Stretch* stretch) const override {
    const std::string& text = stretch->text;
    std::vector<Match> matches;
    replacement_.FindAll(text, &matches);
    if (matches.empty()) return;
    // Hugging Face aligns what is inserted with the last character that it replaces.
    const Match& first = matches.front();
    if (first.begin == 0 && first.end > 0) {
      const bool keeps_start = !replacement_.content().empty() && CharacterAt(text, 0).size == first.end;
      stretch->at_start = stretch->at_start && keeps_start;
    }
    stretch->text = replacement_.Apply(text, matches);
  }

 private:
  Replacement replacement_;
};

class ToForm : public NormalizerStep {
 public:
  explicit ToForm(NormalForm form) : form_(form) {}
  void Apply(Stretch* stretch) const override { stretch->text = ToNormalForm(stretch->text, form_); }

 private:
  NormalForm form_;
};

class Lowercase : public NormalizerStep {
 public:
  void Apply(Stretch* stretch) const override {
    std::string out;
    out.reserve(stretch->text.size());
    for (size_t i = 0; i < stretch->text.size();) {
      const Character character = CharacterAt(stretch->text, i);
      AppendLowercase(character.code, &out);
      i += character.size;
    }
    stretch->text = std::move(out);
  }
};

class Strip : public NormalizerStep {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  void Apply(Stretch* stretch) const override {
    std::string& text = stretch->text;
    size_t end = text.size();
    while (right_ && end > 0) {
      const Character last = CharacterBefore(text, end);
      if (!IsWhiteSpace(last.code)) break;
      end -= last.size;
    }
    text.resize(end);
    size_t begin = 0;
    while (left_ && begin < text.size()) {
      const Character first = CharacterAt(text, begin);
      if (!IsWhiteSpace(first.code)) break;
      begin += first.size;
    }
    text.erase(0, begin);
    if (begin > 0) stretch->at_start = false;
  }

 private:
  bool left_;
  bool right_;
};

class StripAccents : public NormalizerStep {
 public:
  void Apply(Stretch* stretch) const override {
    std::string out;
    out.reserve(stretch->text.size());
    for (size_t i = 0; i < stretch->text.size();) {
      const Character character = CharacterAt(stretch->text, i);
      if (!IsMark(character.code)) {
        out.append(stretch->text, i, character.size);
      } else if (i == 0) {
        stretch->at_start = false;
      }
      i += character.size;
    }
    stretch->text = std::move(out);
  }
};

class ByteLevel : public NormalizerStep {
 public:
  void Apply(Stretch* stretch) const override {
    std::string out;
    AppendByteLevel(stretch->text, &out);
    stretch->text = std::move(out);
  }
};

std::optional<NormalForm> FormOf(const std::string& type) {
  if (type == "NFC") return NormalForm::kNfc;
  if (type == "NFD") return NormalForm::kNfd;
  if (type == "NFKC") return NormalForm::kNfkc;
  if (type == "NFKD") return NormalForm::kNfkd;
  return std::nullopt;
}

// Null for an unknown type, and after a fault.
std::unique_ptr<const NormalizerStep> Make(const std::string& type, JsonFields* fields) {
  if (const std::optional<NormalForm> form = FormOf(type)) return std::make_unique<ToForm>(*form);
  if (type == "Prepend") return std::make_unique<Prepend>(RequiredString(fields, "prepend"));
  if (type == "Lowercase") return std::make_unique<Lowercase>();
  if (type == "StripAccents") return std::make_unique<StripAccents>();
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "Strip") {
    return std::make_unique<Strip>(fields->Boolean("strip_left").value_or(true),
                                   fields->Boolean("strip_right").value_or(true));
  }
  if (type != "Replace") return nullptr;
  std::optional<Replacement> replacement = Replacement::Read(fields);
  return replacement ? std::make_unique<Replace>(*std::move(replacement)) : nullptr;
}

}  // namespace

absl::StatusOr<Normalizer> Normalizer::Parse(const std::string& place, const nlohmann::json& json) {
  Normalizer normalizer;
  const absl::Status status =
      ForEachComponent(place, json, "normalizers", [&](const std::string& type, JsonFields* fields) -> absl::Status {
        auto step = Make(type, fields);
        if (step == nullptr && fields->status().ok()) {
          return UnsupportedComponent(*fields, "normalizer", type,
                                      "Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, Strip, "
                                      "StripAccents and ByteLevel");
        }
        normalizer.steps_.push_back(std::move(step));
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  return normalizer;
}

}  // namespace switchyard::tokenizer_json
