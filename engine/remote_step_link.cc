#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/batch_codec.h"
#include "engine/step_link.h"

namespace switchyard {
namespace {

enum class Tag : uint64_t { kEnd, kBatch, kOutput, kError };

// Begins every message. Of an answer: the batch that it answers.
struct Head {
  Tag tag = Tag::kEnd;
  uint64_t step = 0;  // batches are counted from 1
  uint64_t hash = 0;  // of the encoded batch
};

using Bytes = std::vector<uint8_t>;

Bytes Headed(const Head& head, std::span<const uint8_t> payload) {
  Bytes message(sizeof(head) + payload.size());
  std::memcpy(message.data(), &head, sizeof(head));
  std::copy(payload.begin(), payload.end(), message.begin() + sizeof(head));
  return message;
}

std::string Describe(const Head& head) {
  return absl::StrCat("step ", head.step, " with the hash ", absl::Hex(head.hash, absl::kZeroPad16));
}

class RemoteStepLink : public StepLink {
 public:
  RemoteStepLink(Communicator& control, absl::Duration max_silence) : control_(control), max_silence_(max_silence) {}

  absl::Status Publish(std::shared_ptr<const Batch> batch) override {
    const Bytes payload = batch == nullptr ? Bytes() : Encode(*batch);
    current_ = {
        .tag = batch == nullptr ? Tag::kEnd : Tag::kBatch, .step = current_.step + 1, .hash = HashBytes(payload)};
    Bytes message = Headed(current_, payload);
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
    if (message.size() < sizeof(Head)) return Diverged(absl::StrCat("received ", message.size(), " bytes"));
    const Head expected = {.step = current_.step + 1, .hash = HashBytes(std::span(message).subspan(sizeof(Head)))};
    std::memcpy(&current_, message.data(), sizeof(current_));
    if (current_.step != expected.step || current_.hash != expected.hash) {
      return Diverged(absl::StrCat("received what claims to be ", Describe(current_), "; it is ", Describe(expected)));
    }
    if (current_.tag == Tag::kEnd) return std::shared_ptr<const Batch>();
    absl::StatusOr<Batch> batch = DecodeBatch(std::span(message).subspan(sizeof(Head)));
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

  absl::Status Diverged(const std::string& what) const {
    return absl::InternalError(absl::StrCat("rank ", control_.rank(), " has diverged: it ", what));
  }

  Bytes ToMessage(const absl::StatusOr<StepOutput>& output) const {
    Head head = {.tag = Tag::kOutput, .step = current_.step, .hash = current_.hash};
    if (output.ok()) return Headed(head, Encode(*output));
    head.tag = Tag::kError;
    const absl::string_view text = output.status().message();
    return Headed(head, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }

  absl::StatusOr<StepOutput> FromMessage(const Bytes& message, int rank) const {
    Head head;
    if (message.size() < sizeof(head)) {
      return absl::InternalError(absl::StrCat("rank ", rank, " has diverged: it answers ", message.size(), " bytes"));
    }
    std::memcpy(&head, message.data(), sizeof(head));
    const std::span<const uint8_t> payload = std::span(message).subspan(sizeof(head));
    if (head.step != current_.step || head.hash != current_.hash) {
      return absl::InternalError(absl::StrCat("rank ", rank, " has diverged: it answers ", Describe(head),
                                              ", and was asked ", Describe(current_)));
    }
    if (head.tag == Tag::kOutput) return DecodeStepOutput(payload);
    return absl::UnavailableError(absl::StrCat(
        "rank ", rank, " failed: ", absl::string_view(reinterpret_cast<const char*>(payload.data()), payload.size())));
  }

  Communicator& control_;
  const absl::Duration max_silence_;
  Head current_;  // of the last batch
};

}  // namespace

std::unique_ptr<StepLink> CreateRemoteStepLink(Communicator& control, absl::Duration max_silence) {
  return std::make_unique<RemoteStepLink>(control, max_silence);
}

}  // namespace switchyard
