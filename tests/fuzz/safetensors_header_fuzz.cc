// libFuzzer target on the safetensors header parser: no crash, no leak, no broken promise, whatever the bytes.
#include <cstdio>
#include <cstdlib>

#include "tests/fuzz/safetensors_header_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string fault = switchyard::CheckSafetensorsHeaderInput({reinterpret_cast<const std::byte*>(data), size});
  if (!fault.empty()) {
    std::fprintf(stderr, "broken promise: %s\n", fault.c_str());
    std::abort();
  }
  return 0;
}
