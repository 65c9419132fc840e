#include "server/openai/json_text.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace switchyard::openai {
namespace {

using nlohmann::json;

// Builds the document as the parser reports it, so that depth is bounded while parsing and a fault has a field.
// NOLINTNEXTLINE(bugprone-exception-escape): nlohmann's move constructor checks itself with an assertion.
class DocumentBuilder : public nlohmann::json_sax<json> {
 public:
  json root;
  std::optional<ApiError> error;

  bool null() override { return Add(nullptr); }
  bool boolean(bool value) override { return Add(value); }
  bool number_integer(number_integer_t value) override { return Add(value); }
  bool number_unsigned(number_unsigned_t value) override { return Add(value); }
  bool number_float(number_float_t value, const string_t&) override { return Add(value); }
  bool string(string_t& value) override { return Add(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // not in JSON text
  bool start_object(std::size_t) override { return Open(json::object()); }
  bool start_array(std::size_t) override { return Open(json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    key_ = std::move(name);
    if (open_.size() == 1) field_ = key_;
    return true;
  }
  bool parse_error(std::size_t position, const std::string& token, const nlohmann::detail::exception& fault) override {
    constexpr int kNumberOverflow = 406;
    if (fault.id == kNumberOverflow) {
      error = FieldError(field_, absl::StrCat(field_, " holds a number that is too large (", token.substr(0, 40),
                                              "); numbers must fit a 64-bit floating-point value"));
      return false;
    }
    // The library's text starts with its own error number.
    std::string what = fault.what();
    if (const size_t end = what.find("] "); end != std::string::npos) what = what.substr(end + 2);
    error =
        ApiError{.message = absl::StrCat("the body is not valid JSON: ", what.substr(0, 300)), .code = "invalid_json"};
    return false;
  }

 private:
  json* Place(json value) {
    if (open_.empty()) return &(root = std::move(value));
    json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    return &(parent[key_] = std::move(value));
  }
  bool Add(json value) {
    Place(std::move(value));
    return true;
  }
  bool Open(json value) {
    if (open_.size() >= kMaxJsonDepth) {
      error = FieldError(field_, absl::StrCat(field_.empty() ? "the body" : field_, " is nested deeper than ",
                                              kMaxJsonDepth, " levels; send it flatter"));
      return false;
    }
    open_.push_back(Place(std::move(value)));
    return true;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }

  std::vector<json*> open_;  // objects and arrays not yet closed, outermost first
  std::string key_;
  std::string field_;  // the latest key of the outermost object
};

}  // namespace

std::optional<ApiError> ParseJsonObject(const std::string& body, json* object) {
  DocumentBuilder builder;
  const bool parsed = json::sax_parse(body, &builder);
  if (builder.error.has_value()) return builder.error;
  if (!parsed || !builder.root.is_object()) {
    return ApiError{.message = "the body must be a JSON object such as {\"model\": …, \"prompt\": …}",
                    .code = "invalid_json"};
  }
  *object = std::move(builder.root);
  return std::nullopt;
}

std::vector<std::string> RawElements(const std::string& body, const std::string& field) {
  const std::string key = absl::StrCat("\"", field, "\"");
  std::vector<std::string> elements;
  int depth = 0;
  bool in_field = false;  // behind the field's key
  size_t begin = 0;       // of the string, or of the element
  for (size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (c == '"') {
      const size_t start = i;
      for (++i; i < body.size() && body[i] != '"'; ++i) i += body[i] == '\\' ? 1 : 0;
      if (depth != 1) continue;
      const size_t next = body.find_first_not_of(" \n\r\t", i + 1);
      const bool is_key = next != std::string::npos && body[next] == ':';
      if (is_key) in_field = body.compare(start, i + 1 - start, key) == 0;
      if (is_key && in_field) elements.clear();
    } else if (c == '{' || c == '[') {
      if (++depth == 2) begin = i + 1;
    } else if (c == '}' || c == ']' || (c == ',' && depth == 2)) {
      const bool is_end = depth == 2 && in_field && i > begin;
      if (is_end) elements.push_back(body.substr(begin, i - begin));
      if (depth == 2) begin = i + 1;
      if (c != ',') --depth;
    }
  }
  return elements;
}

std::string Dump(const nlohmann::ordered_json& value) {
  return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace switchyard::openai
