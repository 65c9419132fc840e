// CHECK for programmers' errors: prints the condition, both values and the place, and aborts.
// Debian 12's Abseil predates absl/log/check.h, whose names and meaning these are.
#pragma once

#include <sstream>
#include <string>

namespace switchyard::internal {

[[noreturn]] void CheckFailed(const char* file, int line, const std::string& what);

template <typename A, typename B>
std::string DescribeComparison(const char* text, const A& a, const B& b) {
  std::ostringstream out;
  out << text << " (" << a << " vs. " << b << ")";
  return out.str();
}

}  // namespace switchyard::internal

#define CHECK(condition) ((condition) ? (void)0 : ::switchyard::internal::CheckFailed(__FILE__, __LINE__, #condition))
#define SWITCHYARD_CHECK_OP(a, op, b)                \
  (((a)op(b)) ? (void)0                              \
              : ::switchyard::internal::CheckFailed( \
                    __FILE__, __LINE__, ::switchyard::internal::DescribeComparison(#a " " #op " " #b, (a), (b))))
#define CHECK_EQ(a, b) SWITCHYARD_CHECK_OP(a, ==, b)
#define CHECK_NE(a, b) SWITCHYARD_CHECK_OP(a, !=, b)
#define CHECK_LT(a, b) SWITCHYARD_CHECK_OP(a, <, b)
#define CHECK_LE(a, b) SWITCHYARD_CHECK_OP(a, <=, b)
#define CHECK_GT(a, b) SWITCHYARD_CHECK_OP(a, >, b)
#define CHECK_GE(a, b) SWITCHYARD_CHECK_OP(a, >=, b)

#ifdef NDEBUG
#define DCHECK(condition) ((void)sizeof(bool(condition)))
#else
#define DCHECK(condition) CHECK(condition)
#endif
#define DCHECK_EQ(a, b) DCHECK((a) == (b))
