#include "server/rpc/pending_responses.h"

#include <iterator>
#include <utility>

namespace switchyard {

void Merge(v1::GenerateResponse later, v1::GenerateResponse* into) {
  into->mutable_text()->append(later.text());
  later.clear_text();  // MergeFrom would put it in the place of the earlier text
  into->MergeFrom(later);
}

bool PendingResponses::Add(v1::GenerateResponse response) {
  const size_t size = response.ByteSizeLong();
  if (!waiting_.empty() && bytes_ + size > max_bytes_) return false;
  bytes_ += size;
  const std::string id = response.request_id();
  const bool is_last = response.has_status();
  // An error stays by itself: it may answer another request of the same id.
  const bool is_error = is_last && response.status().code() != 0;
  const auto found = open_.find(id);
  if (found != open_.end() && !is_error) {
    Entry& entry = *found->second;
    entry.bytes += size;
    Merge(std::move(response), &entry.response);
    if (is_last) open_.erase(found);
    return true;
  }
  waiting_.push_back({std::move(response), size});
  if (is_last) {
    open_.erase(id);
  } else {
    open_.emplace(id, std::prev(waiting_.end()));
  }
  return true;
}

std::optional<v1::GenerateResponse> PendingResponses::Take() {
  if (waiting_.empty()) return std::nullopt;
  Entry entry = std::move(waiting_.front());
  const auto found = open_.find(entry.response.request_id());
  if (found != open_.end() && found->second == waiting_.begin()) open_.erase(found);
  waiting_.pop_front();
  bytes_ -= entry.bytes;
  return std::move(entry.response);
}

void PendingResponses::Clear() {
  waiting_.clear();
  open_.clear();
  bytes_ = 0;
}

}  // namespace switchyard
