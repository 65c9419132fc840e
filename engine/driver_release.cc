#include "engine/driver_release.h"

#include <fstream>
#include <sstream>

namespace switchyard {

std::string ParseDriverRelease(const std::string& text) {
  std::istringstream words(text);
  std::string word;
  while (words >> word) {
    const bool is_number = word.find_first_not_of("0123456789.") == std::string::npos;
    if (is_number && word.find('.') != std::string::npos && word.front() != '.' && word.back() != '.') return word;
  }
  return "";
}

std::string DriverRelease() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::ostringstream text;
  text << file.rdbuf();
  const std::string release = ParseDriverRelease(text.str());
  return release.empty() ? "unknown" : release;
}

}  // namespace switchyard
