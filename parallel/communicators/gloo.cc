#include "parallel/communicators/gloo.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "absl/time/clock.h"
#include "kernels/check.h"
#include "parallel/communicators/gloo_mesh.h"

namespace switchyard {

GlooMesh::GlooMesh(const GlooOptions& options)
    : rank_(options.rank),
      size_(options.size),
      names_(options.names),
      timeout_(options.collective_timeout),
      peers_(options.size) {
  CHECK(names_.empty() || static_cast<int>(names_.size()) == size_);
}

GlooMesh::~GlooMesh() {
  {
    const std::lock_guard lock(mu_);
    stopping_ = true;
  }
  stop_.notify_all();
  if (watcher_.joinable()) watcher_.join();
  peers_.clear();
}

absl::Status GlooMesh::Connect(const GlooOptions& options, KeyValueStore& store) {
  absl::StatusOr<std::unique_ptr<GlooLinks>> links = GlooLinks::Connect(options, store);
  if (!links.ok()) return links.status();
  links_ = *std::move(links);
  for (int r = 0; r < size_; ++r) {
    if (r == rank_) continue;
    Peer& peer = peers_[r];
    peer.send = links_->Register(peer.sent.data(), kEnvelopeBytes);
    peer.watch = links_->Register(&peer.watched, sizeof(peer.watched));
    absl::Status status = peer.watch->Receive(r, kWatchSlot);
    for (int turn = 0; turn < 2; ++turn) {
      peer.receive[turn] = links_->Register(peer.received[turn].data(), kEnvelopeBytes);
      status.Update(peer.receive[turn]->Receive(r, kEnvelopeSlot));
    }
    if (!status.ok()) return status;
  }
  watcher_ = std::thread([this] { Watch(); });
  return absl::OkStatus();
}

absl::Status GlooMesh::Exchange(const CallSignature& call, std::span<const std::span<const std::byte>> sends,
                                std::span<const std::span<std::byte>> recvs) {
  BlockSigpipe();
  {
    const std::lock_guard lock(mu_);
    if (!failure_.ok()) return failure_;
    kind_ = call.kind;
    deadline_ = absl::Now() + timeout_;
    in_call_ = true;
    for (int r = 0; r < size_; ++r) peers_[r].awaited = r != rank_;
  }
  // Ranks begin with different peers.
  const auto nth_peer = [&](int i) { return (rank_ + i) % size_; };
  absl::Status status;
  for (int i = 1; i < size_ && status.ok(); ++i) {
    const int r = nth_peer(i);
    status = SendTo(r, call, sends.subspan(r * call.num_transfers, call.num_transfers));
  }
  for (int i = 1; i < size_ && status.ok(); ++i) {
    const int r = nth_peer(i);
    status = ReceiveFrom(r, call, recvs.subspan(r * call.num_transfers, call.num_transfers));
  }
  for (size_t i = 0; i < receiving_.size() && status.ok(); ++i) {
    status = Await(receiving_[i].first, *receiving_[i].second, Direction::kReceive);
  }
  for (int i = 1; i < size_ && status.ok(); ++i) {
    status = Await(nth_peer(i), *peers_[nth_peer(i)].send, Direction::kSend);
  }
  for (size_t i = 0; i < sending_.size() && status.ok(); ++i) {
    status = Await(sending_[i].first, *sending_[i].second, Direction::kSend);
  }
  // Where the call failed, this takes the caller's memory from Gloo.
  receiving_.clear();
  sending_.clear();
  const std::lock_guard lock(mu_);
  deadline_ = absl::InfiniteFuture();
  in_call_ = false;
  return status;
}

absl::Status GlooMesh::SendTo(int r, const CallSignature& call, std::span<const std::span<const std::byte>> parts) {
  Peer& peer = peers_[r];
  EnvelopeHead head{.call = call};
  for (size_t i = 0; i < parts.size(); ++i) head.part_bytes[i] = parts[i].size();
  std::byte* const data = peer.sent.data() + sizeof(head);
  ForEachPart(head, [&](uint32_t i, bool in_envelope) {
    if (!in_envelope || parts[i].empty()) return;
    std::memcpy(data + head.data_bytes, parts[i].data(), parts[i].size());
    head.data_bytes += static_cast<uint32_t>(parts[i].size());
  });
  std::memcpy(peer.sent.data(), &head, sizeof(head));
  absl::Status status = peer.send->Send(r, kEnvelopeSlot, sizeof(head) + head.data_bytes);
  ForEachPart(head, [&](uint32_t i, bool in_envelope) {
    if (in_envelope || !status.ok()) return;
    sending_.emplace_back(r, links_->Register(const_cast<std::byte*>(parts[i].data()), parts[i].size()));
    status = sending_.back().second->Send(r, kPartSlot, parts[i].size());
  });
  return status.ok() ? status : Lost(r, std::string(status.message()));
}

absl::Status GlooMesh::ReceiveFrom(int r, const CallSignature& call, std::span<const std::span<std::byte>> parts) {
  Peer& peer = peers_[r];
  GlooBuffer& envelope = *peer.receive[peer.turn];
  if (!std::exchange(peer.arrived[peer.turn], false)) {
    const absl::Status status = Await(r, envelope, Direction::kReceive);
    if (!status.ok()) return status;
  }
  const Memory& memory = peer.received[peer.turn];
  absl::Status agreed = ReadNotice(memory);
  if (!agreed.ok()) return Fail(agreed);
  const EnvelopeHead head = ReadEnvelopeHead(memory);
  agreed = CheckSameCall(call, rank_, head.call, r);
  if (!agreed.ok()) return Fail(agreed);
  const std::byte* data = memory.data() + sizeof(head);
  for (size_t i = 0; i < parts.size(); ++i) {
    // Only rows can differ where the calls are the same.
    if (head.part_bytes[i] == parts[i].size()) continue;
    return Fail(RowCountMismatch(r, head.part_bytes[i] / call.bytes[i], rank_, parts[i].size() / call.bytes[i]));
  }
  peer.turn = 1 - peer.turn;
  {
    const std::lock_guard lock(mu_);
    peer.awaited = false;
  }
  absl::Status status;
  ForEachPart(head, [&](uint32_t i, bool in_envelope) {
    if (in_envelope) {
      if (!parts[i].empty()) std::memcpy(parts[i].data(), data, parts[i].size());
      data += parts[i].size();
      return;
    }
    if (!status.ok()) return;
    receiving_.emplace_back(r, links_->Register(parts[i].data(), parts[i].size()));
    status = receiving_.back().second->Receive(r, kPartSlot);
  });
  if (!status.ok()) return Lost(r, std::string(status.message()));
  // Where the peer has closed the connection after what it had to say in this call, the next call cannot send to it.
  envelope.Receive(r, kEnvelopeSlot).IgnoreError();
  return absl::OkStatus();
}

void GlooMesh::BeginWait(int r, GlooBuffer& buffer, Direction direction, bool briefly) {
  waiting_ = &buffer;
  waiting_rank_ = r;
  waiting_direction_ = direction;
  waits_briefly_ = briefly;
}

GlooBuffer::Outcome GlooMesh::FinishWait() {
  constexpr auto kNoLimit = std::chrono::hours(24 * 365);
  GlooBuffer::Outcome outcome = waiting_->Wait(waiting_direction_, kNoLimit);
  const std::lock_guard lock(mu_);
  waiting_ = nullptr;
  return outcome;
}

absl::Status GlooMesh::Await(int r, GlooBuffer& buffer, Direction direction) {
  for (;;) {
    bool lost = false;
    {
      const std::lock_guard lock(mu_);
      if (!failure_.ok()) return failure_;
      lost = peers_[r].lost;
      BeginWait(r, buffer, direction, /*briefly=*/lost);
    }
    GlooBuffer::Outcome outcome = FinishWait();
    if (outcome.done) return absl::OkStatus();
    // Gloo tells nobody when the connection is lost in the middle of this message.
    if (lost && outcome.error.empty()) outcome.error = "connection closed";
    const absl::Status status = outcome.error.empty() ? ExamineLosses(r) : Lost(r, outcome.error);
    if (!status.ok()) return status;
  }
}

absl::StatusOr<std::unique_ptr<Communicator>> CreateGlooCommunicator(const GlooOptions& options, KeyValueStore& store) {
  CHECK(0 <= options.rank && options.rank < options.size);
  auto mesh = std::make_unique<GlooMesh>(options);
  const absl::Status status = mesh->Connect(options, store);
  if (!status.ok()) return status;
  return CreateMeshCommunicator(std::move(mesh));
}

}  // namespace switchyard
