// The `model` of tokenizer.json: byte-pair encoding as Hugging Face's `tokenizers` does it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "engine/text/tokenizer_json/string_map.h"

namespace switchyard::tokenizer_json {

inline constexpr int32_t kMaxTokenId = 1 << 24;  // a table has one entry per id: bounds what a damaged file can ask for

// Thread safety: immutable.
class BpeModel {
 public:
  // UNIMPLEMENTED names another type of model and dropout; INVALID_ARGUMENT names a bad field, token or merge.
  static absl::StatusOr<BpeModel> Parse(const std::string& place, const nlohmann::json& json);

  // Work memory, and the words met so far. One per text; not thread-safe.
  class Scratch {
   private:
    friend class BpeModel;
    struct Symbol {
      int32_t id = 0;
      int32_t previous = 0;  // positions in symbols; -1: none
      int32_t next = 0;
      bool merged = false;  // into the one before it
    };
    struct Candidate {
      int32_t rank = 0;
      int32_t position = 0;
      int32_t id = 0;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> queue;  // a heap
    std::string name;
    std::vector<int32_t> cached_ids;
    StringMap<std::pair<size_t, size_t>> cache;  // word -> range of cached_ids
  };
  // Appends the tokens of one piece. O(n log n) in its bytes; a character without a token goes as the fields
  // byte_fallback and unk_token say, or is lost without them.
  void Encode(std::string_view piece, Scratch* scratch, std::vector<int32_t>* ids) const;

  std::optional<int32_t> Find(std::string_view token) const;
  const StringMap<int32_t>& vocabulary() const { return vocabulary_; }

 private:
  struct Merge {
    int32_t rank = 0;
    int32_t id = 0;  // of the pair as one
  };
  using Pair = uint64_t;  // left id, right id

  static Pair PairOf(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  absl::Status ReadMerges(const std::string& place, const nlohmann::json& json);
  void BuildSymbolTables();

  // The piece as one token per character, in scratch->symbols.
  void Spell(std::string_view piece, Scratch* scratch) const;
  int32_t CharacterId(std::string_view character, bool is_first, bool is_last, Scratch* scratch) const;  // -1: none
  void MergeAll(Scratch* scratch) const;
  void Offer(int32_t left, Scratch* scratch) const;

  StringMap<int32_t> vocabulary_;
  absl::flat_hash_map<Pair, Merge> merges_;
  std::string subword_prefix_;  // of every character but a piece's first
  std::string word_suffix_;     // of a piece's last
  std::optional<int32_t> unk_id_;
  bool fuse_unk_ = false;
  bool ignore_merges_ = false;
  bool byte_fallback_ = false;
  std::vector<int32_t> ids_of_characters_;  // [code below U+0800], -1: none
  std::vector<int32_t> ids_of_bytes_;       // [256], of "<0x00>" and so on; -1: none
};

}  // namespace switchyard::tokenizer_json
