// From what clients ask for to what sequences follow: compiles constraints for one vocabulary, and keeps them.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/constraint/forbidden_texts.h"
#include "engine/constraint/grammar.h"

namespace switchyard {

struct ConstraintSpec {
  enum class Kind {
    kJsonObject,  // any object
    kJsonSchema,  // `text` is the schema
    kRegex,       // `text` is the pattern; the whole answer matches it
    kChoice,      // one of `choices`
  };
  Kind kind = Kind::kJsonObject;
  std::string text;
  std::vector<std::string> choices;
  // Stands before the constrained text as it is: "[TOOL_CALLS] ".
  std::string prefix;
  // The answer loses one leading space when it is decoded (GenerationRequest::text_continues_prompt is false, and the
  // tokenizer drops it): one more may be generated, and is not part of the text.
  bool leading_space_is_dropped = false;
};

// Thread safety: any thread. Compiling takes up to ConstraintLimits::max_time, so not on the engine's thread.
class ConstraintCompiler {
 public:
  // `tokenizer` is borrowed. At most `max_kept` grammars are kept for later requests, the least recently used dropped.
  ConstraintCompiler(const Tokenizer* tokenizer, int64_t vocab_size, size_t max_kept = 32,
                     const ConstraintLimits& limits = {});

  // INVALID_ARGUMENT names the keyword, the construct or the limit.
  absl::StatusOr<std::shared_ptr<Grammar>> Compile(const ConstraintSpec& spec);
  absl::StatusOr<std::shared_ptr<ForbiddenTexts>> Forbid(std::span<const std::string> texts) const;

  const VocabularyTrie& trie() const { return *trie_; }

 private:
  struct Kept {
    std::string key;
    std::shared_ptr<Grammar> grammar;
  };

  absl::StatusOr<std::shared_ptr<Grammar>> CompileAnew(const ConstraintSpec& spec) const;

  const std::shared_ptr<const VocabularyTrie> trie_;
  const size_t max_kept_;
  const ConstraintLimits limits_;

  std::mutex mu_;
  // Guarded by mu_. Found by the whole spec, so that no two are ever taken for each other.
  std::list<Kept> kept_;  // the most recently used first
  std::unordered_map<std::string, std::list<Kept>::iterator> index_;
};

}  // namespace switchyard
