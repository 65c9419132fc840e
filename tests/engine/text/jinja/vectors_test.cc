// What transformers' own renderer makes of the same templates: tests/reference/make_jinja_vectors.py.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "engine/text/jinja/json.h"
#include "engine/text/jinja/template.h"

namespace switchyard::jinja {
namespace {

using OrderedJson = nlohmann::ordered_json;

std::vector<std::pair<std::string, Value>> Variables(const OrderedJson& object) {
  std::vector<std::pair<std::string, Value>> variables;
  for (const auto& [name, value] : object.items()) variables.emplace_back(name, *ParseJson(value.dump()));
  return variables;
}

absl::StatusOr<std::string> Render(const std::string& source,
                                   const std::vector<std::pair<std::string, Value>>& variables) {
  absl::StatusOr<Template> parsed = Template::Parse(source);
  if (!parsed.ok()) return parsed.status();
  return parsed->Render(variables, {});
}

TEST(JinjaVectors, RendersWhatTransformersRenders) {
  std::ifstream file(SWITCHYARD_SOURCE_DIR "/tests/golden/jinja.json");
  const OrderedJson golden = OrderedJson::parse(file);
  int num_texts = 0;
  int num_faults = 0;
  for (const OrderedJson& group : golden["templates"]) {
    const std::string source = group["template"];
    for (const OrderedJson& wanted : group["cases"]) {
      const bool is_snippet = wanted["variables"].empty();
      const auto variables = Variables(is_snippet ? golden["snippet_variables"] : wanted["variables"]);
      const absl::StatusOr<std::string> text = Render(source, variables);
      SCOPED_TRACE(source.substr(0, 200) + "\n" + wanted["variables"].dump());
      if (wanted.contains("text")) {
        ASSERT_TRUE(text.ok()) << text.status();
        EXPECT_EQ(*text, wanted["text"].get<std::string>());
        ++num_texts;
      } else {
        EXPECT_FALSE(text.ok()) << *text;
        // The template's own words, where it spoke.
        const std::string own = wanted["fault"];
        if (!own.empty()) {
          EXPECT_EQ(text.status().message(), own);
        }
        ++num_faults;
      }
    }
  }
  EXPECT_GE(num_texts, 90);
  EXPECT_GE(num_faults, 35);
}

}  // namespace
}  // namespace switchyard::jinja
