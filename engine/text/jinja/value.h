// What expressions of a chat template evaluate to: Python's values, as far as templates see them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace switchyard::jinja {

class Value;
struct List;
struct Dict;
struct Namespace;
struct Function;

// Printed as nothing, iterated as nothing, false; any other use is an error that says `name`.
struct Undefined {
  std::string name;
};
struct None {};

// What it costs to walk a value to its leaves, where a part that occurs twice counts twice.
struct Extent {
  int depth = 1;       // levels of lists and dictionaries, this one included; 0 for what is neither
  int64_t weight = 1;  // values in it, strings by their length; saturates at kMaxWeight
};
inline constexpr int64_t kMaxWeight = int64_t{1} << 40;

// Copies share what they hold. Lists and dictionaries are immutable, as in jinja2's ImmutableSandboxedEnvironment, and
// hold neither namespaces nor functions: so there are no cycles, and no function outlives the scope it refers to.
class Value {
 public:
  Value() : data_(Undefined{}) {}
  explicit Value(Undefined value) : data_(std::move(value)) {}
  explicit Value(None value) : data_(value) {}
  explicit Value(bool value) : data_(value) {}
  explicit Value(int64_t value) : data_(value) {}
  explicit Value(double value) : data_(value) {}
  explicit Value(std::string value) : data_(std::make_shared<const std::string>(std::move(value))) {}
  explicit Value(std::shared_ptr<const List> value) : data_(std::move(value)) {}
  explicit Value(std::shared_ptr<const Dict> value) : data_(std::move(value)) {}
  explicit Value(std::shared_ptr<Namespace> value) : data_(std::move(value)) {}
  explicit Value(std::shared_ptr<const Function> value) : data_(std::move(value)) {}

  bool is_undefined() const { return Is<Undefined>(); }
  bool is_none() const { return Is<None>(); }
  bool is_bool() const { return Is<bool>(); }
  bool is_int() const { return Is<int64_t>(); }  // a boolean is none
  bool is_float() const { return Is<double>(); }
  bool is_number() const { return is_bool() || is_int() || is_float(); }
  bool is_string() const { return Is<std::shared_ptr<const std::string>>(); }
  bool is_list() const { return Is<std::shared_ptr<const List>>(); }
  bool is_dict() const { return Is<std::shared_ptr<const Dict>>(); }
  bool is_namespace() const { return Is<std::shared_ptr<Namespace>>(); }
  bool is_function() const { return Is<std::shared_ptr<const Function>>(); }

  // Only of that kind.
  const std::string& undefined_name() const { return std::get<Undefined>(data_).name; }
  int64_t integer() const { return is_bool() ? std::get<bool>(data_) : std::get<int64_t>(data_); }
  double number() const { return is_float() ? std::get<double>(data_) : static_cast<double>(integer()); }
  const std::string& string() const { return *std::get<std::shared_ptr<const std::string>>(data_); }
  const std::vector<Value>& list() const;
  const Extent& list_extent() const;
  const Dict& dict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Namespace& name_space() const { return *std::get<std::shared_ptr<Namespace>>(data_); }
  const Function& function() const { return *std::get<std::shared_ptr<const Function>>(data_); }

 private:
  template <typename T>
  bool Is() const {
    return std::holds_alternative<T>(data_);
  }

  std::variant<Undefined, None, bool, int64_t, double, std::shared_ptr<const std::string>, std::shared_ptr<const List>,
               std::shared_ptr<const Dict>, std::shared_ptr<Namespace>, std::shared_ptr<const Function>>
      data_;
};

struct List {
  std::vector<Value> items;
  Extent extent;
};

// Keys are strings, in the order of insertion.
struct Dict {
  std::vector<std::pair<std::string, Value>> entries;
  Extent extent;

  const Value* Find(std::string_view key) const;  // null: none. Linear; the last of equal keys
};

// jinja's namespace(): what {% set ns.x = … %} changes.
struct Namespace {
  Dict attributes;
};

Extent ExtentOf(const Value& value);
Value MakeList(std::vector<Value> items);
Value MakeDict(std::vector<std::pair<std::string, Value>> entries);

bool Truthy(const Value& value);
bool Equal(const Value& a, const Value& b);
// "str", "int", "dict", … for messages.
const char* TypeName(const Value& value);

// As Python's str() and repr() write them, appended to `text`.
void AppendText(const Value& value, std::string* text);
void AppendRepr(const Value& value, std::string* text);
std::string FloatText(double value);

}  // namespace switchyard::jinja
