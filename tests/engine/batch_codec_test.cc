#include "engine/batch_codec.h"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <random>

namespace switchyard {
namespace {

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  int32_t Int() { return static_cast<int32_t>(engine_()); }
  size_t Size(size_t limit) { return engine_() % (limit + 1); }
  float Float() {  // now and then what the arithmetic of a batch may really hold
    switch (engine_() % 8) {
      case 0:
        return -std::numeric_limits<float>::infinity();
      case 1:
        return std::numeric_limits<float>::quiet_NaN();
      default:
        return static_cast<float>(Int()) / 1e6f;
    }
  }
  template <typename Make>
  auto List(size_t limit, Make make) {
    std::vector<decltype(make())> list(Size(limit));
    for (auto& element : list) element = make();
    return list;
  }

 private:
  std::mt19937 engine_;
};

SamplingRow RandomRow(Random& random) {
  return {.temperature = random.Float(),
          .top_k = random.Int(),
          .top_p = random.Float(),
          .min_p = random.Float(),
          .repetition_penalty = random.Float(),
          .presence_penalty = random.Float(),
          .frequency_penalty = random.Float(),
          .seed = static_cast<uint64_t>(random.Int()) << 32,
          .draw = static_cast<uint64_t>(random.Int()),
          .num_top_logprobs = random.Int(),
          .counts = random.List(5,
                                [&] {
                                  return TokenCount{random.Int(), random.Int(), random.Int()};
                                }),
          .biases = random.List(5,
                                [&] {
                                  return LogitBias{random.Int(), random.Float()};
                                }),
          .allowed = random.Size(1) == 0
                         ? nullptr
                         : std::make_shared<const TokenMask>(TokenMask{7u, static_cast<uint32_t>(random.Int())})};
}

Batch RandomBatch(uint32_t seed) {
  Random random(seed);
  Batch batch;
  batch.step = static_cast<uint64_t>(random.Int()) << 20;
  batch.exchange = static_cast<ExchangeStrategy>(random.Size(2));
  batch.tokens = random.List(40, [&] { return random.Int(); });
  batch.sequences = random.List(6, [&] {
    return BatchSequence{random.Int(), random.Int(), random.Int(), random.Int(), random.Int(), random.Int()};
  });
  batch.pages = random.List(20, [&] { return random.Int(); });
  batch.samples = random.List(6, [&] { return SampleRequest{random.Int(), RandomRow(random), random.Size(1) == 0}; });
  batch.scores = random.List(6, [&] { return ScoreRequest{random.Int(), {random.Int(), random.Int()}}; });
  return batch;
}

StepOutput RandomOutput(uint32_t seed) {
  Random random(seed);
  const auto top = [&] { return random.List(4, [&] { return TokenLogProb{random.Int(), random.Float()}; }); };
  StepOutput output;
  output.samples = random.List(6, [&] {
    return StepOutput::Sampled{random.Int(), {random.Int(), random.Float(), top()}, random.List(4, [&] {
                                 return static_cast<int16_t>(random.Int());
                               })};
  });
  output.scores = random.List(6, [&] {
    return StepOutput::Scored{random.Int(), {random.Float(), random.Int(), top()}};
  });
  output.expert_tokens = random.List(16, [&] { return static_cast<uint32_t>(random.Int()); });
  output.dispatch_seconds = random.Float();
  output.expert_seconds = random.Float();
  output.combine_seconds = random.Float();
  output.exchange_bytes = static_cast<uint64_t>(random.Int()) << 10;
  output.offload = {.num_needed = static_cast<uint64_t>(random.Int()),
                    .num_hits = static_cast<uint64_t>(random.Int()),
                    .bytes_copied = static_cast<uint64_t>(random.Int()) << 20,
                    .stall_seconds = random.Float()};
  return output;
}

// Every field, bit by bit: NaN is equal to itself.
template <typename T>
bool SameBits(const T& a, const T& b) {
  static_assert(std::is_trivially_copyable_v<T>);
  return std::memcmp(&a, &b, sizeof(T)) == 0;
}
template <typename T>
bool SameBits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

TEST(BatchCodec, ReturnsEveryFieldOfABatch) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    const Batch batch = RandomBatch(seed);
    const absl::StatusOr<Batch> decoded = DecodeBatch(Encode(batch));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    EXPECT_EQ(decoded->step, batch.step);
    EXPECT_EQ(decoded->exchange, batch.exchange);
    EXPECT_EQ(decoded->tokens, batch.tokens);
    EXPECT_TRUE(SameBits(decoded->sequences, batch.sequences));
    EXPECT_EQ(decoded->pages, batch.pages);
    EXPECT_TRUE(SameBits(decoded->scores, batch.scores));
    ASSERT_EQ(decoded->samples.size(), batch.samples.size());
    for (size_t i = 0; i < batch.samples.size(); ++i) {
      const SamplingRow& row = batch.samples[i].row;
      const SamplingRow& copy = decoded->samples[i].row;
      EXPECT_EQ(decoded->samples[i].token, batch.samples[i].token);
      EXPECT_EQ(decoded->samples[i].with_experts, batch.samples[i].with_experts);
      EXPECT_TRUE(SameBits(copy.temperature, row.temperature));
      EXPECT_EQ(copy.top_k, row.top_k);
      EXPECT_TRUE(SameBits(copy.top_p, row.top_p));
      EXPECT_TRUE(SameBits(copy.min_p, row.min_p));
      EXPECT_TRUE(SameBits(copy.repetition_penalty, row.repetition_penalty));
      EXPECT_TRUE(SameBits(copy.presence_penalty, row.presence_penalty));
      EXPECT_TRUE(SameBits(copy.frequency_penalty, row.frequency_penalty));
      EXPECT_EQ(copy.seed, row.seed);
      EXPECT_EQ(copy.draw, row.draw);
      EXPECT_EQ(copy.num_top_logprobs, row.num_top_logprobs);
      EXPECT_TRUE(SameBits(copy.counts, row.counts));
      EXPECT_EQ(copy.allowed == nullptr, row.allowed == nullptr);
      if (row.allowed != nullptr) EXPECT_EQ(*copy.allowed, *row.allowed);
      EXPECT_TRUE(SameBits(copy.biases, row.biases));
    }
  }
}

TEST(BatchCodec, ReturnsEveryFieldOfAStepOutput) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    const StepOutput output = RandomOutput(seed);
    const absl::StatusOr<StepOutput> decoded = DecodeStepOutput(Encode(output));
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    ASSERT_EQ(decoded->samples.size(), output.samples.size());
    for (size_t i = 0; i < output.samples.size(); ++i) {
      EXPECT_EQ(decoded->samples[i].index, output.samples[i].index);
      EXPECT_EQ(decoded->samples[i].token.id, output.samples[i].token.id);
      EXPECT_EQ(decoded->samples[i].experts, output.samples[i].experts);
      EXPECT_TRUE(SameBits(decoded->samples[i].token.logprob, output.samples[i].token.logprob));
      EXPECT_TRUE(SameBits(decoded->samples[i].token.top, output.samples[i].token.top));
    }
    ASSERT_EQ(decoded->scores.size(), output.scores.size());
    for (size_t i = 0; i < output.scores.size(); ++i) {
      EXPECT_EQ(decoded->scores[i].index, output.scores[i].index);
      EXPECT_TRUE(SameBits(decoded->scores[i].token.logprob, output.scores[i].token.logprob));
      EXPECT_EQ(decoded->scores[i].token.top1, output.scores[i].token.top1);
      EXPECT_TRUE(SameBits(decoded->scores[i].token.top, output.scores[i].token.top));
    }
    EXPECT_EQ(decoded->expert_tokens, output.expert_tokens);
    EXPECT_TRUE(SameBits(decoded->dispatch_seconds, output.dispatch_seconds));
    EXPECT_TRUE(SameBits(decoded->expert_seconds, output.expert_seconds));
    EXPECT_TRUE(SameBits(decoded->combine_seconds, output.combine_seconds));
    EXPECT_EQ(decoded->exchange_bytes, output.exchange_bytes);
    EXPECT_TRUE(SameBits(decoded->offload, output.offload));
  }
}

TEST(BatchCodec, RefusesBytesThatAreTruncatedOrTooLong) {
  for (uint32_t seed = 0; seed < 10; ++seed) {
    std::vector<uint8_t> batch = Encode(RandomBatch(seed));
    for (size_t size = 0; size < batch.size(); ++size) EXPECT_FALSE(DecodeBatch({batch.data(), size}).ok()) << size;
    batch.push_back(0);
    EXPECT_FALSE(DecodeBatch(batch).ok());
    std::vector<uint8_t> output = Encode(RandomOutput(seed));
    for (size_t size = 0; size < output.size(); ++size) {
      EXPECT_FALSE(DecodeStepOutput({output.data(), size}).ok()) << size;
    }
    output.push_back(0);
    EXPECT_FALSE(DecodeStepOutput(output).ok());
  }
}

TEST(BatchCodec, TellsABatchFromAStepOutput) {
  EXPECT_EQ(DecodeBatch(Encode(StepOutput{})).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DecodeStepOutput(Encode(Batch{})).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(BatchCodec, RefusesAnUnknownExchange) {
  for (const int exchange : {-1, 3}) {
    Batch batch;
    batch.exchange = static_cast<ExchangeStrategy>(exchange);
    EXPECT_FALSE(DecodeBatch(Encode(batch)).ok());
  }
}

// A count of 2^60 elements must fail before memory for it is asked for: the test would die of bad_alloc.
TEST(BatchCodec, BelievesNoCountBeforeItsBytesAreThere) {
  const std::vector<uint8_t> bytes = Encode(RandomBatch(3));
  for (size_t at = 4; at + 8 <= bytes.size(); ++at) {
    std::vector<uint8_t> huge = bytes;
    const uint64_t count = uint64_t{1} << 60;
    std::memcpy(huge.data() + at, &count, sizeof(count));
    const absl::StatusOr<Batch> decoded = DecodeBatch(huge);
    if (decoded.ok()) {
      EXPECT_EQ(Encode(*decoded), huge);
    }
  }
}

// Damage is either refused or, where any value is valid, kept to the field that it hit.
TEST(BatchCodec, SurvivesDamage) {
  std::mt19937 random(7);
  for (uint32_t seed = 0; seed < 2000; ++seed) {
    std::vector<uint8_t> bytes = seed % 2 == 0 ? Encode(RandomBatch(seed)) : Encode(RandomOutput(seed));
    for (uint32_t i = 0; i < 1 + seed % 3; ++i) bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
    const absl::StatusOr<Batch> batch = DecodeBatch(bytes);
    if (batch.ok()) {
      EXPECT_EQ(Encode(*batch), bytes);
    }
    const absl::StatusOr<StepOutput> output = DecodeStepOutput(bytes);
    if (output.ok()) {
      EXPECT_EQ(Encode(*output), bytes);
    }
  }
}

}  // namespace
}  // namespace switchyard
