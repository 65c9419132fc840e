// libFuzzer target on the tokenizer.json loader and what it makes: no crash, no leak, no broken promise.
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/tokenizer_json_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string fault = switchyard::CheckTokenizerJsonInput({reinterpret_cast<const char*>(data), size});
  if (!fault.empty()) {
    std::fprintf(stderr, "broken promise: %s\n", fault.c_str());
    std::abort();
  }
  return 0;
}
