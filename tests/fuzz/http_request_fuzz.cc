// libFuzzer target on a connection's bytes up to the engine: no crash, no leak, no broken promise.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/fuzz/http_request_input.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

// Of three mutations two get the Content-Length that their body has: without, hardly a changed body is ever read.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, max_size);
  if (seed % 3 == 0) return size;
  std::string text(reinterpret_cast<const char*>(data), size);
  constexpr std::string_view kName = "Content-Length: ";
  const size_t header_end = text.find("\r\n\r\n");
  const size_t name = text.find(kName);
  if (header_end == std::string::npos || name > header_end) return size;
  const size_t value = name + kName.size();
  const size_t line_end = text.find("\r\n", value);
  text.replace(value, line_end - value, std::to_string(text.size() - header_end - 4));
  size = std::min(text.size(), max_size);
  std::memcpy(data, text.data(), size);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static switchyard::HttpRequestFuzzer fuzzer(SWITCHYARD_SOURCE_DIR "/models/tiny-mixtral");
  const std::string fault = fuzzer.Check({reinterpret_cast<const char*>(data), size});
  if (!fault.empty()) {
    std::fprintf(stderr, "broken promise: %s\n", fault.c_str());
    std::abort();
  }
  return 0;
}
