// Methods of Python's strings, lists and dictionaries.
#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/text.h"

namespace switchyard::jinja {
namespace {

Value FailMethod(Context& context, const Value& object, const std::string& name) {
  if (object.is_undefined()) {
    return context.Fail(absl::StrCat("'", object.undefined_name(), "' is undefined, so it has no '", name, "'"));
  }
  return context.FailUnknown(
      absl::StrCat("the method '", name.substr(0, 60), "' of a ", TypeName(object), " is not supported"));
}

std::optional<std::string_view> OptionalText(const Value& value) {
  return value.is_string() ? std::optional<std::string_view>(value.string()) : std::nullopt;
}

Value ReplaceText(Context& context, const std::string& text, Arguments& arguments) {
  const std::string from = arguments.TakeString(context, "old", "");
  const std::string to = arguments.TakeString(context, "new", "");
  const int64_t count = arguments.TakeInteger(context, "count", -1);
  // A match takes at least one byte, and an empty one stands before each.
  int64_t matches = 0;
  if (from.empty()) {
    matches = static_cast<int64_t>(text.size()) + 1;
  } else {
    for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + from.size())) ++matches;
  }
  if (count >= 0) matches = std::min(matches, count);
  const int64_t bytes = static_cast<int64_t>(text.size()) + matches * static_cast<int64_t>(to.size());
  return context.Allocate(bytes) ? Value(Replace(text, from, to, count)) : Value();
}

Value JoinText(Context& context, const std::string& separator, Arguments& arguments) {
  std::string text;
  bool first = true;
  for (const Value& item : Items(context, arguments.Require(context, "iterable"))) {
    if (!item.is_string()) return context.Fail(absl::StrCat("join is given a ", TypeName(item), " among its strings"));
    if (!context.Allocate(static_cast<int64_t>(item.string().size() + separator.size()))) return Value();
    if (!first) text += separator;
    first = false;
    text += item.string();
  }
  return Value(std::move(text));
}

Value Pieces(Context& context, const std::vector<std::string_view>& pieces) {
  std::vector<Value> items;
  items.reserve(pieces.size());
  for (const std::string_view piece : pieces) items.push_back(context.String(std::string(piece)));
  return context.List(std::move(items));
}

Value Lines(Context& context, std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  return text.empty() ? context.List({}) : Pieces(context, Split(text, "\n", -1, /*from_right=*/false));
}

// startswith and endswith take one text or a list of them.
Value HasAffix(Context& context, const std::string& text, bool at_start, Arguments& arguments) {
  const Value affix = arguments.Require(context, "affix");
  const auto matches = [&](const Value& value) {
    if (!value.is_string()) context.Fail(absl::StrCat("an affix must be a string, not a ", TypeName(value)));
    return value.is_string() && (at_start ? text.starts_with(value.string()) : text.ends_with(value.string()));
  };
  if (!affix.is_list()) return Value(matches(affix));
  return Value(std::any_of(affix.list().begin(), affix.list().end(), matches));
}

bool All(std::string_view text, bool (*accepts)(char)) {
  return !text.empty() && std::all_of(text.begin(), text.end(), accepts);
}

Value StringMethod(Context& context, const Value& object, const std::string& name, Arguments& arguments) {
  if (!context.ChargeWalk(object)) return Value();
  const std::string& text = object.string();
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const Value characters = arguments.Take("chars");
    std::string_view rest = text;
    if (name != "rstrip") rest = StripLeft(rest, OptionalText(characters));
    if (name != "lstrip") rest = StripRight(rest, OptionalText(characters));
    return context.String(std::string(rest));
  }
  if (name == "split" || name == "rsplit") {
    const Value separator = arguments.Take("sep");
    const int64_t max_splits = arguments.TakeInteger(context, "maxsplit", -1);
    if (separator.is_string() && separator.string().empty()) return context.Fail("split is given an empty separator");
    return Pieces(context, Split(text, OptionalText(separator), max_splits, name == "rsplit"));
  }
  if (name == "splitlines") return Lines(context, text);
  if (name == "startswith" || name == "endswith") return HasAffix(context, text, name == "startswith", arguments);
  if (name == "removeprefix" || name == "removesuffix") {
    const std::string affix = arguments.TakeString(context, "affix", "");
    const bool at_start = name == "removeprefix";
    if (!(at_start ? text.starts_with(affix) : text.ends_with(affix))) return object;
    return context.String(at_start ? text.substr(affix.size()) : text.substr(0, text.size() - affix.size()));
  }
  if (name == "replace") return ReplaceText(context, text, arguments);
  if (name == "join") return JoinText(context, text, arguments);
  if (name == "upper") return context.String(Upper(text));
  if (name == "lower") return context.String(Lower(text));
  if (name == "title") return context.String(Title(text));
  if (name == "capitalize") return context.String(Capitalize(text));
  if (name == "find" || name == "count") {
    const std::string part = arguments.TakeString(context, "sub", "");
    const size_t found = text.find(part);
    if (name == "find") return Value(found == std::string::npos ? int64_t{-1} : NumCharacters(text.substr(0, found)));
    if (part.empty()) return Value(NumCharacters(text) + 1);
    return Value(static_cast<int64_t>(Split(text, part, -1, /*from_right=*/false).size()) - 1);
  }
  if (name == "isspace") return Value(All(text, IsSpace));
  if (name == "isdigit") return Value(All(text, [](char c) { return c >= '0' && c <= '9'; }));
  return FailMethod(context, object, name);
}

Value DictMethod(Context& context, const Value& object, const std::string& name, Arguments& arguments) {
  const auto& entries = object.dict().entries;
  if (name == "get") {
    const Value key = arguments.Require(context, "key");
    const Value fallback = arguments.Take("default", Value(None{}));
    const Value* found = key.is_string() ? object.dict().Find(key.string()) : nullptr;
    return found != nullptr ? *found : fallback;
  }
  std::vector<Value> items;
  if (!context.Charge(static_cast<int64_t>(entries.size()))) return Value();
  for (const auto& [key, value] : entries) {
    if (name == "keys") {
      items.push_back(context.String(key));
    } else if (name == "values") {
      items.push_back(value);
    } else if (name == "items") {
      items.push_back(context.List({context.String(key), value}));
    } else {
      break;
    }
  }
  if (name == "keys" || name == "values" || name == "items") return context.List(std::move(items));
  if (name == "update" || name == "pop" || name == "setdefault" || name == "clear" || name == "popitem") {
    return context.Fail(absl::StrCat("dictionaries are immutable in templates: '", name, "' is refused"));
  }
  return FailMethod(context, object, name);
}

Value ListMethod(Context& context, const Value& object, const std::string& name, Arguments& arguments) {
  const std::vector<Value>& items = object.list();
  if (name == "index" || name == "count") {
    const Value item = arguments.Require(context, "value");
    int64_t count = 0;
    for (size_t i = 0; i < items.size() && context.ok(); ++i) {
      if (!Compare(context, "==", items[i], item)) continue;
      if (name == "index") return Value(static_cast<int64_t>(i));
      ++count;
    }
    return name == "count" ? Value(count) : context.Fail("index finds no such item");
  }
  for (const std::string_view change : {"append", "extend", "insert", "pop", "remove", "clear", "sort", "reverse"}) {
    if (name == change) {
      return context.Fail(absl::StrCat("lists are immutable in templates: '", name, "' is refused; use list + [item]"));
    }
  }
  return FailMethod(context, object, name);
}

}  // namespace

Value CallMethod(Context& context, const Value& object, const std::string& name, Arguments& arguments) {
  Value result;
  if (object.is_string()) {
    result = StringMethod(context, object, name, arguments);
  } else if (object.is_dict()) {
    result = DictMethod(context, object, name, arguments);
  } else if (object.is_list()) {
    result = ListMethod(context, object, name, arguments);
  } else {
    return FailMethod(context, object, name);
  }
  if (context.ok()) arguments.Finish(context, name);
  return result;
}

}  // namespace switchyard::jinja
