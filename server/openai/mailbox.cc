#include "server/openai/mailbox.h"

#include <iterator>
#include <utility>

namespace switchyard::openai {
namespace {

// What an update costs in memory, about.
size_t Bytes(const RequestUpdate& update) {
  size_t bytes = sizeof(update) + update.text.size();
  for (const GeneratedToken& token : update.tokens) bytes += sizeof(token) + token.top.size() * sizeof(TokenLogProb);
  if (update.prompt_logprobs.has_value()) {
    for (const PromptLogProb& entry : *update.prompt_logprobs) {
      bytes += sizeof(entry) + entry.top.size() * sizeof(TokenLogProb);
    }
  }
  return bytes;
}

}  // namespace

void Merge(RequestUpdate later, RequestUpdate* update) {
  update->tokens.insert(update->tokens.end(), std::make_move_iterator(later.tokens.begin()),
                        std::make_move_iterator(later.tokens.end()));
  update->text += later.text;
  if (later.prompt_logprobs.has_value()) {
    update->prompt_logprobs = std::move(later.prompt_logprobs);
    update->prompt_top1 = later.prompt_top1;
  }
  update->finish = later.finish;
  update->matched_stop = std::move(later.matched_stop);
  update->matched_stop_id = later.matched_stop_id;
  update->status = std::move(later.status);
  update->usage = later.usage;
  update->timings = later.timings;
}

Mailbox::Mailbox(const Options& options) : options_(options), unread_(options.num_choices) {}

Mailbox::Delivery Mailbox::Put(size_t choice, RequestUpdate update) {
  absl::MutexLock lock(&mu_);
  if (closed_ || overflowed_) return Delivery::kDropped;
  if (update.finish.has_value()) ++num_finished_;
  unread_bytes_ += Bytes(update);
  std::vector<RequestUpdate>& unread = unread_[choice];
  if (!unread.empty() && unread.size() >= options_.merge_after) {
    Merge(std::move(update), &unread.back());
  } else {
    unread.push_back(std::move(update));
  }
  if (options_.max_bytes == 0 || unread_bytes_ <= options_.max_bytes) return Delivery::kKept;
  overflowed_ = true;
  return Delivery::kOverflowed;
}

std::vector<Mailbox::Letter> Mailbox::TakeAll() {
  std::vector<Letter> letters;
  absl::MutexLock lock(&mu_);
  for (size_t choice = 0; choice < unread_.size(); ++choice) {
    for (RequestUpdate& update : unread_[choice]) letters.push_back({choice, std::move(update)});
    unread_[choice].clear();
  }
  unread_bytes_ = 0;
  return letters;
}

size_t Mailbox::num_finished() const {
  absl::MutexLock lock(&mu_);
  return num_finished_;
}

bool Mailbox::overflowed() const {
  absl::MutexLock lock(&mu_);
  return overflowed_;
}

void Mailbox::Close() {
  absl::MutexLock lock(&mu_);
  closed_ = true;
  unread_.assign(unread_.size(), {});
  unread_bytes_ = 0;
}

}  // namespace switchyard::openai
