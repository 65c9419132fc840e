// Templates and messages made to exhaust time, memory or the stack; constructs that are not known.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "engine/text/jinja/json.h"
#include "engine/text/jinja/template.h"

namespace switchyard::jinja {
namespace {

absl::Status StatusOf(const std::string& source, const std::string& variable = "null", const Limits& limits = {}) {
  absl::StatusOr<Template> parsed = Template::Parse(source);
  if (!parsed.ok()) return parsed.status();
  const absl::StatusOr<Value> value = ParseJson(variable);
  if (!value.ok()) return value.status();
  return parsed->Render({{"x", *value}}, {.now = absl::UnixEpoch(), .limits = limits}).status();
}

std::string Repeated(const std::string& part, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += part;
  return text;
}

TEST(JinjaLimits, BombsMeetALimitAndSayWhere) {
  const std::vector<std::string> bombs = {
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
      "{{ 'a' * 10000000000 }}",
      "{{ 'abcdefgh' * 9223372036854775807 }}",
      "{{ [1] * 10000000000 }}",
      "{% set ns = namespace(s='x') %}{% for a in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "{% set ns = namespace(s='xxxx') %}{% for a in range(9) %}{% set ns.s = ns.s.replace('x', ns.s) %}{% endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for a in range(100) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
      // Each value is small and shared, its text is not.
      "{% set ns = namespace(l=[1]) %}{% for a in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | "
      "tojson }}",
      "{% set ns = namespace(l=[1]) %}{% for a in range(60) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
      "{% set ns = namespace(l=[1], m=[1]) %}{% for a in range(60) %}{% set ns.l = [ns.l, ns.l] %}"
      "{% set ns.m = [ns.m, ns.m] %}{% endfor %}{{ ns.l == ns.m }}",
      "{% set ns = namespace(l=[1]) %}{% for a in range(5000) %}{% set ns.l = [ns.l] %}{% endfor %}",
      "{% macro m(k) %}{{ m(k) }}{{ m(k) }}{% endmacro %}{{ m(1) }}",
      "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
      "{% set big = 'word ' * 1000000 %}{% for a in range(100000) %}{{ 'z' in big }}{% endfor %}",
      "{% set big = 'word ' * 1000000 %}{% for a in range(1000) %}{{ big }}{% endfor %}",
      "{{ range(100000) | list | unique | list | length }}",
      "{{ ('a\n' * 1000000) | indent(1000) }}",
  };
  for (const std::string& bomb : bombs) {
    // The first with the limits that a server has, the others with less to do for the test.
    const absl::Status status =
        &bomb == &bombs[0] ? StatusOf(bomb) : StatusOf(bomb, "null", {.max_steps = 300'000, .max_bytes = 16 << 20});
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << bomb << "\n" << status;
    EXPECT_NE(status.message().find(": the template passes its limit"), std::string::npos) << status;
  }
}

TEST(JinjaLimits, DeepNestingIsRefusedWhileParsing) {
  for (const std::string& source :
       {"{{ " + Repeated("(", 100000) + "1" + Repeated(")", 100000) + " }}",
        "{{ " + Repeated("[", 100000) + Repeated("]", 100000) + " }}", "{{ " + Repeated("not ", 100000) + "1 }}",
        "{{ " + Repeated("-", 100000) + "1 }}", "{{ 1" + Repeated(" + 1", 100000) + " }}",
        "{{ x" + Repeated(".a", 100000) + " }}", "{{ x" + Repeated("|trim", 100000) + " }}",
        "{{ 1" + Repeated(" if 1 else 1", 100000) + " }}", Repeated("{% if 1 %}", 100000),
        "{{ x" + Repeated("[x", 100000) + Repeated("]", 100000) + " }}",
        "{{ x" + Repeated(" is defined", 100000) + " }}",
        "{{ x" + Repeated("(x", 100000) + Repeated(")", 100000) + " }}"}) {
    const absl::Status status = StatusOf(source);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << source.substr(0, 40) << status;
  }
}

TEST(JinjaLimits, DeepJsonIsRefused) {
  EXPECT_FALSE(ParseJson(Repeated("[", 100000)).ok());
  EXPECT_FALSE(ParseJson(Repeated("{\"a\":", 100000)).ok());
  EXPECT_TRUE(ParseJson(Repeated("[", kMaxJsonDepth) + Repeated("]", kMaxJsonDepth)).ok());
}

TEST(JinjaUnknown, ConstructsAreNamedWithTheirLine) {
  const std::vector<std::pair<std::string, std::string>> unknown = {
      {"a\n{% include 'x' %}", "line 2: the tag {% include %} is not supported"},
      {"{% extends 'x' %}", "line 1: the tag {% extends %}"},
      {"\n\n{{ x | batch(2) }}", "line 3: the filter 'batch' is not supported"},
      {"{{ x is filter }}", "line 1: the test 'is filter' is not supported"},
      {"{{ 2 ** 3 }}", "line 1: the operator ** is not supported"},
      {"{% for a in x recursive %}{% endfor %}", "line 1: recursive loops are not supported"},
      {"{{ range(*x) }}", "line 1: unpacked arguments"},
      {"{{ 'a'.center(3) }}", "line 1: the method 'center' of a str is not supported"},
      {"{{ ['a'] | map('batch') | list }}", "line 1: the filter 'batch' is not supported"},
      {"{{ '%x' % 3 }}", "line 1: the format '%x' is not supported"},
  };
  for (const auto& [source, message] : unknown) {
    const absl::Status status = StatusOf(source, "[1]");
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << source << status;
    EXPECT_NE(status.message().find(message), std::string::npos) << status;
  }
}

TEST(JinjaUnknown, RefusalsOfTheTemplateAreItsOwnWords) {
  const absl::Status status = StatusOf("{{ raise_exception('roles must alternate') }}");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "roles must alternate");
}

TEST(JinjaSandbox, NothingOutlivesItsScope) {
  for (const char* source :
       {"{% macro m() %}{% endmacro %}{% set l = [m] %}", "{% set ns = namespace() %}{% set l = {'a': ns} %}",
        "{% set ns = namespace() %}{% set ns.me = ns %}",
        "{% set ns = namespace() %}{% macro m() %}{% endmacro %}{% set ns.m = m %}"}) {
    EXPECT_EQ(StatusOf(source).code(), absl::StatusCode::kInvalidArgument) << source;
  }
}

TEST(JinjaTime, StrftimeNowTellsTheTimeGiven) {
  absl::StatusOr<Template> parsed = Template::Parse("{{ strftime_now('%Y') }}");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*parsed->Render({}, {.now = absl::UnixEpoch() + absl::Hours(24 * 400), .limits = {}}), "1971");
}

}  // namespace
}  // namespace switchyard::jinja
