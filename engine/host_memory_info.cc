#include "engine/host_memory_info.h"

#include <fstream>
#include <string>

namespace switchyard {

absl::StatusOr<int64_t> AvailableHostBytes() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  int64_t kibibytes = 0;
  std::string rest;
  while (file >> name >> kibibytes && std::getline(file, rest)) {
    if (name == "MemAvailable:") return kibibytes * 1024;
  }
  return absl::UnavailableError("/proc/meminfo does not say how much memory is available");
}

}  // namespace switchyard
