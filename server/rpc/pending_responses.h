// Responses of one stream that wait for its reader: at most one per request, into which later ones merge.
#pragma once

#include <cstddef>
#include <list>
#include <optional>
#include <string>
#include <unordered_map>

#include "switchyard/v1/generation.pb.h"

namespace switchyard {

// Not thread-safe.
class PendingResponses {
 public:
  explicit PendingResponses(size_t max_bytes) : max_bytes_(max_bytes) {}

  // False, and nothing is kept of `response`: more than max_bytes would wait. A response of any size is taken when
  // nothing else waits, so a reader that keeps up is never refused.
  [[nodiscard]] bool Add(v1::GenerateResponse response);
  // The one whose first part has waited the longest.
  std::optional<v1::GenerateResponse> Take();
  void Clear();

  bool empty() const { return waiting_.empty(); }

 private:
  // constant after construction
  size_t max_bytes_;

  struct Entry {
    v1::GenerateResponse response;
    size_t bytes = 0;  // serialised, before merging
  };

  size_t bytes_ = 0;          // of all entries
  std::list<Entry> waiting_;  // in order of arrival
  // Request id -> the entry into which its next response merges.
  std::unordered_map<std::string, std::list<Entry>::iterator> open_;
};

// Appends a later response of the same request.
void Merge(v1::GenerateResponse later, v1::GenerateResponse* into);

}  // namespace switchyard
