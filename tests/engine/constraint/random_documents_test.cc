// Whatever tokens are drawn under a mask, the result is a valid document: with the bundled tokenizer.
#include <gtest/gtest.h>

#include <random>

#include "engine/text/tokenizer.h"
#include "tests/engine/constraint/piece_tokenizer.h"
#include "tests/engine/constraint/schema_validator.h"
#include "tests/engine/constraint/test_schemas.h"

namespace switchyard {
namespace {

std::vector<int32_t> Allowed(const TokenMask& mask) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < mask.size(); ++i) {
    for (uint32_t bits = mask[i]; bits != 0; bits &= bits - 1) {
      ids.push_back(static_cast<int32_t>(i * 32 + static_cast<size_t>(__builtin_ctz(bits))));
    }
  }
  return ids;
}

// Draws evenly, but more and more of the tokens that have a quote, bracket or comma, so that strings come to an end.
std::string Wander(const std::shared_ptr<Grammar>& grammar, const Tokenizer& tokenizer, std::mt19937& random) {
  GrammarMatcher matcher(grammar);
  std::string text;
  for (int step = 0; step < 2000; ++step) {
    const auto mask = matcher.Allowed();
    if (!mask.ok()) return mask.status().ToString();
    std::vector<int32_t> ids = Allowed(*mask);
    if (matcher.MayEnd() && (ids.empty() || random() % 4 == 0)) return text;
    if (ids.empty()) return "a dead end after " + text;
    std::vector<int32_t> closing;
    for (const int32_t id : ids) {
      if (tokenizer.Bytes(id).find_first_of("\"]}") != std::string_view::npos) closing.push_back(id);
    }
    if (!closing.empty() && random() % 20 < static_cast<unsigned>(step)) ids = closing;
    const int32_t id = ids[random() % ids.size()];
    text += tokenizer.Bytes(id);
    if (const absl::Status status = matcher.Accept(id); !status.ok()) return status.ToString();
  }
  return "no end: " + text;
}

TEST(RandomDocuments, AreValid) {
  const auto tokenizer = Tokenizer::Open(SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral");
  ASSERT_TRUE(tokenizer.ok());
  ConstraintCompiler compiler(tokenizer->get(), (*tokenizer)->vocab_size());
  std::mt19937 random(3);
  for (const std::string& schema : TestSchemas()) {
    const auto grammar = compiler.Compile(SchemaSpec(schema));
    ASSERT_TRUE(grammar.ok()) << schema << ": " << grammar.status();
    const auto parsed = nlohmann::json::parse(schema);
    for (int round = 0; round < 30; ++round) {
      const std::string text = Wander(*grammar, **tokenizer, random);
      const auto document = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
      ASSERT_FALSE(document.is_discarded()) << schema << ": " << text;
      ASSERT_TRUE(IsValid(document, parsed, parsed)) << schema << ": " << text;
    }
  }
}

}  // namespace
}  // namespace switchyard
