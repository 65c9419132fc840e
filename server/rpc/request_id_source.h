// Ids for requests that bring none: unique in this process, unguessable from outside.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace switchyard {

// Thread-safe.
class RequestIdSource {
 public:
  RequestIdSource();
  std::string Next();

 private:
  const std::string prefix_;
  std::atomic<uint64_t> next_{0};
};

}  // namespace switchyard
