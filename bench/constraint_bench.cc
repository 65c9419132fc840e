// What constrained decoding costs on the host: compiling a schema, the first masks, and those of later steps.
//
//   constraint_bench [DOCUMENTS]
//
// Over a made-up vocabulary of 32000 tokens with the shape of a real one: every byte, words with and without a leading
// space, and the runs of punctuation that JSON is written with. Limit to compare with: a step of a model of 8x7B on two
// cards takes some 10 ms, one of the bundled model 0.3 ms.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "engine/constraint/constraint_compiler.h"

namespace switchyard {
namespace {

constexpr int32_t kVocab = 32000;

class MadeUpTokenizer : public Tokenizer {
 public:
  MadeUpTokenizer() : pieces_({"<unk>", "<s>", "</s>"}) {
    std::set<std::string> known;
    const auto add = [&](const std::string& piece) {
      if (pieces_.size() < kVocab && known.insert(piece).second) pieces_.push_back(piece);
    };
    for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
    for (const char* piece :
         {"{\"", "\"}", "\":",  "\": ", "\",", "\", \"", "}}",  "}]",  "}}}", "]]",  "[[", "[{\"",  "],[",   "\"\"",
          "{}",  "[]",  "\\\"", "\\n",  "\\u", "://",    "\")", "(\"", "\">", "=\"", "';", "\",\"", "\":{\""}) {
      add(piece);
    }
    std::mt19937 random(1);
    const std::string letters = "eeeeetttaaooiinnsshhrrddlucmfwypvbgkjqxz";
    while (pieces_.size() < kVocab) {
      std::string word = random() % 2 == 0 ? " " : "";
      for (size_t i = 2 + random() % 6; i > 0; --i) word += letters[random() % letters.size()];
      add(word);
      if (random() % 40 == 0) add(word + "\"");
      if (random() % 30 == 0) add(std::to_string(random() % 1000));
      if (random() % 20 == 0) add({static_cast<char>(0xD0 + random() % 2), static_cast<char>(0x80 + random() % 64)});
    }
  }
  int32_t vocab_size() const override { return kVocab; }
  std::optional<int32_t> bos_id() const override { return 1; }
  std::optional<int32_t> eos_id() const override { return 2; }
  std::vector<int32_t> Encode(std::string_view, const EncodeOptions&) const override { return {}; }
  std::string_view Bytes(int32_t id) const override { return pieces_[static_cast<size_t>(id)]; }
  bool drops_leading_space() const override { return false; }
  std::string Piece(int32_t id) const override { return pieces_[static_cast<size_t>(id)]; }
  bool IsSpecial(int32_t id) const override { return id < 3; }

 private:
  std::vector<std::string> pieces_;
};

struct Kind {
  const char* name;
  ConstraintSpec spec;
};

std::vector<Kind> Kinds() {
  const auto schema = [](const char* text) {
    return ConstraintSpec{.kind = ConstraintSpec::Kind::kJsonSchema, .text = text};
  };
  return {
      {"json_object", {}},
      {"flat object",
       schema(
           R"({"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},
                  "email":{"type":"string"},"active":{"type":"boolean"}},"required":["name","age","email","active"]})")},
      {"nested, recursive",
       schema(R"({"$defs":{"node":{"type":"object","properties":{"title":{"type":"string"},"score":{"type":"number"},
                  "children":{"type":"array","items":{"$ref":"#/$defs/node"}}},"required":["title","children"]}},"$ref":"#/$defs/node"})")},
      {"maxLength 1000",
       schema(R"({"type":"object","properties":{"text":{"type":"string","maxLength":1000}},"required":["text"]})")},
      {"patterns and formats",
       schema(
           R"({"type":"object","properties":{"id":{"type":"string","format":"uuid"},"at":{"type":"string","format":"date-time"},
                  "code":{"type":"string","pattern":"^[A-Z]{3}-[0-9]{4}$"}},"required":["id","at","code"]})")},
      {"regex", {.kind = ConstraintSpec::Kind::kRegex, .text = "([a-z]+ ){3,20}end"}},
  };
}

double Microseconds(absl::Time begin) { return absl::ToDoubleMicroseconds(absl::Now() - begin); }

// Masks of every step of one document, in microseconds: the mask, and reading the token drawn.
std::vector<double> Generate(const std::shared_ptr<Grammar>& grammar, std::mt19937& random) {
  std::vector<double> times;
  GrammarMatcher matcher(grammar);
  for (int step = 0; step < 200; ++step) {
    const absl::Time begin = absl::Now();
    const auto mask = matcher.Allowed();
    double time = Microseconds(begin);
    std::vector<int32_t> ids;
    for (int32_t id = 0; id < kVocab; ++id) {
      if (((*mask)[static_cast<size_t>(id) / 32] >> (id % 32) & 1u) != 0) ids.push_back(id);
    }
    if (ids.empty()) break;
    const int32_t id = ids[random() % ids.size()];
    const absl::Time accept = absl::Now();
    if (!matcher.Accept(id).ok()) break;
    times.push_back(time + Microseconds(accept));
  }
  return times;
}

void Run(int num_documents) {
  const MadeUpTokenizer tokenizer;
  const absl::Time begin = absl::Now();
  ConstraintCompiler compiler(&tokenizer, kVocab);
  std::printf("tree of %d tokens: %.1f ms, %zu nodes\n\n", kVocab, Microseconds(begin) / 1e3,
              compiler.trie().nodes().size());
  std::printf("%-22s %10s %12s %10s %10s %10s\n", "", "compile ms", "first doc us", "median us", "p99 us", "max us");
  for (const Kind& kind : Kinds()) {
    const absl::Time start = absl::Now();
    const auto grammar = compiler.Compile(kind.spec);
    const double compile_ms = Microseconds(start) / 1e3;
    if (!grammar.ok()) {
      std::printf("%-22s %s\n", kind.name, std::string(grammar.status().message()).c_str());
      continue;
    }
    std::mt19937 random(2);
    const std::vector<double> first = Generate(*grammar, random);
    std::vector<double> later;
    for (int i = 0; i < num_documents; ++i) {
      const std::vector<double> times = Generate(*grammar, random);
      later.insert(later.end(), times.begin(), times.end());
    }
    std::sort(later.begin(), later.end());
    std::printf("%-22s %10.2f %12.1f %10.2f %10.2f %10.1f\n", kind.name, compile_ms,
                *std::max_element(first.begin(), first.end()), later[later.size() / 2], later[later.size() * 99 / 100],
                later.back());
  }
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) {
  switchyard::Run(argc > 1 ? std::atoi(argv[1]) : 50);
  return 0;
}
