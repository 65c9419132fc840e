// Rotary embedding with the write into pages, and paged attention in its two forms.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "absl/strings/str_cat.h"
#include "bench/gpu_kernel_cases.h"
#include "kernels/cuda/paged_attention.h"
#include "kernels/cuda/rope.h"

namespace switchyard {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Sequences of the same length in one step, each with its last `tokens` positions in it.
struct StepShape {
  int64_t sequences = 0;
  int64_t tokens = 0;   // of each sequence
  int64_t context = 0;  // of each sequence, those of the step included
};

// The step's index (AttentionIndex) on the device, for `sets` sets of pages in one pool.
struct StepIndex {
  const int32_t* positions = nullptr;       // [tokens]
  const int32_t* token_sequence = nullptr;  // [tokens]
  const int32_t* sequence_begin = nullptr;  // [sequences + 1]
  const int32_t* page_tables = nullptr;     // [sets, sequences, width]: pages in random order
  int64_t width = 0;                        // pages of a sequence
  int64_t pages = 0;                        // of all sets
};

StepIndex MakeIndex(const StepShape& step, int64_t page_size, int64_t sets, GpuInputs& inputs) {
  std::vector<int32_t> positions;
  std::vector<int32_t> token_sequence;
  std::vector<int32_t> sequence_begin = {0};
  for (int64_t s = 0; s < step.sequences; ++s) {
    for (int64_t i = 0; i < step.tokens; ++i) {
      positions.push_back(static_cast<int32_t>(step.context - step.tokens + i));
      token_sequence.push_back(static_cast<int32_t>(s));
    }
    sequence_begin.push_back(static_cast<int32_t>(positions.size()));
  }
  StepIndex index = {.positions = inputs.Upload(positions),
                     .token_sequence = inputs.Upload(token_sequence),
                     .sequence_begin = inputs.Upload(sequence_begin),
                     .width = CeilDiv(step.context, page_size)};
  index.pages = sets * step.sequences * index.width;
  index.page_tables = inputs.Upload(RandomOrder(index.pages));
  return index;
}

cuda::RopeAppendKvArgs RopeArgs(const BenchModel& model, BenchDevice& device, int64_t tokens) {
  const int64_t rotary_half = model.head_dim / 2;
  std::vector<float> inv_freq;
  for (int64_t i = 0; i < rotary_half; ++i) {
    inv_freq.push_back(std::pow(1e6f, -static_cast<float>(i) / static_cast<float>(rotary_half)));
  }
  return {.dtype = device.dtype,
          .num_tokens = tokens,
          .num_heads = model.num_heads,
          .num_kv_heads = model.num_kv_heads,
          .head_dim = model.head_dim,
          .inv_freq = device.inputs.Upload(inv_freq),
          .rotary_dim = model.head_dim,
          .page_size = model.page_size};
}

// Decode: sequences of one token each. Prefill: one sequence from its beginning, in full pages.
KernelCase RopeCase(const BenchModel& model, int64_t tokens, bool is_decode) {
  return {absl::StrCat("RopeAppendKv ", is_decode ? "decode" : "prefill", ", ", tokens, " tokens"),
          [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
            const int64_t full_pages = CeilDiv(tokens, model.page_size);
            const int64_t rows = is_decode ? tokens : full_pages * model.page_size;
            // qkv read once and written once.
            const double bytes = static_cast<double>(rows * model.qkv_width()) * 2 * 2;
            const int64_t sets = device.ActivationSets(bytes);
            cuda::RopeAppendKvArgs args = RopeArgs(model, device, rows);
            const int64_t pages = is_decode ? rows : full_pages;
            if (is_decode) {
              // The token is the first of its page; its sequence's table has no other page.
              constexpr int64_t kWidth = 256;
              std::vector<int32_t> sequence(static_cast<size_t>(rows));
              std::iota(sequence.begin(), sequence.end(), 0);
              std::vector<int32_t> table;
              for (int64_t s = 0; s < rows; ++s) table.insert(table.end(), kWidth, static_cast<int32_t>(s));
              const auto position = static_cast<int32_t>((kWidth - 1) * model.page_size);
              args.positions = device.inputs.Upload(std::vector<int32_t>(static_cast<size_t>(rows), position));
              args.token_sequence = device.inputs.Upload(sequence);
              args.page_table = device.inputs.Upload(table);
              args.page_table_width = kWidth;
            } else {
              const StepIndex index = MakeIndex({1, rows, rows}, model.page_size, 1, device.inputs);
              args.positions = index.positions;
              args.token_sequence = index.token_sequence;
              args.page_table = index.page_tables;
              args.page_table_width = index.width;
            }
            const int64_t qkv_size = rows * model.qkv_width();
            const int64_t q_size = rows * model.attention_width();
            const int64_t page_rows = pages * model.num_kv_heads * model.page_size;
            void* qkv = device.inputs.RandomHalves(device.dtype, sets * qkv_size);
            void* q_out = device.inputs.Uninitialized<uint16_t>(sets * q_size);
            void* k = device.inputs.Uninitialized<uint16_t>(sets * page_rows * model.head_dim);
            void* v = device.inputs.Uninitialized<uint16_t>(sets * page_rows * model.head_dim);
            const int64_t written_every = is_decode ? model.page_size : 1;
            const auto pages_output = [&](const char* name, void* data) {
              return KernelOutput{.name = name,
                                  .data = data,
                                  .dtype = device.dtype,
                                  .rows = sets * page_rows / written_every,
                                  .row_elements = model.head_dim,
                                  .row_stride = written_every * model.head_dim};
            };
            return KernelRun{
                .launch =
                    [=, stream = device.stream](int64_t set) {
                      cuda::RopeAppendKvArgs of_set = args;
                      of_set.qkv = HalfAt(qkv, set * qkv_size);
                      of_set.q_out = HalfAt(q_out, set * q_size);
                      of_set.k_pages = HalfAt(k, set * page_rows * model.head_dim);
                      of_set.v_pages = HalfAt(v, set * page_rows * model.head_dim);
                      cuda::RopeAppendKv(of_set, stream);
                      return absl::OkStatus();
                    },
                .num_sets = sets,
                .min_bytes = bytes,
                .outputs = {{.name = "q", .data = q_out, .dtype = device.dtype, .row_elements = sets * q_size},
                            pages_output("k", k),
                            pages_output("v", v)}};
          }};
}

KernelCase AttentionCase(const BenchModel& model, const StepShape& step) {
  const std::string shape = step.tokens == 1
                                ? absl::StrCat("decode, batch ", step.sequences, ", context ", step.context)
                                : absl::StrCat("prefill, ", step.sequences, " x ", step.tokens, " tokens");
  return {absl::StrCat("PagedAttention ", shape), [=](BenchDevice& device) -> absl::StatusOr<KernelRun> {
            const int64_t tokens = step.sequences * step.tokens;
            const int64_t q_size = tokens * model.attention_width();
            const double kv_bytes =
                static_cast<double>(step.sequences * step.context * model.num_kv_heads * model.head_dim) * 2 * 2;
            // In decode keys and values come from memory; in prefill the step has just written them.
            const bool is_decode = step.tokens == 1;
            const int64_t sets = is_decode ? device.Sets(kv_bytes) : 1;
            const StepIndex index = MakeIndex(step, model.page_size, sets, device.inputs);
            const int64_t pool = index.pages * model.num_kv_heads * model.page_size * model.head_dim;
            const cuda::PagedAttentionArgs args = {
                .dtype = device.dtype,
                .num_tokens = tokens,
                .num_sequences = step.sequences,
                .num_heads = model.num_heads,
                .num_kv_heads = model.num_kv_heads,
                .head_dim = model.head_dim,
                .scale = 1.0f / std::sqrt(static_cast<float>(model.head_dim)),
                .q = device.inputs.RandomHalves(device.dtype, q_size),
                .positions = index.positions,
                .token_sequence = index.token_sequence,
                .sequence_begin = index.sequence_begin,
                .page_table_width = index.width,
                .page_size = model.page_size,
                .k_pages = device.inputs.RandomHalves(device.dtype, pool),
                .v_pages = device.inputs.RandomHalves(device.dtype, pool),
                .max_context = step.context,
                .max_query_tokens = step.tokens,
                .min_query_tokens = step.tokens,
                .num_multiprocessors = device.num_multiprocessors,
                .scratch = device.inputs.Bytes(
                    cuda::PagedAttentionScratchBytes(step.sequences, model.num_heads, model.head_dim), 0),
                .out = device.inputs.Uninitialized<uint16_t>(q_size)};
            // The token at position p of a sequence sees p + 1 keys.
            const double first = static_cast<double>(step.context - step.tokens);
            const double count = static_cast<double>(step.tokens);
            const double visible = static_cast<double>(step.sequences) * (count * first + count * (count + 1) / 2);
            return KernelRun{
                .launch =
                    [=, stream = device.stream](int64_t set) {
                      cuda::PagedAttentionArgs of_set = args;
                      of_set.page_table = index.page_tables + set * step.sequences * index.width;
                      cuda::PagedAttention(of_set, stream);
                      return absl::OkStatus();
                    },
                .num_sets = sets,
                .streamed_bytes = is_decode ? kv_bytes : 0,
                // Keys and values and queries read, out written.
                .min_bytes = kv_bytes + static_cast<double>(q_size) * 2 * 2,
                // A product with the key and one with the value.
                .min_operations = visible * static_cast<double>(model.attention_width()) * 2 * 2,
                .outputs = {{.name = "out", .data = args.out, .dtype = device.dtype, .row_elements = q_size}}};
          }};
}

}  // namespace

std::vector<KernelCase> AttentionCases(const BenchModel& model) {
  std::vector<KernelCase> cases;
  for (const int64_t tokens : Bounded({1, 8, 64}, model.max_sequences)) cases.push_back(RopeCase(model, tokens, true));
  cases.push_back(RopeCase(model, std::min<int64_t>(4096, model.max_tokens), false));
  // Contexts of one part, of parts that the last block adds up, and long ones.
  for (const int64_t batch : Bounded({1, 16, 64, 256}, model.max_sequences)) {
    for (const int64_t context : Bounded({128, 256, 1024, 4096, 32768}, model.max_context)) {
      cases.push_back(AttentionCase(model, {batch, 1, context}));
    }
  }
  for (const int64_t tokens : Bounded({512, 4096, 16384}, model.max_tokens)) {
    cases.push_back(AttentionCase(model, {1, tokens, tokens}));
  }
  const int64_t sequences = std::min<int64_t>(8, model.max_sequences);
  const int64_t tokens = std::min<int64_t>(512, model.max_tokens / sequences);
  cases.push_back(AttentionCase(model, {sequences, tokens, tokens}));
  return cases;
}

}  // namespace switchyard
