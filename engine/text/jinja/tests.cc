// What stands behind "is".
#include "absl/strings/str_cat.h"
#include "engine/text/jinja/builtins.h"
#include "engine/text/jinja/text.h"

namespace switchyard::jinja {
namespace {

template <bool (Value::*kIs)() const>
bool Is(Context&, const Value& subject, Arguments&) {
  return (subject.*kIs)();
}

bool IsDefined(Context&, const Value& subject, Arguments&) { return !subject.is_undefined(); }
bool IsSequence(Context&, const Value& subject, Arguments&) {
  return subject.is_string() || subject.is_list() || subject.is_dict() || subject.is_undefined();
}
bool IsTrue(Context&, const Value& subject, Arguments&) { return subject.is_bool() && subject.integer() != 0; }
bool IsFalse(Context&, const Value& subject, Arguments&) { return subject.is_bool() && subject.integer() == 0; }
bool IsLower(Context& context, const Value& subject, Arguments&) {
  const std::string text = Text(context, subject);
  return text == Lower(text) && text != Upper(text);
}
bool IsUpper(Context& context, const Value& subject, Arguments&) {
  const std::string text = Text(context, subject);
  return text == Upper(text) && text != Lower(text);
}

int64_t Remainder(Context& context, const Value& subject, int64_t divisor) {
  const Value remainder = Binary(context, "%", subject, Value(divisor));
  return remainder.is_int() ? remainder.integer() : remainder.is_float() && remainder.number() == 0 ? 0 : 1;
}
bool IsEven(Context& context, const Value& subject, Arguments&) { return Remainder(context, subject, 2) == 0; }
bool IsOdd(Context& context, const Value& subject, Arguments&) { return Remainder(context, subject, 2) == 1; }
bool IsDivisibleBy(Context& context, const Value& subject, Arguments& arguments) {
  return Remainder(context, subject, arguments.TakeInteger(context, "num", 1)) == 0;
}

template <char kFirst, char kSecond>
bool Compared(Context& context, const Value& subject, Arguments& arguments) {
  constexpr char kOperator[] = {kFirst, kSecond, '\0'};
  return Compare(context, kOperator, subject, arguments.Require(context, "other"));
}

bool IsSameAs(Context& context, const Value& subject, Arguments& arguments) {
  const Value other = arguments.Require(context, "other");
  return std::string_view(TypeName(subject)) == TypeName(other) && Compare(context, "==", subject, other);
}

}  // namespace

Test FindTest(std::string_view name) {
  constexpr std::pair<std::string_view, Test> kTests[] = {{"boolean", Is<&Value::is_bool>},
                                                          {"callable", Is<&Value::is_function>},
                                                          {"defined", IsDefined},
                                                          {"divisibleby", IsDivisibleBy},
                                                          {"eq", Compared<'=', '='>},
                                                          {"equalto", Compared<'=', '='>},
                                                          {"even", IsEven},
                                                          {"false", IsFalse},
                                                          {"float", Is<&Value::is_float>},
                                                          {"ge", Compared<'>', '='>},
                                                          {"greaterthan", Compared<'>', '\0'>},
                                                          {"gt", Compared<'>', '\0'>},
                                                          {"in", Compared<'i', 'n'>},
                                                          {"integer", Is<&Value::is_int>},
                                                          {"iterable", IsSequence},
                                                          {"le", Compared<'<', '='>},
                                                          {"lessthan", Compared<'<', '\0'>},
                                                          {"lower", IsLower},
                                                          {"lt", Compared<'<', '\0'>},
                                                          {"mapping", Is<&Value::is_dict>},
                                                          {"ne", Compared<'!', '='>},
                                                          {"none", Is<&Value::is_none>},
                                                          {"number", Is<&Value::is_number>},
                                                          {"odd", IsOdd},
                                                          {"sameas", IsSameAs},
                                                          {"sequence", IsSequence},
                                                          {"string", Is<&Value::is_string>},
                                                          {"true", IsTrue},
                                                          {"undefined", Is<&Value::is_undefined>},
                                                          {"upper", IsUpper},
                                                          {"==", Compared<'=', '='>},
                                                          {"!=", Compared<'!', '='>},
                                                          {"<", Compared<'<', '\0'>},
                                                          {"<=", Compared<'<', '='>},
                                                          {">", Compared<'>', '\0'>},
                                                          {">=", Compared<'>', '='>}};
  for (const auto& [known, test] : kTests) {
    if (known == name) return test;
  }
  return nullptr;
}

}  // namespace switchyard::jinja
