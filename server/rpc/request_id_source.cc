#include "server/rpc/request_id_source.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace switchyard {

RequestIdSource::RequestIdSource()
    : prefix_([] {
        std::random_device device;
        return absl::StrFormat("grpc-%08x%08x-", device(), device());
      }()) {}

std::string RequestIdSource::Next() { return absl::StrCat(prefix_, next_.fetch_add(1)); }

}  // namespace switchyard
