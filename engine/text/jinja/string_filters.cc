#include "engine/text/jinja/string_filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "engine/text/jinja/json.h"
#include "engine/text/jinja/text.h"

namespace switchyard::jinja {
namespace {

template <std::string (*kChange)(std::string_view)>
Value Change(Context& context, const Value& subject, Arguments&) {
  return context.String(kChange(Text(context, subject)));
}

Value Trim(Context& context, const Value& subject, Arguments& arguments) {
  const std::string text = Text(context, subject);
  const Value characters = arguments.Take("chars");
  const auto set = characters.is_string() ? std::optional<std::string_view>(characters.string()) : std::nullopt;
  return context.String(std::string(StripRight(StripLeft(text, set), set)));
}

Value String(Context& context, const Value& subject, Arguments&) {
  return subject.is_string() ? subject : context.String(Text(context, subject));
}

Value Escape(Context& context, const Value& subject, Arguments&) {
  return context.String(absl::StrReplaceAll(
      Text(context, subject), {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"'", "&#39;"}, {"\"", "&#34;"}}));
}

Value ReplaceIn(Context& context, const Value& subject, Arguments& arguments) {
  const Value from = arguments.Require(context, "old");
  const Value to = arguments.Require(context, "new");
  const int64_t count = arguments.TakeInteger(context, "count", -1);
  Arguments method({Value(Text(context, from)), Value(Text(context, to)), Value(count)}, {});
  return CallMethod(context, Value(Text(context, subject)), "replace", method);
}

Value Indent(Context& context, const Value& subject, Arguments& arguments) {
  const Value width = arguments.Take("width", Value(int64_t{4}));
  const bool first = arguments.TakeBool("first", false);
  const bool blank = arguments.TakeBool("blank", false);
  if (!width.is_string() && !width.is_int()) return context.Fail("the argument 'width' must be a number or a string");
  constexpr int64_t kMaxWidth = 1000;
  const std::string margin =
      width.is_string() ? width.string()
                        : std::string(static_cast<size_t>(std::clamp<int64_t>(width.integer(), 0, kMaxWidth)), ' ');
  const std::string text = Text(context, subject);
  const auto num_lines = static_cast<int64_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  if (!context.Allocate(static_cast<int64_t>(text.size()) + num_lines * static_cast<int64_t>(margin.size())))
    return Value();
  std::string result;
  const std::vector<std::string_view> lines = Split(text, "\n", -1, /*from_right=*/false);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) result += "\n";
    if (i == 0 ? first : blank || !lines[i].empty()) result += margin;
    result += lines[i];
  }
  return context.String(std::move(result));
}

Value ToJson(Context& context, const Value& subject, Arguments& arguments) {
  JsonStyle style;
  style.ascii_only = arguments.TakeBool("ensure_ascii", false);
  const Value indent = arguments.Take("indent");
  const Value separators = arguments.Take("separators");
  style.sort_keys = arguments.TakeBool("sort_keys", false);
  constexpr int64_t kMaxIndent = 16;
  if (indent.is_int()) {
    style.indent = static_cast<int>(std::clamp<int64_t>(indent.integer(), 0, kMaxIndent));
    style.item_separator = ",";
  }
  if (separators.is_list()) {
    const std::vector<Value>& pair = separators.list();
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      return context.Fail("the argument 'separators' must be two strings");
    }
    style.item_separator = pair[0].string();
    style.key_separator = pair[1].string();
  }
  const Extent extent = ExtentOf(subject);
  const int64_t per_value = 32 + static_cast<int64_t>(style.item_separator.size() + style.key_separator.size()) +
                            int64_t{style.indent.value_or(0)} * (extent.depth + 1);
  if (!context.Allocate(extent.weight * per_value)) return Value();
  std::string text;
  if (!AppendJson(subject, style, &text)) {
    return context.Fail("tojson is given something undefined, a namespace or a macro, or a part of it is that");
  }
  return context.String(std::move(text));
}

Value Integer(Context& context, const Value& subject, Arguments& arguments) {
  const Value fallback = arguments.Take("default", Value(int64_t{0}));
  if (subject.is_int() || subject.is_bool()) return Value(subject.integer());
  double number = 0;
  if (subject.is_float()) {
    number = subject.number();
  } else if (subject.is_string()) {
    int64_t whole = 0;
    if (absl::SimpleAtoi(subject.string(), &whole)) return Value(whole);
    if (!absl::SimpleAtod(subject.string(), &number)) return fallback;
  } else {
    return fallback;
  }
  if (!(std::abs(number) < 9e18)) return context.Fail("a number does not fit 64 bits");
  return Value(static_cast<int64_t>(number));
}

Value Float(Context&, const Value& subject, Arguments& arguments) {
  const Value fallback = arguments.Take("default", Value(0.0));
  if (subject.is_number()) return Value(subject.number());
  double number = 0;
  return subject.is_string() && absl::SimpleAtod(subject.string(), &number) ? Value(number) : fallback;
}

Value Abs(Context& context, const Value& subject, Arguments&) {
  if (subject.is_float()) return Value(std::abs(subject.number()));
  if (!subject.is_number()) return context.Fail(absl::StrCat("abs does not take a ", TypeName(subject)));
  return subject.integer() < 0 ? Binary(context, "-", Value(int64_t{0}), subject) : Value(subject.integer());
}

Value Round(Context& context, const Value& subject, Arguments& arguments) {
  const int64_t precision = arguments.TakeInteger(context, "precision", 0);
  const std::string method = arguments.TakeString(context, "method", "common");
  if (!subject.is_number() || precision < 0 || precision > 15)
    return context.Fail("round takes a number and 0 to 15 places");
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = subject.number() * scale;
  const double rounded = method == "ceil"    ? std::ceil(scaled)
                         : method == "floor" ? std::floor(scaled)
                                             : std::nearbyint(scaled);
  return Value(rounded / scale);
}

Value Format(Context& context, const Value& subject, Arguments& arguments) {
  return FormatPercent(context, Text(context, subject), arguments.TakePositional());
}

}  // namespace

Value FormatPercent(Context& context, const std::string& format, const std::vector<Value>& values) {
  std::string text;
  size_t next = 0;
  for (size_t i = 0; i < format.size() && context.ok(); ++i) {
    if (format[i] != '%') {
      text += format[i];
      continue;
    }
    size_t end = i + 1;
    int precision = 6;
    if (end < format.size() && format[end] == '.') {
      const auto [rest, error] = std::from_chars(&format[end + 1], format.data() + format.size(), precision);
      end = rest - format.data();
      if (error != std::errc() || precision < 0 || precision > 20)
        return context.Fail("a % format has a broken precision");
    }
    const char kind = end < format.size() ? format[end] : ' ';
    i = end;
    if (kind == '%') {
      text += '%';
      continue;
    }
    if (std::string_view("srdif").find(kind) == std::string_view::npos) {
      return context.FailUnknown(absl::StrCat("the format '%", std::string(1, kind), "' is not supported"));
    }
    if (next >= values.size()) return context.Fail("a % format has too few values");
    const Value& value = values[next++];
    if (kind == 's') {
      text += Text(context, value);
    } else if (kind == 'r') {
      if (context.Allocate(ExtentOf(value).weight * 64)) AppendRepr(value, &text);
    } else if (!value.is_number()) {
      return context.Fail(absl::StrCat("a % format wants a number and is given a ", TypeName(value)));
    } else if (kind == 'f') {
      absl::StrAppendFormat(&text, "%.*f", precision, value.number());
    } else {
      absl::StrAppendFormat(
          &text, "%d",
          value.is_float() ? static_cast<int64_t>(std::clamp(value.number(), -9e18, 9e18)) : value.integer());
    }
  }
  if (next < values.size()) return context.Fail("a % format has too many values");
  return context.String(std::move(text));
}

Filter FindStringFilter(std::string_view name) {
  constexpr std::pair<std::string_view, Filter> kFilters[] = {{"abs", Abs},
                                                              {"capitalize", Change<Capitalize>},
                                                              {"e", Escape},
                                                              {"escape", Escape},
                                                              {"float", Float},
                                                              {"format", Format},
                                                              {"indent", Indent},
                                                              {"int", Integer},
                                                              {"lower", Change<Lower>},
                                                              {"replace", ReplaceIn},
                                                              {"round", Round},
                                                              {"safe", String},
                                                              {"string", String},
                                                              {"title", Change<Title>},
                                                              {"tojson", ToJson},
                                                              {"trim", Trim},
                                                              {"upper", Change<Upper>}};
  for (const auto& [known, filter] : kFilters) {
    if (known == name) return filter;
  }
  return nullptr;
}

}  // namespace switchyard::jinja
