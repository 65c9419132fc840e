#include "engine/constraint/number_range.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

Decimal Parse(std::string text) {
  Decimal decimal;
  decimal.negative = text.starts_with('-');
  if (decimal.negative) text.erase(0, 1);
  const size_t point = text.find('.');
  decimal.whole = text.substr(0, point);
  if (point != std::string::npos) decimal.fraction = text.substr(point + 1);
  decimal.whole.erase(0, std::min(decimal.whole.find_first_not_of('0'), decimal.whole.size() - 1));
  decimal.fraction.erase(decimal.fraction.find_last_not_of('0') + 1);
  if (decimal.whole == "0" && decimal.fraction.empty()) decimal.negative = false;
  return decimal;
}

int CompareMagnitude(const Decimal& a, const Decimal& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
  if (const int order = a.whole.compare(b.whole); order != 0) return order;
  return a.fraction.compare(b.fraction);  // without trailing zeros the shorter of two equal starts is less
}

// Digits from the left. As long as all agree with a bound's, the next must not pass it ("tight"); the first that
// differs decides. Numbers of each length have states of their own until the point.
class MagnitudeBuilder {
 public:
  MagnitudeBuilder(const NumberRange& range, bool fractions, int32_t end, Automaton* automaton)
      : range_(range), fractions_(fractions), end_(end), automaton_(automaton) {}

  void Build(int32_t from) {
    for (int length = 1; length <= kMaxWholeDigits; ++length) {
      const auto digits = static_cast<size_t>(length);
      if (range_.low.has_value() && range_.low->value.whole.size() > digits) continue;
      if (range_.high.has_value() && range_.high->value.whole.size() < digits) continue;
      const Place start = {.length = length,
                           .digit = 0,
                           .low_tight = range_.low.has_value() && range_.low->value.whole.size() == digits,
                           .high_tight = range_.high.has_value() && range_.high->value.whole.size() == digits};
      automaton_->AddEmpty(from, StateOf(start));
    }
    while (!work_.empty() && automaton_->budget().ok()) {
      const Place place = work_.back();
      work_.pop_back();
      Expand(place, StateOf(place));
    }
  }

 private:
  struct Place {
    int length = 0;  // of the whole part; 0: behind the point
    int digit = 0;   // the next one's index, in its part
    bool low_tight = false;
    bool high_tight = false;
    auto operator<=>(const Place&) const = default;  // NOLINT(modernize-use-nullptr): not in newer releases
  };

  int32_t StateOf(const Place& place) {
    const auto [entry, is_new] = states_.try_emplace(place, 0);
    if (is_new) {
      entry->second = automaton_->AddState();
      work_.push_back(place);
    }
    return entry->second;
  }

  void Expand(const Place& place, int32_t state) {
    const bool is_fraction = place.length == 0;
    if (!is_fraction && place.digit == place.length) {
      if (MayEnd(place, 0)) automaton_->AddEmpty(state, end_);
      const int32_t fraction = StateOf({0, 0, place.low_tight, place.high_tight});
      if (fractions_) automaton_->AddByte(state, '.', fraction);
      return;
    }
    if (is_fraction && place.digit > 0 && MayEnd(place, place.digit)) automaton_->AddEmpty(state, end_);
    if (is_fraction && place.digit == kMaxFractionDigits) return;
    const bool leads = !is_fraction && place.digit == 0 && place.length > 1;
    const int low_digit = place.low_tight ? DigitOf(*range_.low, place) : 0;
    const int high_digit = place.high_tight ? DigitOf(*range_.high, place) : 9;
    for (int digit = leads ? std::max(low_digit, 1) : low_digit; digit <= high_digit; ++digit) {
      const Place next = {place.length, place.digit + 1, place.low_tight && digit == low_digit,
                          place.high_tight && digit == high_digit};
      automaton_->AddByte(state, static_cast<char>('0' + digit), StateOf(next));
    }
  }

  static int DigitOf(const NumberRange::Bound& bound, const Place& place) {
    const std::string& digits = place.length == 0 ? bound.value.fraction : bound.value.whole;
    const auto index = static_cast<size_t>(place.digit);
    return index < digits.size() ? digits[index] - '0' : 0;
  }

  // Whether the number may end before this digit of its fraction.
  bool MayEnd(const Place& place, int fraction_digit) const {
    const auto rest_is_zero = [&](const NumberRange::Bound& bound) {
      return static_cast<size_t>(fraction_digit) >= bound.value.fraction.size();
    };
    if (place.low_tight && (!rest_is_zero(*range_.low) || range_.low->excluded)) return false;
    return !place.high_tight || !rest_is_zero(*range_.high) || !range_.high->excluded;
  }

  const NumberRange range_;  // no bound is negative
  const bool fractions_;
  const int32_t end_;
  Automaton* const automaton_;
  std::map<Place, int32_t> states_;
  std::vector<Place> work_;
};

NumberRange::Bound Magnitude(NumberRange::Bound bound) {
  bound.value.negative = false;
  return bound;
}

}  // namespace

Decimal Decimal::Of(int64_t value) { return Parse(absl::StrCat(value)); }
Decimal Decimal::Of(uint64_t value) { return Parse(absl::StrCat(value)); }
Decimal Decimal::Of(double value) {
  std::array<char, 400> text;  // 1.8e308 in full
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  return Parse(std::string(text.data(), end));
}

int Compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  return a.negative ? CompareMagnitude(b, a) : CompareMagnitude(a, b);
}

void NumberRange::RaiseLow(Bound bound) {
  const int order = low.has_value() ? Compare(bound.value, low->value) : 1;
  if (order > 0 || (order == 0 && bound.excluded)) low = std::move(bound);
}

void NumberRange::LowerHigh(Bound bound) {
  const int order = high.has_value() ? Compare(bound.value, high->value) : -1;
  if (order < 0 || (order == 0 && bound.excluded)) high = std::move(bound);
}

bool NumberRange::Contains(const Decimal& value) const {
  const auto inside = [&value](const Bound& bound, int sign) {
    const int order = Compare(value, bound.value) * sign;
    return order > 0 || (order == 0 && !bound.excluded);
  };
  return (!low.has_value() || inside(*low, 1)) && (!high.has_value() || inside(*high, -1));
}

ByteDfa CompileNumberRange(const NumberRange& range, bool fractions, CompileBudget* budget) {
  const NumberRange::Bound zero;
  Automaton automaton(budget);
  const int32_t start = automaton.AddState();
  const int32_t end = automaton.AddState();
  automaton.SetFinal(end);
  const bool low_is_negative = !range.low.has_value() || range.low->value.negative;
  const bool high_is_negative = range.high.has_value() && range.high->value.negative;
  if (!high_is_negative) {
    NumberRange magnitude = {.low = low_is_negative ? zero : *range.low, .high = range.high};
    MagnitudeBuilder(magnitude, fractions, end, &automaton).Build(start);
  }
  if (low_is_negative) {
    NumberRange magnitude = {.low = NumberRange::Bound{.value = {}, .excluded = true}};
    if (range.low.has_value()) magnitude.high = Magnitude(*range.low);
    if (high_is_negative) magnitude.low = Magnitude(*range.high);
    MagnitudeBuilder(magnitude, fractions, end, &automaton).Build(automaton.AddText(start, "-"));
  }
  return budget->ok() ? Determinize(automaton, start) : ByteDfa();
}

ByteDfa CompileMultiples(int64_t divisor, CompileBudget* budget) {
  if (!budget->SpendStates(divisor)) return {};
  Automaton automaton(budget);
  const int32_t start = automaton.AddState();
  const int32_t sign = automaton.AddText(start, "-");
  std::vector<int32_t> remainders;
  for (int64_t i = 0; i < divisor; ++i) remainders.push_back(automaton.AddState());
  const auto add_digits = [&](int32_t from, int64_t remainder) {
    for (int64_t digit = 0; digit < 10 && budget->ok(); ++digit) {
      const auto next = static_cast<size_t>((remainder * 10 + digit) % divisor);
      automaton.AddByte(from, static_cast<char>('0' + digit), remainders[next]);
    }
  };
  add_digits(start, 0);
  add_digits(sign, 0);
  for (int64_t i = 0; i < divisor && budget->ok(); ++i) add_digits(remainders[static_cast<size_t>(i)], i);
  if (!budget->ok()) return {};
  automaton.SetFinal(remainders[0]);
  return Determinize(automaton, start);
}

}  // namespace switchyard
