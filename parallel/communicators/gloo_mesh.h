// A mesh over Gloo's connections: envelopes, and what happens when a rank fails. Internal to this folder; see gloo.h.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "parallel/communicators/envelope.h"
#include "parallel/communicators/gloo_links.h"
#include "parallel/communicators/mesh.h"

namespace switchyard {

// Slots of Gloo's messages.
inline constexpr uint64_t kEnvelopeSlot = 1;
inline constexpr uint64_t kPartSlot = 2;
inline constexpr uint64_t kWatchSlot = 3;  // never sent to: a receive that only a lost connection ends

// Thread safety: as Mesh.
class GlooMesh final : public Mesh {
 public:
  explicit GlooMesh(const GlooOptions& options);
  ~GlooMesh() override;

  // Errors as CreateGlooCommunicator. Once, before anything else.
  absl::Status Connect(const GlooOptions& options, KeyValueStore& store);

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string transport() const override { return "gloo/tcp"; }
  absl::Status Exchange(const CallSignature& call, std::span<const std::span<const std::byte>> sends,
                        std::span<const std::span<std::byte>> recvs) override;
  absl::Status Health() const override;
  void Abort(const absl::Status& reason) override { Fail(reason).IgnoreError(); }

 private:
  using Direction = GlooBuffer::Direction;
  using Memory = std::vector<std::byte>;

  struct Peer {
    // Two envelopes are always open for a peer, so that it can send the next one before this rank asks for it.
    Memory received[2] = {Memory(kEnvelopeBytes), Memory(kEnvelopeBytes)};
    Memory sent = Memory(kEnvelopeBytes);
    char watched = 0;
    std::unique_ptr<GlooBuffer> receive[2];
    std::unique_ptr<GlooBuffer> send;
    std::unique_ptr<GlooBuffer> watch;
    // The rank's thread while in_call_; guarded by mu_ otherwise.
    int turn = 0;          // which of the two envelopes is the next
    bool arrived[2] = {};  // and was taken from Gloo already
    // Guarded by mu_.
    bool awaited = false;  // its envelope of the call in progress has not arrived
    bool lost = false;
    bool lost_without_reason = false;  // what it said last was read, and gives none
  };

  absl::Status SendTo(int r, const CallSignature& call, std::span<const std::span<const std::byte>> parts);
  absl::Status ReceiveFrom(int r, const CallSignature& call, std::span<const std::span<std::byte>> parts);
  // Waits until `buffer`, whose other end is rank r, has been sent or received.
  absl::Status Await(int r, GlooBuffer& buffer, Direction direction);
  // The rank's thread waits for `buffer`, whose other end is rank r, between the two. BeginWait needs mu_ held; with
  // `briefly`, the watcher's next round wakes it. (A wait with a limit of Gloo's own closes all connections at the
  // end.)
  void BeginWait(int r, GlooBuffer& buffer, Direction direction, bool briefly);
  GlooBuffer::Outcome FinishWait();
  std::string NameOf(int r) const { return names_.empty() ? absl::StrCat("rank ", r) : names_[static_cast<size_t>(r)]; }
  absl::Status ExamineLosses(int awaited_rank);
  absl::Status Lost(int r, const std::string& why);
  absl::Status TakeNotice(int r);
  absl::Status AwaitNotice(absl::Time deadline);

  // Keeps the first reason, tells the others, and closes all connections.
  absl::Status Fail(const absl::Status& reason);
  absl::Status Fail(const absl::Status& reason, std::unique_lock<std::mutex> lock);  // of mu_
  void SendNotices(const absl::Status& reason);
  void Wake();
  void Watch();

  // Constant after Connect.
  const int rank_;
  const int size_;
  const std::vector<std::string> names_;
  const absl::Duration timeout_;
  std::unique_ptr<GlooLinks> links_;

  std::vector<Peer> peers_;
  // Of the call in progress; the rank's thread only.
  std::vector<std::pair<int, std::unique_ptr<GlooBuffer>>> sending_;
  std::vector<std::pair<int, std::unique_ptr<GlooBuffer>>> receiving_;

  mutable std::mutex mu_;
  // Guarded by mu_.
  absl::Status failure_;
  GlooBuffer* waiting_ = nullptr;  // what the rank's thread waits for
  Direction waiting_direction_ = Direction::kSend;
  int waiting_rank_ = 0;        // its other end
  bool waits_briefly_ = false;  // the watcher wakes it
  CollectiveKind kind_ = CollectiveKind::kBarrier;
  absl::Time deadline_ = absl::InfiniteFuture();  // of the call in progress
  bool in_call_ = false;
  bool stopping_ = false;

  std::condition_variable stop_;
  std::thread watcher_;
};

}  // namespace switchyard
