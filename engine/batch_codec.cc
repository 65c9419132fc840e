#include "engine/batch_codec.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

namespace switchyard {
namespace {

constexpr uint32_t kBatchTag = 0x54414253;   // "SBAT"
constexpr uint32_t kOutputTag = 0x54554f53;  // "SOUT"

class Writer {
 public:
  template <typename T>
  void Field(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    Bytes(&value, sizeof(T));
  }
  template <typename T>
  void Field(const std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    Field(static_cast<uint64_t>(values.size()));
    Bytes(values.data(), values.size() * sizeof(T));
  }
  void Field(const std::shared_ptr<const TokenMask>& mask) { Field(mask != nullptr ? *mask : TokenMask()); }
  template <typename T, typename Each>
  void List(const std::vector<T>& values, Each each) {
    Field(static_cast<uint64_t>(values.size()));
    for (const T& value : values) each(*this, value);
  }
  std::vector<uint8_t> Take() { return std::move(bytes_); }

 private:
  void Bytes(const void* data, size_t size) {
    const auto* begin = static_cast<const uint8_t*>(data);
    bytes_.insert(bytes_.end(), begin, begin + size);
  }
  std::vector<uint8_t> bytes_;
};

// Mirrors Writer. After the first failure nothing more is read.
class Reader {
 public:
  explicit Reader(std::span<const uint8_t> bytes) : rest_(bytes) {}

  template <typename T>
  void Field(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (Has(1, sizeof(T))) Bytes(&value, sizeof(T));
  }
  // Refuses bytes that are no bool.
  void Field(bool& value) {
    uint8_t byte = 0;
    Field(byte);
    ok_ = ok_ && byte <= 1;
    value = byte == 1;
  }
  template <typename T>
  void Field(std::vector<T>& values) {
    uint64_t count = 0;
    Field(count);
    if (!Has(count, sizeof(T))) return;
    values.resize(count);
    Bytes(values.data(), count * sizeof(T));
  }
  void Field(std::shared_ptr<const TokenMask>& mask) {
    TokenMask words;
    Field(words);
    if (!words.empty()) mask = std::make_shared<const TokenMask>(std::move(words));
  }
  template <typename T, typename Each>
  void List(std::vector<T>& values, Each each) {
    uint64_t count = 0;
    Field(count);
    // Every element takes some bytes, so a false count ends the loop early instead of filling the memory.
    for (uint64_t i = 0; i < count && ok_; ++i) each(*this, values.emplace_back());
  }
  bool IsComplete() const { return ok_ && rest_.empty(); }

 private:
  bool Has(uint64_t count, size_t size) {
    ok_ = ok_ && count <= rest_.size() / size;
    return ok_;
  }
  void Bytes(void* data, size_t size) {
    if (size > 0) std::memcpy(data, rest_.data(), size);
    rest_ = rest_.subspan(size);
  }
  std::span<const uint8_t> rest_;
  bool ok_ = true;
};

// One description of each layout for both directions.
template <typename Codec, typename Row>
void SampleFields(Codec& codec, Row& sample) {
  codec.Field(sample.token);
  codec.Field(sample.with_experts);
  auto& row = sample.row;
  codec.Field(row.temperature);
  codec.Field(row.top_k);
  codec.Field(row.top_p);
  codec.Field(row.min_p);
  codec.Field(row.repetition_penalty);
  codec.Field(row.presence_penalty);
  codec.Field(row.frequency_penalty);
  codec.Field(row.seed);
  codec.Field(row.draw);
  codec.Field(row.num_top_logprobs);
  codec.Field(row.counts);
  codec.Field(row.biases);
  codec.Field(row.allowed);
}

template <typename Codec, typename AnyBatch>
void BatchFields(Codec& codec, AnyBatch& batch) {
  codec.Field(batch.step);
  codec.Field(batch.exchange);
  codec.Field(batch.tokens);
  codec.Field(batch.sequences);
  codec.Field(batch.pages);
  codec.List(batch.samples, [](Codec& each, auto& sample) { SampleFields(each, sample); });
  codec.Field(batch.scores);
}

template <typename Codec, typename AnyOutput>
void OutputFields(Codec& codec, AnyOutput& output) {
  codec.List(output.samples, [](Codec& each, auto& sampled) {
    each.Field(sampled.index);
    each.Field(sampled.token.id);
    each.Field(sampled.token.logprob);
    each.Field(sampled.token.top);
    each.Field(sampled.experts);
  });
  codec.List(output.scores, [](Codec& each, auto& scored) {
    each.Field(scored.index);
    each.Field(scored.token.logprob);
    each.Field(scored.token.top1);
    each.Field(scored.token.top);
  });
  codec.Field(output.expert_tokens);
  codec.Field(output.dispatch_seconds);
  codec.Field(output.expert_seconds);
  codec.Field(output.combine_seconds);
  codec.Field(output.exchange_bytes);
  codec.Field(output.offload);
}

}  // namespace

std::vector<uint8_t> Encode(const Batch& batch) {
  Writer writer;
  writer.Field(kBatchTag);
  BatchFields(writer, batch);
  return writer.Take();
}

std::vector<uint8_t> Encode(const StepOutput& output) {
  Writer writer;
  writer.Field(kOutputTag);
  OutputFields(writer, output);
  return writer.Take();
}

// FNV-1a over words instead of bytes, with the high bits folded in.
uint64_t HashBytes(std::span<const uint8_t> bytes) {
  uint64_t hash = 0xcbf29ce484222325u ^ bytes.size();
  while (!bytes.empty()) {
    uint64_t word = 0;
    const size_t size = std::min(bytes.size(), sizeof(word));
    std::memcpy(&word, bytes.data(), size);
    bytes = bytes.subspan(size);
    hash = (hash ^ word) * 0x100000001b3u;
    hash ^= hash >> 32;
  }
  return hash;
}

absl::StatusOr<Batch> DecodeBatch(std::span<const uint8_t> bytes) {
  Reader reader(bytes);
  uint32_t tag = 0;
  Batch batch;
  reader.Field(tag);
  if (tag == kBatchTag) BatchFields(reader, batch);
  const auto exchange = static_cast<int>(batch.exchange);
  if (tag != kBatchTag || !reader.IsComplete() || exchange < 0 ||
      exchange > static_cast<int>(ExchangeStrategy::kAllReduce)) {
    return absl::InvalidArgumentError("received bytes that are not a batch; do all processes run the same build?");
  }
  return batch;
}

absl::StatusOr<StepOutput> DecodeStepOutput(std::span<const uint8_t> bytes) {
  Reader reader(bytes);
  uint32_t tag = 0;
  StepOutput output;
  reader.Field(tag);
  if (tag == kOutputTag) OutputFields(reader, output);
  if (tag != kOutputTag || !reader.IsComplete()) {
    return absl::InvalidArgumentError(
        "received bytes that are not a step's output; do all processes run the same build?");
  }
  return output;
}

}  // namespace switchyard
