// How ranks learn that one of them has failed, and which one, and why.
#include <chrono>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "parallel/communicators/gloo_mesh.h"

namespace switchyard {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kWatchPeriod(50);
// For what has arrived or never will.
constexpr milliseconds kAtOnce(10);
constexpr milliseconds kNoticeLimit(100);
constexpr absl::Duration kNoticeTime = absl::Milliseconds(500);

}  // namespace

// A peer that is gone fails this call only if this rank still waits for it, or if its last words say so.
absl::Status GlooMesh::ExamineLosses(int awaited_rank) {
  for (int r = 0; r < size_; ++r) {
    const Peer& peer = peers_[r];
    bool heard = false;
    {
      const std::lock_guard lock(mu_);
      if (!failure_.ok()) return failure_;
      if (r == awaited_rank || !peer.lost) continue;
      heard = peer.lost_without_reason;
    }
    const absl::Status notice = heard ? absl::OkStatus() : TakeNotice(r);
    if (!notice.ok()) return Fail(notice);
    {
      const std::lock_guard lock(mu_);
      if (!peer.awaited || peer.arrived[peer.turn]) {
        peers_[r].lost_without_reason = true;
        continue;
      }
    }
    return Lost(r, "connection closed");
  }
  return absl::OkStatus();
}

// Fails the call. A rank that gives up tells all others why and closes its connections; those whom it reaches first do
// the same. What r said may have been lost with its connection, and the rank that gave up first may be another one and
// not be done telling: whatever any rank gives as the reason is the reason, not that r is gone.
absl::Status GlooMesh::Lost(int r, const std::string& why) {
  const absl::Status notice = AwaitNotice(absl::Now() + kNoticeTime);
  return Fail(notice.ok() ? absl::UnavailableError(absl::StrCat(NameOf(r), " is lost: ", why)) : notice);
}

// The notice of whichever rank sends one by `deadline`, else OK. What it takes from Gloo on the way is lost to the
// call.
absl::Status GlooMesh::AwaitNotice(absl::Time deadline) {
  std::vector<int> open;  // ranks from which more may come
  for (int r = 0; r < size_; ++r) {
    if (r != rank_) open.push_back(r);
  }
  while (!open.empty() && absl::Now() < deadline) {
    std::vector<int> still_open;
    for (const int r : open) {
      Peer& peer = peers_[r];
      GlooBuffer::Outcome outcome{.done = std::exchange(peer.arrived[peer.turn], false)};
      if (!outcome.done) {
        {
          const std::lock_guard lock(mu_);
          if (!failure_.ok()) return failure_;
          BeginWait(r, *peer.receive[peer.turn], Direction::kReceive, /*briefly=*/true);
        }
        outcome = FinishWait();
      }
      if (outcome.error.empty()) still_open.push_back(r);
      if (!outcome.done) continue;
      absl::Status notice = ReadNotice(peer.received[peer.turn]);
      if (!notice.ok()) return notice;
      peer.turn = 1 - peer.turn;  // that was its part of a call; what it said next is in the other envelope
    }
    open = std::move(still_open);
  }
  return absl::OkStatus();
}

// What a lost peer said last, if that was a notice: behind its part of a call, perhaps. Other envelopes are kept for
// the calls that they belong to.
absl::Status GlooMesh::TakeNotice(int r) {
  Peer& peer = peers_[r];
  for (const int turn : {peer.turn, 1 - peer.turn}) {
    if (!peer.arrived[turn]) peer.arrived[turn] = peer.receive[turn]->Wait(Direction::kReceive, kAtOnce).done;
    if (!peer.arrived[turn]) break;
    absl::Status notice = ReadNotice(peer.received[turn]);
    if (!notice.ok()) return notice;
  }
  return absl::OkStatus();
}

absl::Status GlooMesh::Health() const {
  const std::lock_guard lock(mu_);
  if (!failure_.ok()) return failure_;
  for (int r = 0; r < size_; ++r) {
    if (peers_[r].lost_without_reason) {
      return absl::UnavailableError(absl::StrCat(NameOf(r), " is lost: connection closed"));
    }
  }
  return absl::OkStatus();
}

absl::Status GlooMesh::Fail(const absl::Status& reason) { return Fail(reason, std::unique_lock(mu_)); }

absl::Status GlooMesh::Fail(const absl::Status& reason, std::unique_lock<std::mutex> lock) {
  if (!failure_.ok()) return failure_;
  failure_ = reason;
  Wake();
  lock.unlock();
  SendNotices(reason);
  return reason;
}

void GlooMesh::SendNotices(const absl::Status& reason) {
  BlockSigpipe();
  Memory notice = WriteNotice(reason);
  const std::unique_ptr<GlooBuffer> buffer = links_->Register(notice.data(), notice.size());
  int num_sent = 0;
  for (int r = 0; r < size_; ++r) {
    // To a peer that is gone itself nothing is sent.
    if (r != rank_ && buffer->Send(r, kEnvelopeSlot, notice.size()).ok()) ++num_sent;
  }
  // Done at once unless a peer does not read; that one learns of the closed connection alone.
  while (num_sent > 0 && buffer->Wait(Direction::kSend, kNoticeLimit).done) --num_sent;
  links_->Close();
}

// mu_ is held.
void GlooMesh::Wake() {
  if (waiting_ == nullptr) return;
  waiting_->AbortWait(waiting_direction_);
}

void GlooMesh::Watch() {
  std::unique_lock lock(mu_);
  while (!stop_.wait_for(lock, kWatchPeriod, [this] { return stopping_; })) {
    if (!failure_.ok()) return;
    if (absl::Now() > deadline_) {
      const absl::Status reason = absl::DeadlineExceededError(absl::StrCat(
          Name(kind_), ": ", NameOf(waiting_rank_), " did not take part within ", absl::FormatDuration(timeout_)));
      Fail(reason, std::move(lock)).IgnoreError();
      return;
    }
    bool lost = false;
    absl::Status notice;
    for (int r = 0; r < size_; ++r) {
      if (r == rank_) continue;
      Peer& peer = peers_[r];
      if (!peer.lost) {
        // Returns at once, with what happened to the connection.
        peer.watch->AbortWait(Direction::kReceive);
        if (peer.watch->Wait(Direction::kReceive, kAtOnce).error.empty()) continue;
        peer.lost = lost = true;
      }
      // In a call the rank's thread looks itself. Outside of one, a peer that is gone without a word may have done its
      // part of the next call before.
      if (in_call_ || peer.lost_without_reason) continue;
      notice.Update(TakeNotice(r));
      peer.lost_without_reason = notice.ok();
    }
    if (lost || waits_briefly_) Wake();
    if (!notice.ok()) {
      // In one piece with the finding: nobody is to hear of the connection alone.
      Fail(notice, std::move(lock)).IgnoreError();
      return;
    }
  }
}

}  // namespace switchyard
