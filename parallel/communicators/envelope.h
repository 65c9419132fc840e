// The message with which each rank opens an exchange with each other (communicators/gloo_mesh.h).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "parallel/communicators/call.h"

namespace switchyard {

// Leads the envelope. A notice says why its sender has failed; otherwise the call's parts that fit follow, in order.
struct EnvelopeHead {
  CallSignature call;
  std::array<uint64_t, Communicator::kMaxTransfers> part_bytes = {};
  uint32_t data_bytes = 0;
  int32_t notice = 0;  // absl::StatusCode; the data are its text. 0: not a notice
};

constexpr size_t kEnvelopeBytes = 64 * 1024;
constexpr size_t kEnvelopeDataBytes = kEnvelopeBytes - sizeof(EnvelopeHead);

// Calls visit(i, in_envelope) for each part of a message: sender and receiver decide alike which parts are in the
// envelope and which follow in messages of their own.
template <typename Visit>
void ForEachPart(const EnvelopeHead& head, Visit visit) {
  size_t used = 0;
  for (uint32_t i = 0; i < head.call.num_transfers; ++i) {
    const bool fits = head.part_bytes[i] <= kEnvelopeDataBytes - used;
    if (fits) used += head.part_bytes[i];
    visit(i, fits);
  }
}

inline EnvelopeHead ReadEnvelopeHead(std::span<const std::byte> envelope) {
  EnvelopeHead head;
  std::memcpy(&head, envelope.data(), sizeof(head));
  return head;
}

// The status that a notice carries; OK where the envelope is none.
inline absl::Status ReadNotice(std::span<const std::byte> envelope) {
  const EnvelopeHead head = ReadEnvelopeHead(envelope);
  if (head.notice == 0) return absl::OkStatus();
  const auto* text = reinterpret_cast<const char*>(envelope.data() + sizeof(head));
  return absl::Status(static_cast<absl::StatusCode>(head.notice),
                      absl::string_view(text, std::min<size_t>(head.data_bytes, kEnvelopeDataBytes)));
}

inline std::vector<std::byte> WriteNotice(const absl::Status& reason) {
  const absl::string_view text = reason.message().substr(0, kEnvelopeDataBytes);
  const EnvelopeHead head{.data_bytes = static_cast<uint32_t>(text.size()), .notice = static_cast<int>(reason.code())};
  std::vector<std::byte> notice(sizeof(head) + text.size());
  std::memcpy(notice.data(), &head, sizeof(head));
  if (!text.empty()) std::memcpy(notice.data() + sizeof(head), text.data(), text.size());
  return notice;
}

}  // namespace switchyard
