#include "parallel/communicators/agreement.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace switchyard {
namespace {

// One rank's Status: its code, then its text, ended by a zero.
constexpr size_t kRecordBytes = 256;

}  // namespace

absl::Status Agree(Communicator& host, const absl::Status& own) {
  std::vector<uint8_t> mine(kRecordBytes);
  mine[0] = static_cast<uint8_t>(own.code());
  const size_t length = std::min(own.message().size(), kRecordBytes - 2);
  std::copy_n(own.message().begin(), length, mine.begin() + 1);
  std::vector<uint8_t> all(kRecordBytes * host.size());
  const absl::Status gathered =
      host.AllGather(ConstTensorView::Of(std::span<const uint8_t>(mine)), TensorView::Of(std::span(all)));
  if (!gathered.ok()) return gathered;
  for (int r = 0; r < host.size(); ++r) {
    const uint8_t* record = all.data() + r * kRecordBytes;
    if (record[0] == 0) continue;
    return absl::Status(static_cast<absl::StatusCode>(record[0]),
                        absl::StrCat("rank ", r, ": ", reinterpret_cast<const char*>(record + 1)));
  }
  return absl::OkStatus();
}

}  // namespace switchyard
