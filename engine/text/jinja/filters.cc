// Filters on lists and dictionaries, and the table of all filters.
#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/string_filters.h"
#include "engine/text/jinja/text.h"

namespace switchyard::jinja {
namespace {

Value Default(Context&, const Value& subject, Arguments& arguments) {
  Value fallback = arguments.Take("default_value", Value(std::string()));
  const bool for_false = arguments.TakeBool("boolean", false);
  return subject.is_undefined() || (for_false && !Truthy(subject)) ? fallback : subject;
}

Value Length(Context& context, const Value& subject, Arguments&) {
  if (subject.is_string()) return context.ChargeWalk(subject) ? Value(NumCharacters(subject.string())) : Value();
  if (subject.is_list()) return Value(static_cast<int64_t>(subject.list().size()));
  if (subject.is_dict()) return Value(static_cast<int64_t>(subject.dict().entries.size()));
  if (subject.is_undefined()) return Value(int64_t{0});
  return context.Fail(absl::StrCat("a ", TypeName(subject), " has no length"));
}

Value First(Context& context, const Value& subject, Arguments&) {
  const std::vector<Value> items = Items(context, subject);
  return items.empty() ? Value(Undefined{"the first of nothing"}) : items.front();
}

Value Last(Context& context, const Value& subject, Arguments&) {
  const std::vector<Value> items = Items(context, subject);
  return items.empty() ? Value(Undefined{"the last of nothing"}) : items.back();
}

Value ToList(Context& context, const Value& subject, Arguments&) { return context.List(Items(context, subject)); }

Value Reverse(Context& context, const Value& subject, Arguments&) {
  return Slice(context, subject, Value(), Value(), Value(int64_t{-1}));
}

// "a.b.0" of an item, as map(attribute=…) names it.
Value Path(Context& context, Value item, const Value& path) {
  if (!path.is_string()) return Subscript(context, item, path);
  for (const std::string_view name : Split(path.string(), ".", -1, /*from_right=*/false)) {
    const bool is_index =
        !name.empty() && name.find_first_not_of("0123456789") == std::string_view::npos && name.size() < 10;
    item = is_index ? Subscript(context, item, Value(int64_t{std::stoi(std::string(name))}))
                    : Attribute(context, item, std::string(name));
  }
  return item;
}

Value Join(Context& context, const Value& subject, Arguments& arguments) {
  const Value separator = arguments.Take("d", Value(std::string()));
  const Value attribute = arguments.Take("attribute");
  const std::string between = Text(context, separator);
  std::string text;
  bool first = true;
  for (const Value& item : Items(context, subject)) {
    const std::string part = Text(context, attribute.is_undefined() ? item : Path(context, item, attribute));
    if (!context.Allocate(static_cast<int64_t>(part.size() + between.size()))) return Value();
    if (!first) text += between;
    first = false;
    text += part;
  }
  return context.String(std::move(text));
}

Value DictItems(Context& context, const Value& subject, Arguments&) {
  if (subject.is_undefined()) return context.List({});
  if (!subject.is_dict()) return context.Fail(absl::StrCat("a ", TypeName(subject), " has no items"));
  Arguments none;
  return CallMethod(context, subject, "items", none);
}

// What sort, unique, min and max compare: letters without case, unless told otherwise.
class SortKey {
 public:
  SortKey(Context& context, bool case_sensitive, Value attribute)
      : context_(context), case_sensitive_(case_sensitive), attribute_(std::move(attribute)) {}
  Value operator()(const Value& item) const {
    const Value key = attribute_.is_undefined() || attribute_.is_none() ? item : Path(context_, item, attribute_);
    return key.is_string() && !case_sensitive_ ? context_.String(Lower(key.string())) : key;
  }

 private:
  Context& context_;
  bool case_sensitive_;
  Value attribute_;
};

// Stable; its comparisons are accounted for. Merge sort, since std::sort may misbehave when a comparison fails.
void SortPairs(Context& context, bool descending, std::vector<std::pair<Value, Value>>* pairs) {
  std::vector<std::pair<Value, Value>>& from = *pairs;
  std::vector<std::pair<Value, Value>> to(from.size());
  for (size_t width = 1; width < from.size() && context.ok(); width *= 2) {
    for (size_t begin = 0; begin < from.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, from.size());
      const size_t end = std::min(begin + 2 * width, from.size());
      size_t left = begin;
      size_t right = middle;
      for (size_t out = begin; out < end; ++out) {
        const auto takes_right = [&] {
          return descending ? Compare(context, "<", from[left].first, from[right].first)
                            : Compare(context, "<", from[right].first, from[left].first);
        };
        to[out] = left == middle || (right < end && takes_right()) ? from[right++] : from[left++];
      }
    }
    from.swap(to);
  }
}

std::vector<std::pair<Value, Value>> Keyed(const std::vector<Value>& items, const SortKey& key) {
  std::vector<std::pair<Value, Value>> pairs;
  pairs.reserve(items.size());
  for (const Value& item : items) pairs.emplace_back(key(item), item);
  return pairs;
}

Value Sort(Context& context, const Value& subject, Arguments& arguments) {
  const bool descending = arguments.TakeBool("reverse", false);
  const bool case_sensitive = arguments.TakeBool("case_sensitive", false);
  const SortKey key(context, case_sensitive, arguments.Take("attribute"));
  auto pairs = Keyed(Items(context, subject), key);
  SortPairs(context, descending, &pairs);
  std::vector<Value> items;
  for (auto& [rank, item] : pairs) items.push_back(std::move(item));
  return context.List(std::move(items));
}

Value DictSort(Context& context, const Value& subject, Arguments& arguments) {
  const bool case_sensitive = arguments.TakeBool("case_sensitive", false);
  const std::string by = arguments.TakeString(context, "by", "key");
  const bool descending = arguments.TakeBool("reverse", false);
  if (by != "key" && by != "value") return context.Fail("dictsort sorts by 'key' or by 'value'");
  const SortKey key(context, case_sensitive, Value(int64_t{by == "key" ? 0 : 1}));
  auto pairs = Keyed(Items(context, DictItems(context, subject, arguments)), key);
  SortPairs(context, descending, &pairs);
  std::vector<Value> items;
  for (auto& [rank, item] : pairs) items.push_back(std::move(item));
  return context.List(std::move(items));
}

Value Unique(Context& context, const Value& subject, Arguments& arguments) {
  const bool case_sensitive = arguments.TakeBool("case_sensitive", false);
  const SortKey key(context, case_sensitive, arguments.Take("attribute"));
  std::vector<std::pair<Value, Value>> kept;
  for (auto& pair : Keyed(Items(context, subject), key)) {
    const bool seen = std::any_of(kept.begin(), kept.end(),
                                  [&](const auto& other) { return Compare(context, "==", pair.first, other.first); });
    if (!seen) kept.push_back(std::move(pair));
  }
  std::vector<Value> items;
  for (auto& [rank, item] : kept) items.push_back(std::move(item));
  return context.List(std::move(items));
}

template <bool kMax>
Value Extreme(Context& context, const Value& subject, Arguments& arguments) {
  const bool case_sensitive = arguments.TakeBool("case_sensitive", false);
  const SortKey key(context, case_sensitive, arguments.Take("attribute"));
  const auto pairs = Keyed(Items(context, subject), key);
  if (pairs.empty()) return Value(Undefined{kMax ? "the maximum of nothing" : "the minimum of nothing"});
  const std::pair<Value, Value>* best = &pairs[0];
  for (const auto& pair : pairs) {
    if (Compare(context, kMax ? ">" : "<", pair.first, best->first)) best = &pair;
  }
  return best->second;
}

Value Sum(Context& context, const Value& subject, Arguments& arguments) {
  const Value attribute = arguments.Take("attribute");
  Value sum = arguments.Take("start", Value(int64_t{0}));
  for (const Value& item : Items(context, subject)) {
    sum = Binary(context, "+", sum,
                 attribute.is_undefined() || attribute.is_none() ? item : Path(context, item, attribute));
  }
  return sum;
}

Value Map(Context& context, const Value& subject, Arguments& arguments) {
  std::vector<Value> mapped;
  if (!arguments.has_positional()) {
    const Value attribute = arguments.Require(context, "attribute");
    const Value fallback = arguments.Take("default");
    for (const Value& item : Items(context, subject)) {
      const Value found = Path(context, item, attribute);
      mapped.push_back(found.is_undefined() ? fallback : found);
    }
    return context.List(std::move(mapped));
  }
  const std::string name = arguments.TakeString(context, "filter", "");
  const std::vector<Value> positional = arguments.TakePositional();
  const auto named = arguments.TakeNamed();
  const Filter filter = FindFilter(name);
  if (filter == nullptr)
    return context.FailUnknown(absl::StrCat("the filter '", name.substr(0, 60), "' is not supported"));
  if (filter == Map) return context.FailUnknown("map inside of map is not supported");
  for (const Value& item : Items(context, subject)) {
    Arguments operands(positional, named);
    if (context.Charge(1)) mapped.push_back(filter(context, item, operands));
  }
  return context.List(std::move(mapped));
}

// select, reject, selectattr and rejectattr.
template <bool kByAttribute, bool kKeeps>
Value Select(Context& context, const Value& subject, Arguments& arguments) {
  const Value attribute = kByAttribute ? arguments.Require(context, "attribute") : Value();
  const bool has_test = arguments.has_positional();
  const std::string name = has_test ? arguments.TakeString(context, "test", "") : "";
  const std::vector<Value> positional = arguments.TakePositional();
  const Test test = FindTest(name);
  if (has_test && test == nullptr) {
    return context.FailUnknown(absl::StrCat("the test '", name.substr(0, 60), "' is not supported"));
  }
  std::vector<Value> kept;
  for (const Value& item : Items(context, subject)) {
    if (!context.Charge(1)) break;
    const Value tested = kByAttribute ? Path(context, item, attribute) : item;
    Arguments operands(positional, {});
    if ((has_test ? test(context, tested, operands) : Truthy(tested)) == kKeeps) kept.push_back(item);
  }
  return context.List(std::move(kept));
}

}  // namespace

Filter FindFilter(std::string_view name) {
  constexpr std::pair<std::string_view, Filter> kFilters[] = {{"count", Length},
                                                              {"d", Default},
                                                              {"default", Default},
                                                              {"dictsort", DictSort},
                                                              {"first", First},
                                                              {"items", DictItems},
                                                              {"join", Join},
                                                              {"last", Last},
                                                              {"length", Length},
                                                              {"list", ToList},
                                                              {"map", Map},
                                                              {"max", Extreme<true>},
                                                              {"min", Extreme<false>},
                                                              {"reject", Select<false, false>},
                                                              {"rejectattr", Select<true, false>},
                                                              {"reverse", Reverse},
                                                              {"select", Select<false, true>},
                                                              {"selectattr", Select<true, true>},
                                                              {"sort", Sort},
                                                              {"sum", Sum},
                                                              {"unique", Unique}};
  for (const auto& [known, filter] : kFilters) {
    if (known == name) return filter;
  }
  return FindStringFilter(name);
}

}  // namespace switchyard::jinja
