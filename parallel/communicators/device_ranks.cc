#include "parallel/communicators/device_ranks.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "parallel/communicators/nccl.h"
#include "parallel/communicators/staged.h"

namespace switchyard {
namespace {

// What a rank tells the others about its device.
struct DeviceRecord {
  uint64_t id_hash = 0;
  uint64_t force_staged = 0;
};

// FNV-1a: the same in every process, unlike absl's. Source: Fowler, Noll, Vo, RFC 9923.
uint64_t Fnv1a(const std::string& text) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
  return hash;
}

// The records of all ranks, in rank order.
absl::StatusOr<std::vector<DeviceRecord>> Gather(const DeviceRecord& own, Communicator& host) {
  std::vector<DeviceRecord> records(host.size());
  const int64_t bytes = sizeof(own);
  const absl::Status status = host.AllGather(ConstTensorView(&own, DType::kUInt8, Shape{bytes}),
                                             TensorView(records.data(), DType::kUInt8, Shape{host.size() * bytes}));
  if (!status.ok()) return status;
  return records;
}

bool AnyTwoAreEqual(const std::vector<DeviceRecord>& records) {
  std::vector<uint64_t> hashes;
  for (const DeviceRecord& record : records) hashes.push_back(record.id_hash);
  std::sort(hashes.begin(), hashes.end());
  return std::adjacent_find(hashes.begin(), hashes.end()) != hashes.end();
}

DeviceCommunicator Own(std::unique_ptr<Communicator> communicator, std::string staged_because) {
  Communicator* const borrowed = communicator.get();
  return {.communicator = borrowed, .owned = std::move(communicator), .staged_because = std::move(staged_because)};
}

}  // namespace

absl::StatusOr<DeviceCommunicator> ConnectDevice(const DeviceConnectOptions& options, Communicator& host,
                                                 Backend& backend) {
  if (backend.device() == DeviceKind::kCpu) return DeviceCommunicator{.communicator = &host};
  const absl::StatusOr<std::vector<DeviceRecord>> records =
      Gather({.id_hash = Fnv1a(options.device_id), .force_staged = options.force_staged}, host);
  if (!records.ok()) return records.status();

  std::string reason = "it was asked for";
  const auto wants_staging = [](const DeviceRecord& record) { return record.force_staged != 0; };
  if (std::none_of(records->begin(), records->end(), wants_staging)) {
    absl::StatusOr<std::unique_ptr<Communicator>> nccl =
        CreateNcclCommunicator({.connect_timeout = options.connect_timeout,
                                .step_timeout = options.step_timeout,
                                .shares_device = AnyTwoAreEqual(*records)},
                               host, backend);
    if (nccl.ok()) return Own(*std::move(nccl), "");
    if (!absl::IsUnimplemented(nccl.status()) && !absl::IsFailedPrecondition(nccl.status())) return nccl.status();
    reason = std::string(nccl.status().message());
  }
  absl::StatusOr<std::unique_ptr<Communicator>> staged =
      CreateStagedCommunicator(host, backend, options.max_message_bytes);
  if (!staged.ok()) return staged.status();
  return Own(*std::move(staged), std::move(reason));
}

}  // namespace switchyard
