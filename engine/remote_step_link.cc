#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/batch_codec.h"
#include "engine/step_link.h"
#include "kernels/check.h"

namespace switchyard {
namespace {

// First byte of a message.
enum class Tag : uint8_t { kEnd, kBatch, kOutput, kError };

using Bytes = std::vector<uint8_t>;

Bytes Tagged(Tag tag, std::span<const uint8_t> payload) {
  Bytes message(1 + payload.size());
  message[0] = static_cast<uint8_t>(tag);
  std::copy(payload.begin(), payload.end(), message.begin() + 1);
  return message;
}

class RemoteStepLink : public StepLink {
 public:
  RemoteStepLink(Communicator& control, absl::Duration max_silence) : control_(control), max_silence_(max_silence) {}

  absl::Status Publish(std::shared_ptr<const Batch> batch) override {
    Bytes message = batch == nullptr ? Tagged(Tag::kEnd, {}) : Tagged(Tag::kBatch, Encode(*batch));
    return BroadcastFromRoot(message);
  }

  absl::StatusOr<std::vector<StepOutput>> Collect(absl::StatusOr<StepOutput> own) override {
    if (!own.ok()) {
      // Some rank may be gone: nobody is to wait for it.
      control_.Abort(own.status());
      return own.status();
    }
    absl::StatusOr<std::vector<Bytes>> messages = GatherAtRoot(ToMessage(own));
    if (!messages.ok()) return messages.status();
    std::vector<StepOutput> outputs;
    for (size_t rank = 0; rank < messages->size(); ++rank) {
      absl::StatusOr<StepOutput> output = FromMessage((*messages)[rank], static_cast<int>(rank));
      if (!output.ok()) return output.status();
      outputs.push_back(*std::move(output));
    }
    return outputs;
  }

  absl::Duration MaxSilence() const override { return max_silence_; }

  absl::StatusOr<std::shared_ptr<const Batch>> Next() override {
    Bytes message;
    absl::Status status = BroadcastFromRoot(message);
    if (!status.ok()) return status;
    if (message.empty() || message[0] == static_cast<uint8_t>(Tag::kEnd)) return std::shared_ptr<const Batch>();
    absl::StatusOr<Batch> batch = DecodeBatch(std::span(message).subspan(1));
    if (!batch.ok()) return batch.status();
    return std::make_shared<const Batch>(*std::move(batch));
  }

  absl::Status Return(absl::StatusOr<StepOutput> output) override { return GatherAtRoot(ToMessage(output)).status(); }

 private:
  // Rank 0's message to all; the others' `message` is replaced.
  absl::Status BroadcastFromRoot(Bytes& message) {
    int32_t size = static_cast<int32_t>(message.size());
    absl::Status status = control_.Broadcast(TensorView::Of(std::span(&size, 1)), 0);
    if (!status.ok()) return status;
    message.resize(static_cast<size_t>(size));
    return control_.Broadcast(TensorView::Of(std::span(message)), 0);
  }

  // At rank 0 every rank's message, elsewhere nothing.
  absl::StatusOr<std::vector<Bytes>> GatherAtRoot(const Bytes& message) {
    const size_t num_ranks = static_cast<size_t>(control_.size());
    const int32_t size = static_cast<int32_t>(message.size());
    std::vector<int32_t> sizes(num_ranks);
    absl::Status status =
        control_.AllGather(ConstTensorView::Of(std::span(&size, 1)), TensorView::Of(std::span(sizes)));
    if (!status.ok()) return status;
    const bool is_root = control_.rank() == 0;
    std::vector<int64_t> send_rows(num_ranks, 0);
    send_rows[0] = size;
    std::vector<int64_t> recv_rows(num_ranks, 0);
    if (is_root) recv_rows.assign(sizes.begin(), sizes.end());
    int64_t total = 0;
    for (const int64_t rows : recv_rows) total += rows;
    Bytes received(static_cast<size_t>(total));
    status = control_.AllToAllRows(ConstTensorView::Of(std::span(message), Shape{size, 1}), send_rows,
                                   TensorView::Of(std::span(received), Shape{total, 1}), recv_rows);
    if (!status.ok()) return status;
    std::vector<Bytes> messages;
    if (!is_root) return messages;
    auto begin = received.begin();
    for (const int64_t rows : recv_rows) {
      messages.emplace_back(begin, begin + rows);
      begin += rows;
    }
    return messages;
  }

  static Bytes ToMessage(const absl::StatusOr<StepOutput>& output) {
    if (output.ok()) return Tagged(Tag::kOutput, Encode(*output));
    const absl::string_view text = output.status().message();
    return Tagged(Tag::kError, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }

  static absl::StatusOr<StepOutput> FromMessage(const Bytes& message, int rank) {
    CHECK(!message.empty());
    const std::span<const uint8_t> payload = std::span(message).subspan(1);
    if (message[0] == static_cast<uint8_t>(Tag::kOutput)) return DecodeStepOutput(payload);
    return absl::UnavailableError(absl::StrCat(
        "rank ", rank, " failed: ", absl::string_view(reinterpret_cast<const char*>(payload.data()), payload.size())));
  }

  Communicator& control_;
  const absl::Duration max_silence_;
};

}  // namespace

std::unique_ptr<StepLink> CreateRemoteStepLink(Communicator& control, absl::Duration max_silence) {
  return std::make_unique<RemoteStepLink>(control, max_silence);
}

}  // namespace switchyard
