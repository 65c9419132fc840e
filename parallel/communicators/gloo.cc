#include "parallel/communicators/gloo.h"

#include <gloo/common/error.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/unbound_buffer.h>
#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "kernels/check.h"
#include "parallel/communicators/envelope.h"
#include "parallel/communicators/mesh.h"

namespace switchyard {
namespace {

using ::gloo::transport::UnboundBuffer;
using std::chrono::milliseconds;

// Gloo's store over ours; errors travel as exceptions through Gloo.
class GlooStore final : public ::gloo::rendezvous::Store {
 public:
  GlooStore(KeyValueStore& store, std::string prefix, absl::Time deadline)
      : store_(store), prefix_(std::move(prefix)), deadline_(deadline) {}

  void set(const std::string& key, const std::vector<char>& data) override {
    Throw(store_.Set(prefix_ + key, std::string(data.data(), data.size())));
  }
  std::vector<char> get(const std::string& key) override {
    const absl::StatusOr<std::string> value = store_.Get(prefix_ + key, deadline_);
    Throw(value.status());
    return {value->begin(), value->end()};
  }
  void wait(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) get(key);
  }

 private:
  static void Throw(const absl::Status& status) {
    if (!status.ok()) throw ::gloo::IoException(std::string(status.message()));
  }

  KeyValueStore& store_;
  const std::string prefix_;
  const absl::Time deadline_;
};

// Writing to a peer that is gone raises SIGPIPE in the writing thread; the error code says the same.
void BlockSigpipe() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

// Tags of Gloo's messages; those of one tag between two ranks arrive in order.
constexpr uint64_t kEnvelopeSlot = 1;
constexpr uint64_t kPartSlot = 2;
constexpr uint64_t kWatchSlot = 3;  // never sent to: a receive that only a lost connection ends
constexpr milliseconds kWatchPeriod(50);
constexpr milliseconds kNoLimit = std::chrono::hours(24 * 365);
// For what has arrived or never will.
constexpr milliseconds kAtOnce(10);
constexpr milliseconds kNoticeLimit(100);

class GlooMesh final : public Mesh {
 public:
  explicit GlooMesh(const GlooOptions& options)
      : rank_(options.rank),
        size_(options.size),
        names_(options.names),
        timeout_(options.collective_timeout),
        peers_(options.size) {
    CHECK(names_.empty() || static_cast<int>(names_.size()) == size_);
  }

  ~GlooMesh() override {
    {
      const std::lock_guard lock(mu_);
      stopping_ = true;
    }
    stop_.notify_all();
    if (watcher_.joinable()) watcher_.join();
    peers_.clear();
  }

  absl::Status Connect(const GlooOptions& options, KeyValueStore& store);

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string transport() const override { return "gloo/tcp"; }
  absl::Status Exchange(const CallSignature& call, std::span<const std::span<const std::byte>> sends,
                        std::span<const std::span<std::byte>> recvs) override;
  absl::Status Health() const override;
  void Abort(const absl::Status& reason) override { Fail(reason).IgnoreError(); }

 private:
  enum class Direction { kSend, kReceive };
  using Memory = std::vector<std::byte>;

  struct Peer {
    // Two envelopes are always open for a peer, so that it can send the next one before this rank asks for it.
    Memory received[2] = {Memory(kEnvelopeBytes), Memory(kEnvelopeBytes)};
    Memory sent = Memory(kEnvelopeBytes);
    char watched = 0;
    std::unique_ptr<UnboundBuffer> receive[2];
    std::unique_ptr<UnboundBuffer> send;
    std::unique_ptr<UnboundBuffer> watch;
    // The rank's thread while in_call_; guarded by mu_ otherwise.
    int turn = 0;                   // which of the two envelopes is the next
    bool next_has_arrived = false;  // and was taken from Gloo already
    // Guarded by mu_.
    bool awaited = false;  // its envelope of the call in progress has not arrived
    bool lost = false;
    bool loss_examined = false;
  };

  absl::Status SendTo(int r, const CallSignature& call, std::span<const std::span<const std::byte>> parts);
  absl::Status ReceiveFrom(int r, const CallSignature& call, std::span<const std::span<std::byte>> parts);
  // Waits until `buffer`, whose other end is rank r, has been sent or received.
  absl::Status Await(int r, UnboundBuffer& buffer, Direction direction);
  static bool Wait(UnboundBuffer& buffer, Direction direction, milliseconds limit) {
    return direction == Direction::kSend ? buffer.waitSend(limit) : buffer.waitRecv(limit);
  }
  std::string NameOf(int r) const { return names_.empty() ? absl::StrCat("rank ", r) : names_[static_cast<size_t>(r)]; }
  absl::Status ExamineLosses(int awaited_rank);
  absl::Status Lost(int r, const std::string& why);
  absl::Status TakeNotice(int r);

  // Keeps the first reason, tells the others, and closes all connections.
  absl::Status Fail(const absl::Status& reason);
  void SendNotices(const absl::Status& reason);
  void Wake();
  void Watch();

  // Constant after Connect.
  const int rank_;
  const int size_;
  const std::vector<std::string> names_;
  const absl::Duration timeout_;
  std::shared_ptr<::gloo::rendezvous::Context> context_;

  std::vector<Peer> peers_;
  // Of the call in progress; the rank's thread only.
  std::vector<std::pair<int, std::unique_ptr<UnboundBuffer>>> sending_;
  std::vector<std::pair<int, std::unique_ptr<UnboundBuffer>>> receiving_;

  mutable std::mutex mu_;
  // Guarded by mu_.
  absl::Status failure_;
  UnboundBuffer* waiting_ = nullptr;  // what the rank's thread waits for
  Direction waiting_direction_ = Direction::kSend;
  int waiting_rank_ = 0;  // its other end
  CollectiveKind kind_ = CollectiveKind::kBarrier;
  absl::Time deadline_ = absl::InfiniteFuture();  // of the call in progress
  bool in_call_ = false;
  bool stopping_ = false;

  std::condition_variable stop_;
  std::thread watcher_;
};

absl::Status GlooMesh::Connect(const GlooOptions& options, KeyValueStore& store) {
  BlockSigpipe();  // inherited by Gloo's thread and the watcher
  try {
    std::shared_ptr<::gloo::transport::Device> device =
        ::gloo::transport::tcp::CreateDevice(::gloo::transport::tcp::attr(options.bind_address.c_str()));
    context_ = std::make_shared<::gloo::rendezvous::Context>(rank_, size_);
    context_->setTimeout(milliseconds(absl::ToInt64Milliseconds(options.connect_timeout)));
    GlooStore gloo_store(store, absl::StrCat(options.group, "/"), absl::Now() + options.connect_timeout);
    context_->connectFullMesh(gloo_store, device);
    for (int r = 0; r < size_; ++r) {
      if (r == rank_) continue;
      Peer& peer = peers_[r];
      peer.send = context_->createUnboundBuffer(peer.sent.data(), kEnvelopeBytes);
      peer.watch = context_->createUnboundBuffer(&peer.watched, sizeof(peer.watched));
      peer.watch->recv(r, kWatchSlot);
      for (int turn = 0; turn < 2; ++turn) {
        peer.receive[turn] = context_->createUnboundBuffer(peer.received[turn].data(), kEnvelopeBytes);
        peer.receive[turn]->recv(r, kEnvelopeSlot);
      }
    }
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("gloo: rank ", rank_, " at ", options.bind_address,
                                               " cannot connect to the other ranks: ", error.what()));
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
  try {
    peer.send->send(r, kEnvelopeSlot, 0, sizeof(head) + head.data_bytes);
    ForEachPart(head, [&](uint32_t i, bool in_envelope) {
      if (in_envelope) return;
      sending_.emplace_back(r, context_->createUnboundBuffer(const_cast<std::byte*>(parts[i].data()), parts[i].size()));
      sending_.back().second->send(r, kPartSlot);
    });
  } catch (const std::exception& error) {
    return Lost(r, error.what());
  }
  return absl::OkStatus();
}

absl::Status GlooMesh::ReceiveFrom(int r, const CallSignature& call, std::span<const std::span<std::byte>> parts) {
  Peer& peer = peers_[r];
  UnboundBuffer& envelope = *peer.receive[peer.turn];
  if (!std::exchange(peer.next_has_arrived, false)) {
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
  try {
    ForEachPart(head, [&](uint32_t i, bool in_envelope) {
      if (in_envelope) {
        if (!parts[i].empty()) std::memcpy(parts[i].data(), data, parts[i].size());
        data += parts[i].size();
        return;
      }
      receiving_.emplace_back(r, context_->createUnboundBuffer(parts[i].data(), parts[i].size()));
      receiving_.back().second->recv(r, kPartSlot);
    });
  } catch (const std::exception& error) {
    return Lost(r, error.what());
  }
  peer.turn = 1 - peer.turn;
  {
    const std::lock_guard lock(mu_);
    peer.awaited = false;
  }
  try {
    envelope.recv(r, kEnvelopeSlot);
  } catch (const std::exception&) {
    // The peer has closed the connection after what it had to say in this call; the next call cannot send to it.
  }
  return absl::OkStatus();
}

absl::Status GlooMesh::Await(int r, UnboundBuffer& buffer, Direction direction) {
  for (;;) {
    milliseconds limit = kNoLimit;
    {
      const std::lock_guard lock(mu_);
      if (!failure_.ok()) return failure_;
      waiting_ = &buffer;
      waiting_rank_ = r;
      waiting_direction_ = direction;
      // Gloo tells nobody when the connection is lost in the middle of this message.
      if (peers_[r].lost) limit = kAtOnce;
    }
    bool done = false;
    std::string error_text;
    try {
      done = Wait(buffer, direction, limit);
    } catch (const std::exception& error) {
      error_text = error.what();
    }
    {
      const std::lock_guard lock(mu_);
      waiting_ = nullptr;
    }
    if (done) return absl::OkStatus();
    const absl::Status status = error_text.empty() ? ExamineLosses(r) : Lost(r, error_text);
    if (!status.ok()) return status;
  }
}

// A peer that is gone fails this call only if this rank still waits for it, or if its last words say so.
absl::Status GlooMesh::ExamineLosses(int awaited_rank) {
  for (int r = 0; r < size_; ++r) {
    {
      const std::lock_guard lock(mu_);
      if (!failure_.ok()) return failure_;
      if (r == awaited_rank || !peers_[r].lost || std::exchange(peers_[r].loss_examined, true)) continue;
    }
    const absl::Status notice = TakeNotice(r);
    if (!notice.ok()) return Fail(notice);
    std::unique_lock lock(mu_);
    const bool envelope_lost = peers_[r].awaited && !peers_[r].next_has_arrived;
    lock.unlock();
    if (envelope_lost) return Fail(absl::UnavailableError(absl::StrCat(NameOf(r), " is lost: connection closed")));
  }
  return absl::OkStatus();
}

absl::Status GlooMesh::Lost(int r, const std::string& why) {
  const absl::Status notice = TakeNotice(r);
  return Fail(notice.ok() ? absl::UnavailableError(absl::StrCat(NameOf(r), " is lost: ", why)) : notice);
}

// What a lost peer said last, if that was a notice. Another envelope is kept for the call that it belongs to.
absl::Status GlooMesh::TakeNotice(int r) {
  Peer& peer = peers_[r];
  if (!peer.next_has_arrived) {
    try {
      peer.next_has_arrived = peer.receive[peer.turn]->waitRecv(kAtOnce);
    } catch (const std::exception&) {
      return absl::OkStatus();  // it said nothing
    }
  }
  return peer.next_has_arrived ? ReadNotice(peer.received[peer.turn]) : absl::OkStatus();
}

absl::Status GlooMesh::Health() const {
  const std::lock_guard lock(mu_);
  if (!failure_.ok()) return failure_;
  for (int r = 0; r < size_; ++r) {
    if (peers_[r].lost) return absl::UnavailableError(absl::StrCat(NameOf(r), " is lost: connection closed"));
  }
  return absl::OkStatus();
}

absl::Status GlooMesh::Fail(const absl::Status& reason) {
  {
    const std::lock_guard lock(mu_);
    if (!failure_.ok()) return failure_;
    failure_ = reason;
    Wake();
  }
  SendNotices(reason);
  return reason;
}

void GlooMesh::SendNotices(const absl::Status& reason) {
  BlockSigpipe();
  Memory notice = WriteNotice(reason);
  const auto buffer = context_->createUnboundBuffer(notice.data(), notice.size());
  int num_sent = 0;
  for (int r = 0; r < size_; ++r) {
    if (r == rank_) continue;
    try {
      buffer->send(r, kEnvelopeSlot);
      ++num_sent;
    } catch (const std::exception&) {
      continue;  // that peer is gone itself
    }
  }
  try {
    // Done at once unless a peer does not read; that one learns of the closed connection alone.
    while (num_sent-- > 0) buffer->waitSend(kNoticeLimit);
  } catch (const std::exception&) {
    // Gloo has closed all connections.
  }
  try {
    context_->closeConnections();
  } catch (const std::exception&) {
    // Nothing is left to close.
  }
}

// mu_ is held.
void GlooMesh::Wake() {
  if (waiting_ == nullptr) return;
  if (waiting_direction_ == Direction::kSend) {
    waiting_->abortWaitSend();
  } else {
    waiting_->abortWaitRecv();
  }
}

void GlooMesh::Watch() {
  std::unique_lock lock(mu_);
  while (!stop_.wait_for(lock, kWatchPeriod, [this] { return stopping_; })) {
    if (!failure_.ok()) return;
    if (absl::Now() > deadline_) {
      const absl::Status reason = absl::DeadlineExceededError(absl::StrCat(
          Name(kind_), ": ", NameOf(waiting_rank_), " did not take part within ", absl::FormatDuration(timeout_)));
      lock.unlock();
      Fail(reason).IgnoreError();
      return;
    }
    bool lost = false;
    absl::Status notice;
    for (int r = 0; r < size_; ++r) {
      if (r == rank_ || peers_[r].lost) continue;
      try {
        // Returns at once, or throws what happened to the connection.
        peers_[r].watch->abortWaitRecv();
        peers_[r].watch->waitRecv(kAtOnce);
      } catch (const std::exception&) {
        peers_[r].lost = lost = true;
        // In a call the rank's thread looks itself. Outside of one, a peer that is gone without a word may have done
        // its part of the next call before.
        if (!in_call_) notice.Update(TakeNotice(r));
      }
    }
    if (lost) Wake();
    if (!notice.ok()) {
      lock.unlock();
      Fail(notice).IgnoreError();
      return;
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> CreateGlooCommunicator(const GlooOptions& options, KeyValueStore& store) {
  CHECK(0 <= options.rank && options.rank < options.size);
  auto mesh = std::make_unique<GlooMesh>(options);
  const absl::Status status = mesh->Connect(options, store);
  if (!status.ok()) return status;
  return CreateMeshCommunicator(std::move(mesh));
}

}  // namespace switchyard
