#include "server/http/sse.h"

namespace switchyard::http {

void AppendEvent(std::string_view data, std::string* out) {
  while (true) {
    const size_t end = data.find('\n');
    out->append("data: ").append(data.substr(0, end)).push_back('\n');
    if (end == std::string_view::npos) break;
    data.remove_prefix(end + 1);
  }
  out->push_back('\n');
}

}  // namespace switchyard::http
