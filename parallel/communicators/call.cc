#include "parallel/communicators/call.h"

#include <numeric>

#include "absl/strings/str_cat.h"
#include "kernels/check.h"

namespace switchyard {
namespace {

std::string Describe(const CallSignature& call) {
  std::string text = Name(call.kind);
  if (call.kind == CollectiveKind::kBroadcast) absl::StrAppend(&text, " from rank ", call.root);
  for (uint32_t i = 0; i < call.num_transfers && i < call.bytes.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? " of " : " + ", call.bytes[i], " bytes");
  }
  if (call.kind == CollectiveKind::kAllToAllRows) absl::StrAppend(&text, " a row");
  return text;
}

}  // namespace

const char* Name(CollectiveKind kind) {
  switch (kind) {
    case CollectiveKind::kBarrier:
      return "barrier";
    case CollectiveKind::kBroadcast:
      return "broadcast";
    case CollectiveKind::kAllReduce:
      return "all_reduce";
    case CollectiveKind::kReduceScatter:
      return "reduce_scatter";
    case CollectiveKind::kAllGather:
      return "all_gather";
    case CollectiveKind::kAllToAllRows:
      return "all_to_all_rows";
  }
  return "?";
}

absl::Status CheckSameCall(const CallSignature& a, int rank_a, const CallSignature& b, int rank_b) {
  if (a.kind == b.kind && a.root == b.root && a.num_transfers == b.num_transfers && a.bytes == b.bytes) {
    return absl::OkStatus();
  }
  if (rank_a > rank_b) return CheckSameCall(b, rank_b, a, rank_a);
  return absl::InternalError(absl::StrCat("ranks disagree about a collective: rank ", rank_a, " called ", Describe(a),
                                          ", rank ", rank_b, " called ", Describe(b)));
}

absl::Status RowCountMismatch(int sender, uint64_t sent, int receiver, uint64_t expected) {
  return absl::InternalError(absl::StrCat("ranks disagree about a collective: in all_to_all_rows rank ", sender,
                                          " sends ", sent, " rows to rank ", receiver, ", which expects ", expected));
}

uint64_t RowBytes(const ConstTensorView& view) {
  return static_cast<uint64_t>(view.row_elements()) * SizeOf(view.dtype());
}

CallSignature BroadcastCall(const TensorView& data, int root, int size) {
  CHECK(root >= 0 && root < size);
  return {.kind = CollectiveKind::kBroadcast, .root = root, .num_transfers = 1, .bytes = {data.bytes()}};
}

CallSignature AllReduceCall(const TensorView& data) {
  CHECK(data.dtype() == DType::kFloat32);
  return {.kind = CollectiveKind::kAllReduce, .num_transfers = 1, .bytes = {data.bytes()}};
}

CallSignature ReduceScatterCall(const ConstTensorView& send, const TensorView& recv, int size) {
  CHECK(send.dtype() == DType::kFloat32 && recv.dtype() == DType::kFloat32);
  CHECK_EQ(send.num_elements(), size * recv.num_elements());
  return {.kind = CollectiveKind::kReduceScatter, .num_transfers = 1, .bytes = {recv.bytes()}};
}

CallSignature AllGatherCall(std::span<const Transfer> transfers, int size) {
  CHECK_LE(transfers.size(), Communicator::kMaxTransfers);
  CallSignature call{.kind = CollectiveKind::kAllGather, .num_transfers = static_cast<uint32_t>(transfers.size())};
  for (size_t i = 0; i < transfers.size(); ++i) {
    CHECK_EQ(transfers[i].recv.bytes(), size * transfers[i].send.bytes());
    call.bytes[i] = transfers[i].send.bytes();
  }
  return call;
}

CallSignature AllToAllRowsCall(std::span<const Transfer> transfers, std::span<const int64_t> send_rows,
                               std::span<const int64_t> recv_rows, int size) {
  CHECK_LE(transfers.size(), Communicator::kMaxTransfers);
  CHECK_EQ(static_cast<int>(send_rows.size()), size);
  CHECK_EQ(static_cast<int>(recv_rows.size()), size);
  const int64_t num_sent = std::accumulate(send_rows.begin(), send_rows.end(), int64_t{0});
  const int64_t num_received = std::accumulate(recv_rows.begin(), recv_rows.end(), int64_t{0});
  CallSignature call{.kind = CollectiveKind::kAllToAllRows, .num_transfers = static_cast<uint32_t>(transfers.size())};
  for (size_t i = 0; i < transfers.size(); ++i) {
    CHECK_EQ(transfers[i].send.dim(0), num_sent);
    CHECK_EQ(transfers[i].recv.dim(0), num_received);
    call.bytes[i] = RowBytes(transfers[i].send);
    CHECK_EQ(RowBytes(transfers[i].recv), call.bytes[i]);
  }
  return call;
}

}  // namespace switchyard
