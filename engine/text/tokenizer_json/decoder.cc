#include "engine/text/tokenizer_json/decoder.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/safetensors.h"
#include "engine/text/tokenizer_json/byte_level.h"
#include "engine/text/tokenizer_json/component.h"
#include "engine/text/tokenizer_json/pattern.h"
#include "engine/text/tokenizer_json/unicode.h"

namespace switchyard::tokenizer_json {
namespace {

class ByteLevel : public DecoderStep {
 public:
  // A name with another character stands for itself.
  std::string Apply(const std::string& token, bool is_first) const override {
    return BytesOfByteLevel(token).value_or(token);
  }
};

class ByteFallback : public DecoderStep {
 public:
  // "<0xE2>" is a byte.
  std::string Apply(const std::string& token, bool is_first) const override {
    uint8_t byte = 0;
    if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return token;
    const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
    if (error != std::errc() || end != token.data() + 5) return token;
    return std::string(1, static_cast<char>(byte));
  }
};

class Metaspace : public DecoderStep {
 public:
  Metaspace(char32_t mark, bool drops_first) : mark_(mark), drops_first_(drops_first) {}
  std::string Apply(const std::string& token, bool is_first) const override {
    std::string out;
    for (size_t i = 0; i < token.size();) {
      const Character character = CharacterAt(token, i);
      if (character.code != mark_) {
        out.append(token, i, character.size);
      } else if (!is_first || !drops_first_) {
        out.push_back(' ');
      }
      i += character.size;
    }
    return out;
  }

 private:
  char32_t mark_;
  bool drops_first_;
};

class Replace : public DecoderStep {
 public:
  explicit Replace(Replacement replacement) : replacement_(std::move(replacement)) {}
  std::string Apply(const std::string& token, bool is_first) const override {
    std::vector<Match> matches;
    replacement_.FindAll(token, &matches);
    return replacement_.Apply(token, matches);
  }

 private:
  Replacement replacement_;
};

struct StripCounts {
  std::string content;  // one character
  size_t start = 0;
  size_t stop = 0;
};

class Strip : public DecoderStep {
 public:
  explicit Strip(StripCounts counts) : counts_(std::move(counts)) {}
  std::string Apply(const std::string& token, bool is_first) const override {
    std::string_view rest = token;
    for (size_t i = 0; i < counts_.start && rest.starts_with(counts_.content); ++i) {
      rest.remove_prefix(counts_.content.size());
    }
    for (size_t i = 0; i < counts_.stop && rest.ends_with(counts_.content); ++i) {
      rest.remove_suffix(counts_.content.size());
    }
    return std::string(rest);
  }

 private:
  StripCounts counts_;
};

// tokens.join(" "): a space before each, of which the text loses the first.
class SpaceBefore : public DecoderStep {
 public:
  std::string Apply(const std::string& token, bool is_first) const override { return is_first ? token : " " + token; }
};

StripCounts ReadStrip(JsonFields* fields) {
  constexpr IntegerRange kCounts{.min = 0, .max = 1 << 16};
  StripCounts counts;
  AppendCharacter(RequiredCharacter(fields, "content"), &counts.content);
  counts.start = static_cast<size_t>(fields->RequiredInteger("start", kCounts));
  counts.stop = static_cast<size_t>(fields->RequiredInteger("stop", kCounts));
  return counts;
}

std::unique_ptr<const DecoderStep> MakeMetaspace(JsonFields* fields) {
  const char32_t mark = RequiredCharacter(fields, "replacement");
  const std::optional<std::string> scheme = fields->String("prepend_scheme");
  const bool drops_first = scheme != "never" && fields->Boolean("add_prefix_space").value_or(true);
  return std::make_unique<Metaspace>(mark, drops_first);
}

// Null for an unknown type, and after a fault.
std::unique_ptr<const DecoderStep> Make(const std::string& type, JsonFields* fields) {
  if (type == "ByteLevel") return std::make_unique<ByteLevel>();
  if (type == "ByteFallback") return std::make_unique<ByteFallback>();
  if (type == "Metaspace") return MakeMetaspace(fields);
  if (type == "Strip") return std::make_unique<Strip>(ReadStrip(fields));
  if (type != "Replace") return nullptr;
  std::optional<Replacement> replacement = Replacement::Read(fields);
  return replacement ? std::make_unique<Replace>(*std::move(replacement)) : nullptr;
}

}  // namespace

absl::StatusOr<Decoder> Decoder::Parse(const std::string& place, const nlohmann::json& json) {
  Decoder decoder;
  bool is_fused = false;  // what follows sees more than one token
  const auto add = [&](const std::string& type, JsonFields* fields) -> absl::Status {
    if (type == "Fuse") {
      is_fused = true;
      return absl::OkStatus();
    }
    if (is_fused && type == "Strip") {
      const StripCounts counts = ReadStrip(fields);
      if (counts.stop == 0 && counts.start <= 1 && counts.content == " ") {
        decoder.strips_leading_space_ = decoder.strips_leading_space_ || counts.start == 1;
        return absl::OkStatus();
      }
    }
    auto step = Make(type, fields);
    if (!fields->status().ok()) return absl::OkStatus();
    if (step == nullptr) {
      return UnsupportedComponent(*fields, "decoder", type,
                                  "Sequence, ByteLevel, Metaspace, ByteFallback, Fuse, Strip and Replace");
    }
    if (is_fused) {
      return absl::UnimplementedError(absl::StrCat(fields->place(), ": ", QuoteName(type),
                                                   " stands behind a decoder that joins tokens, where only",
                                                   " Fuse and a Strip of one \" \" at the start are supported"));
    }
    decoder.steps_.push_back(std::move(step));
    is_fused = type == "ByteLevel" || type == "ByteFallback";
    decoder.replaces_each_byte_ = type == "ByteFallback";
    return absl::OkStatus();
  };
  const absl::Status status = ForEachComponent(place, json, "decoders", add);
  if (!status.ok()) return status;
  if (json.is_null()) decoder.steps_.push_back(std::make_unique<SpaceBefore>());
  return decoder;
}

std::string Decoder::Bytes(const std::string& token, bool is_first) const {
  std::string bytes = token;
  for (const auto& step : steps_) bytes = step->Apply(bytes, is_first);
  return bytes;
}

}  // namespace switchyard::tokenizer_json
