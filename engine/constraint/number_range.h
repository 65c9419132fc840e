// Decimal numbers between two bounds, as an automaton over their digits.
#pragma once

#include <optional>
#include <string>

#include "engine/constraint/byte_dfa.h"

namespace switchyard {

// A decimal number exactly as written: no exponent, no superfluous zeros.
struct Decimal {
  bool negative = false;  // never of zero
  std::string whole = "0";
  std::string fraction;

  static Decimal Of(int64_t value);
  static Decimal Of(uint64_t value);
  static Decimal Of(double value);  // finite; the shortest digits that stand for it
};
// < 0: a is less; 0: equal; > 0: a is greater.
int Compare(const Decimal& a, const Decimal& b);

struct NumberRange {
  struct Bound {
    Decimal value;
    bool excluded = false;
  };
  std::optional<Bound> low;
  std::optional<Bound> high;

  // Narrow the range, if the bound does.
  void RaiseLow(Bound bound);
  void LowerHigh(Bound bound);
  bool Contains(const Decimal& value) const;
  bool unbounded() const { return !low.has_value() && !high.has_value(); }
};

// So long may a generated number become: a model that goes on writing digits comes to an end.
constexpr int kMaxWholeDigits = 18;
constexpr int kMaxFractionDigits = 17;

// The numbers of the range, written without exponent, leading zeros or "-0"; with `fractions` also such as 1.50.
ByteDfa CompileNumberRange(const NumberRange& range, bool fractions, CompileBudget* budget);
// The whole numbers that `divisor`, 1 or more, divides.
ByteDfa CompileMultiples(int64_t divisor, CompileBudget* budget);

}  // namespace switchyard
