// Encodes every line of a file with a model directory's tokenizer, and says how fast.
//
//   tokenizer_bench DIRECTORY LINES [IDS]
//
// LINES has one text a line as a JSON string (so that a text may have line ends). IDS, if given, gets the ids of each
// text on a line of its own, for tests/reference/compare_tokenizer_json.py. One thread; processor time, without
// reading. The limit that the rate is held against is that of Hugging Face's `tokenizers` on the same texts and one
// thread, which that script prints.
#include <cstdio>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/text/tokenizer.h"

namespace switchyard {
namespace {

int Run(const std::string& directory, const std::string& lines_path, const char* ids_path) {
  const auto seconds_since = [](std::clock_t begin) {
    return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  };
  const std::clock_t begin_open = std::clock();
  const auto tokenizer = Tokenizer::Open(directory);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.status().ToString().c_str());
    return 1;
  }
  const double open_s = seconds_since(begin_open);

  std::ifstream file(lines_path);
  std::vector<std::string> texts;
  size_t num_bytes = 0;
  for (std::string line; std::getline(file, line);) {
    texts.push_back(nlohmann::json::parse(line).get<std::string>());
    num_bytes += texts.back().size();
  }
  if (texts.empty()) {
    std::fprintf(stderr, "%s: has no lines\n", lines_path.c_str());
    return 1;
  }
  std::vector<std::vector<int32_t>> ids;
  ids.reserve(texts.size());
  size_t num_tokens = 0;
  const std::clock_t begin = std::clock();
  for (const std::string& text : texts) {
    ids.push_back((*tokenizer)->Encode(text, {.parse_special_tokens = true}));
    num_tokens += ids.back().size();
  }
  const double encode_s = seconds_since(begin);
  std::printf("opened in %.3f s; %zu texts, %zu bytes, %zu tokens in %.3f s: %.2f million tokens/s, %.1f MB/s\n",
              open_s, texts.size(), num_bytes, num_tokens, encode_s, static_cast<double>(num_tokens) / encode_s / 1e6,
              static_cast<double>(num_bytes) / encode_s / 1e6);
  if (ids_path == nullptr) return 0;
  std::ofstream out(ids_path);
  for (const std::vector<int32_t>& text_ids : ids) {
    for (size_t i = 0; i < text_ids.size(); ++i) out << (i == 0 ? "" : " ") << text_ids[i];
    out << '\n';
  }
  return out.flush() ? 0 : 1;
}

}  // namespace
}  // namespace switchyard

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) {
    std::fprintf(stderr, "usage: tokenizer_bench DIRECTORY LINES [IDS]\n");
    return 2;
  }
  return switchyard::Run(argv[1], argv[2], argc == 4 ? argv[3] : nullptr);
}
