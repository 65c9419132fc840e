// One collective as its ranks have to agree on it; what both transports check before any data moves.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "kernels/tensor.h"
#include "parallel/communicator.h"

namespace switchyard {

enum class CollectiveKind : uint32_t {
  kBarrier,
  kBroadcast,
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kAllToAllRows,
};

const char* Name(CollectiveKind kind);  // "barrier", "broadcast", ...

// Plain bytes, equal on every rank; also sent over wires between machines of one kind.
struct CallSignature {
  CollectiveKind kind = CollectiveKind::kBarrier;
  int32_t root = 0;  // of kBroadcast
  uint32_t num_transfers = 0;
  uint32_t reserved = 0;
  // Bytes that have to be alike on all ranks: the tensor (kBroadcast, kAllReduce), this rank's block (kAllGather,
  // kReduceScatter), or one row (kAllToAllRows).
  std::array<uint64_t, Communicator::kMaxTransfers> bytes = {};
};

// INTERNAL naming both ranks and what each asked for, lower rank first, where they differ.
absl::Status CheckSameCall(const CallSignature& a, int rank_a, const CallSignature& b, int rank_b);
// INTERNAL: `receiver` expected `expected` rows from `sender`, which sends `sent`.
absl::Status RowCountMismatch(int sender, uint64_t sent, int receiver, uint64_t expected);
// Bytes of one row of a transfer of AllToAllRows.
uint64_t RowBytes(const ConstTensorView& view);

// Signatures of the calls; CHECK that each rank's own arguments fit together.
CallSignature BroadcastCall(const TensorView& data, int root, int size);
CallSignature AllReduceCall(const TensorView& data);
CallSignature ReduceScatterCall(const ConstTensorView& send, const TensorView& recv, int size);
CallSignature AllGatherCall(std::span<const Transfer> transfers, int size);
CallSignature AllToAllRowsCall(std::span<const Transfer> transfers, std::span<const int64_t> send_rows,
                               std::span<const int64_t> recv_rows, int size);

}  // namespace switchyard
