// The writing half of a stream: one write at a time, a bounded queue behind it, one Finish at the end.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/pending_responses.h"

namespace switchyard {

// absl's codes are gRPC's.
inline grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.raw_code()), std::string(status.message()));
}

// `Reactor`: grpc::ServerWriteReactor<v1::GenerateResponse>, or the bidirectional one.
// Thread safety: Push, Close and Fail from any thread. gRPC is called without the lock held, for it may call back.
template <typename Reactor>
class ResponseWriter : public Reactor {
 public:
  explicit ResponseWriter(size_t max_pending_bytes)
      : max_pending_bytes_(max_pending_bytes), pending_(max_pending_bytes) {}

  // False: the stream is over, or it is now because its reader is too slow; nothing more is needed from its requests.
  bool Push(v1::GenerateResponse response) {
    {
      absl::MutexLock lock(&mu_);
      if (end_.has_value()) return false;
      if (!pending_.Add(std::move(response))) {
        pending_.Clear();
        end_ = absl::ResourceExhaustedError(
            absl::StrCat("the client reads too slowly: more than ", max_pending_bytes_,
                         " bytes of responses waited for it; read faster or ask for less per stream"));
        return false;  // the write that the reader holds up finishes the stream
      }
    }
    Advance();
    return true;
  }

  // Ends the stream once all that was pushed is written. Only the first Close or Fail counts.
  void Close(absl::Status status) { End(std::move(status), /*discard=*/false); }
  // Ends it without what still waits.
  void Fail(absl::Status status) { End(std::move(status), /*discard=*/true); }

  // How the stream ended. Once it is done.
  absl::Status end_status() const {
    absl::MutexLock lock(&mu_);
    return end_.value_or(absl::CancelledError("the client closed the stream"));
  }

  void OnWriteDone(bool ok) override {
    {
      absl::MutexLock lock(&mu_);
      writing_ = false;
      if (!ok) {  // the client is gone; OnCancel ends its requests
        pending_.Clear();
        if (!end_.has_value()) end_ = absl::CancelledError("the client closed the stream");
      }
    }
    Advance();
  }

 protected:
  // Once, with the stream's status, while trailing metadata may still be added.
  virtual void BeforeFinish(const absl::Status& status) {}

 private:
  void End(absl::Status status, bool discard) {
    {
      absl::MutexLock lock(&mu_);
      if (discard) pending_.Clear();
      if (!end_.has_value()) end_ = std::move(status);
    }
    Advance();
  }

  void Advance() {
    std::optional<absl::Status> finish;
    {
      absl::MutexLock lock(&mu_);
      if (writing_ || finished_) return;
      if (std::optional<v1::GenerateResponse> next = pending_.Take()) {
        writing_ = true;
        in_flight_ = *std::move(next);
      } else if (end_.has_value()) {
        finished_ = true;
        finish = end_;
      } else {
        return;
      }
    }
    if (finish.has_value()) {
      BeforeFinish(*finish);
      this->Finish(ToGrpcStatus(*finish));
    } else {
      this->StartWrite(&in_flight_);
    }
  }

  // constant after construction
  const size_t max_pending_bytes_;

  mutable absl::Mutex mu_;
  PendingResponses pending_ ABSL_GUARDED_BY(mu_);
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;

  v1::GenerateResponse in_flight_;  // gRPC's while writing_
};

}  // namespace switchyard
