#include "engine/text/tokenizer_config.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxConfigBytes = size_t{16} << 20;
constexpr int32_t kMaxTokenId = 1 << 24;  // a table has one entry per id: bounds what a damaged file can ask for

absl::Status Fault(const std::string& path, const std::string& field, const std::string& wanted, const Json& found) {
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": ", field, " must be ", wanted, ", not a JSON ", found.type_name()));
}

absl::StatusOr<Json> ReadJson(const std::string& path) {
  absl::StatusOr<std::string> text = ReadTextFile(path, kMaxConfigBytes);
  if (!text.ok()) return text.status();
  try {
    Json json = Json::parse(*text);
    if (!json.is_object()) return Fault(path, "the file", "a JSON object", json);
    return json;
  } catch (const Json::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", e.what()));
  }
}

// Reads fields of one JSON object; keeps the first fault.
class FieldReader {
 public:
  FieldReader(const std::string& path, const Json& object, std::string prefix = "")
      : path_(path), object_(object), prefix_(std::move(prefix)) {}

  // Absent and null leave the default.
  template <typename Value>  // bool, or an optional one
  void Bool(const char* name, Value* value) {
    const Json* json = Find(name);
    if (json == nullptr || json->is_null()) return;
    if (!json->is_boolean()) return Keep(Fault(path_, prefix_ + name, "true or false", *json));
    *value = json->get<bool>();
  }
  void String(const char* name, std::string* value) {
    const Json* json = Find(name);
    if (json == nullptr || json->is_null()) return;
    if (!json->is_string()) return Keep(Fault(path_, prefix_ + name, "a string", *json));
    *value = json->get<std::string>();
  }
  // A special token is a string, an object with its `content`, or null.
  void Token(const char* name, std::optional<std::string>* value) {
    const Json* json = Find(name);
    if (json == nullptr) return;
    if (json->is_object() && json->contains("content")) json = &(*json)["content"];
    if (json->is_null()) {
      value->reset();
    } else if (json->is_string()) {
      *value = json->get<std::string>();
    } else {
      Keep(Fault(path_, prefix_ + name, "a string, an object with a string content, or null", *json));
    }
  }
  const Json* Find(const char* name) const {
    const auto it = object_.find(name);
    return it == object_.end() ? nullptr : &*it;
  }
  void Keep(const absl::Status& status) { status_.Update(status); }
  const absl::Status& status() const { return status_; }

 private:
  const std::string& path_;
  const Json& object_;
  std::string prefix_;
  absl::Status status_;
};

absl::Status CheckId(const std::string& path, const std::string& token, int64_t id) {
  if (id >= 0 && id < kMaxTokenId) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": added token '", token, "' has id ", id, ", outside [0, ", kMaxTokenId, ")"));
}

absl::Status ReadAddedTokensDecoder(const std::string& path, const Json& decoder, std::vector<AddedToken>* tokens) {
  if (!decoder.is_object()) return Fault(path, "added_tokens_decoder", "an object", decoder);
  for (const auto& [key, entry] : decoder.items()) {
    const std::string field = absl::StrCat("added_tokens_decoder[\"", key, "\"]");
    AddedToken token;
    int64_t id = 0;
    if (!absl::SimpleAtoi(key, &id)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": ", field, ": the key must be a token id"));
    }
    if (!entry.is_object()) return Fault(path, field, "an object", entry);
    FieldReader reader(path, entry, field + ".");
    reader.String("content", &token.content);
    reader.Bool("lstrip", &token.lstrip);
    reader.Bool("rstrip", &token.rstrip);
    reader.Bool("single_word", &token.single_word);
    reader.Bool("special", &token.special);
    reader.Bool("normalized", &token.normalized);
    reader.Keep(CheckId(path, token.content, id));
    if (!reader.status().ok()) return reader.status();
    if (token.content.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": ", field, ".content must be a string that is not empty"));
    }
    token.id = static_cast<int32_t>(id);
    tokens->push_back(std::move(token));
  }
  return absl::OkStatus();
}

// The layout before added_tokens_decoder: {"<pad>": 32000}.
absl::Status ReadAddedTokensFile(const std::string& path, std::vector<AddedToken>* tokens) {
  absl::StatusOr<Json> json = ReadJson(path);
  if (absl::IsNotFound(json.status())) return absl::OkStatus();
  if (!json.ok()) return json.status();
  for (const auto& [content, id] : json->items()) {
    if (!id.is_number_integer()) return Fault(path, absl::StrCat("\"", content, "\""), "a token id", id);
    if (absl::Status status = CheckId(path, content, id.get<int64_t>()); !status.ok()) return status;
    if (content.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": a token's text is empty"));
    tokens->push_back({.id = id.get<int32_t>(), .content = content});
  }
  return absl::OkStatus();
}

// A string, or a list of {"name", "template"}.
absl::Status ReadChatTemplate(const std::string& path, const Json& json, TokenizerConfig* config) {
  if (json.is_null()) return absl::OkStatus();
  if (json.is_string()) {
    config->chat_template = json.get<std::string>();
    return absl::OkStatus();
  }
  if (!json.is_array()) return Fault(path, "chat_template", "a string or a list of named templates", json);
  for (const Json& entry : json) {
    if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string() || !entry.contains("template") ||
        !entry["template"].is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": chat_template[]: each entry needs a name and a template"));
    }
    if (entry["name"] == "default") config->chat_template = entry["template"].get<std::string>();
    if (entry["name"] == "tool_use") config->tool_chat_template = entry["template"].get<std::string>();
  }
  return absl::OkStatus();
}

// After bos_token and eos_token. A field that is of no use here is no fault either.
void ReadSpecialNames(const Json& json, TokenizerConfig* config) {
  const auto add = [config](const Json& token) {
    const Json& name = token.is_object() && token.contains("content") ? token["content"] : token;
    if (name.is_string() && !name.get_ref<const std::string&>().empty()) config->special_names.push_back(name);
  };
  if (config->bos_token) add(*config->bos_token);
  if (config->eos_token) add(*config->eos_token);
  if (config->names_class && config->is_llama() && !json.contains("unk_token")) add(config->unk_token);
  for (const char* field : {"unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    if (json.contains(field)) add(json[field]);
  }
  const auto more = json.find("additional_special_tokens");
  if (more == json.end() || !more->is_array()) return;
  for (const Json& token : *more) add(token);
}

absl::Status ReadConfigFile(const std::string& path, TokenizerConfig* config, bool* has_added_tokens) {
  absl::StatusOr<Json> json = ReadJson(path);
  if (absl::IsNotFound(json.status())) return absl::OkStatus();
  if (!json.ok()) return json.status();
  FieldReader reader(path, *json);
  reader.String("tokenizer_class", &config->tokenizer_class);
  config->names_class = json->contains("tokenizer_class") && !(*json)["tokenizer_class"].is_null();
  if (!config->is_llama()) config->bos_token = config->eos_token = std::nullopt;
  reader.Bool("add_bos_token", &config->add_bos_token);
  reader.Bool("add_eos_token", &config->add_eos_token);
  reader.Bool("add_prefix_space", &config->add_prefix_space);
  reader.Bool("legacy", &config->legacy);
  reader.Token("bos_token", &config->bos_token);
  reader.Token("eos_token", &config->eos_token);
  std::optional<std::string> unk_token;
  reader.Token("unk_token", &unk_token);
  config->unk_token = unk_token.value_or(config->unk_token);
  ReadSpecialNames(*json, config);
  if (const Json* decoder = reader.Find("added_tokens_decoder"); decoder != nullptr) {
    *has_added_tokens = true;
    reader.Keep(ReadAddedTokensDecoder(path, *decoder, &config->added_tokens));
  }
  if (const Json* chat = reader.Find("chat_template"); chat != nullptr) {
    reader.Keep(ReadChatTemplate(path, *chat, config));
  }
  return reader.status();
}

}  // namespace

absl::StatusOr<TokenizerConfig> TokenizerConfig::Read(const std::string& directory) {
  const std::filesystem::path root(directory);
  TokenizerConfig config;
  bool has_added_tokens = false;
  absl::Status status = ReadConfigFile(root / "tokenizer_config.json", &config, &has_added_tokens);
  if (!status.ok()) return status;
  if (!has_added_tokens) {
    status = ReadAddedTokensFile(root / "added_tokens.json", &config.added_tokens);
    if (!status.ok()) return status;
  }
  absl::StatusOr<Json> file = ReadJson(root / "chat_template.json");
  if (file.ok() && file->contains("chat_template")) {
    status = ReadChatTemplate(root / "chat_template.json", (*file)["chat_template"], &config);
    if (!status.ok()) return status;
  } else if (!file.ok() && !absl::IsNotFound(file.status())) {
    return file.status();
  }
  absl::StatusOr<std::string> jinja = ReadTextFile(root / "chat_template.jinja", kMaxConfigBytes);
  if (jinja.ok()) {
    config.chat_template = *std::move(jinja);
    config.tool_chat_template.reset();
  } else if (!absl::IsNotFound(jinja.status())) {
    return jinja.status();
  }
  return config;
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path, size_t max_bytes) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (error == std::errc::no_such_file_or_directory) return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  if (error) return absl::DataLossError(absl::StrCat(path, ": cannot be read: ", error.message()));
  if (size > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": has ", size, " bytes, more than the ", max_bytes, " that such a file may have"));
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    return absl::DataLossError(absl::StrCat(path, ": cannot be read: ", std::strerror(errno)));
  }
  return text;
}

}  // namespace switchyard
