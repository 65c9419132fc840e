#include "kernels/cuda/quantized_experts.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/cuda/expert_sum.h"
#include "kernels/cuda/experts_scratch.h"
#include "kernels/cuda/quantized_columns.h"

namespace switchyard::cuda {
namespace {

int64_t PlaceStride(const QuantizedMatrix& matrix) { return static_cast<int64_t>(matrix.stride / sizeof(int32_t)); }

void Multiply(const QuantizedGemmArgs& args, QuantizedForm form, Stream stream) {
  const auto multiply = form == QuantizedForm::kStreaming ? LaunchQuantizedGemmStreaming : LaunchQuantizedGemmTiled;
  multiply(args, stream);
}

// Both products of the experts that have a place.
void MultiplyExperts(const RunQuantizedExpertsArgs& args, const ExpertsScratch& scratch, const int32_t* expert_place,
                     Stream stream) {
  ExpertPermutation lists = scratch.permutation;
  lists.expert_place = expert_place;
  const QuantizedForm form =
      args.form.value_or(ChooseQuantizedForm(args.gate_up.quantization.format, lists.num_pairs, lists.num_experts));
  const bool is_gathered = args.gate_up.column_place != nullptr;
  if (is_gathered) {
    // An entry's row of y is free until its second product.
    ReorderColumns({.dtype = args.dtype,
                    .num_entries = lists.num_pairs,
                    .columns = args.gate_up.columns,
                    .x = args.rows,
                    .x_row = lists.entry_row,
                    .offsets = lists.offsets,
                    .num_experts = lists.num_experts,
                    .expert_place = expert_place,
                    .column_place = args.gate_up.column_place,
                    .place_stride = PlaceStride(args.gate_up),
                    .y = scratch.y},
                   stream);
  }
  Multiply({.dtype = args.dtype,
            .y_dtype = args.dtype,
            .is_gate_up = true,
            .weights = args.gate_up,
            .x = is_gathered ? scratch.y : args.rows,
            .x_row = is_gathered ? nullptr : lists.entry_row,
            .y = scratch.act,
            .y_place = args.down.column_place,
            .y_place_stride = PlaceStride(args.down),
            .permutation = lists,
            .num_multiprocessors = args.num_multiprocessors},
           form, stream);
  Multiply({.dtype = args.dtype,
            .y_dtype = args.dtype,
            .weights = args.down,
            .x = scratch.act,
            .weight = lists.entry_weight,
            .y = scratch.y,
            .permutation = lists,
            .lists_are_settled = true,
            .num_multiprocessors = args.num_multiprocessors},
           form, stream);
}

}  // namespace

void RunQuantizedExperts(const RunQuantizedExpertsArgs& args, Stream stream) {
  const int64_t hidden = args.down.rows;
  const int64_t intermediate = args.down.columns;
  CHECK(hidden > 0 && hidden % 8 == 0);
  CHECK(intermediate > 0 && intermediate % 8 == 0);
  CHECK_EQ(args.gate_up.rows, 2 * intermediate);
  CHECK_EQ(args.gate_up.columns, hidden);
  CHECK(args.top_k > 0);
  if (args.num_rows == 0) return;

  const ExpertsScratch scratch =
      DivideExpertsScratch(args.num_rows, args.top_k, hidden, intermediate, args.num_local_experts, args.scratch);
  PermuteExperts({.top_k = args.top_k,
                  .first_slot = args.first_slot,
                  .slots = args.slots,
                  .weights = args.weights,
                  .permutation = scratch.permutation},
                 stream);
  if (args.num_local_experts > 0) {
    const auto multiply = [&](const int32_t* expert_place) { MultiplyExperts(args, scratch, expert_place, stream); };
    if (args.turns) {
      args.turns(scratch.permutation.offsets, multiply);
    } else {
      multiply(nullptr);
    }
  }
  SumExperts({.dtype = args.dtype,
              .num_rows = args.num_rows,
              .top_k = args.top_k,
              .hidden_size = hidden,
              .place = scratch.permutation.place,
              .y = scratch.y,
              .out = args.out},
             stream);
}

void QuantizedLinear(const QuantizedLinearArgs& args, Stream stream) {
  const int64_t columns = args.weight.columns;
  if (args.num_rows == 0 || args.weight.rows == 0) return;
  const bool is_reordered = args.weight.column_place != nullptr;
  const auto row_bytes = columns * static_cast<int64_t>(SizeOf(args.dtype));
  const int64_t turn_rows = is_reordered ? static_cast<int64_t>(args.scratch_bytes) / row_bytes : args.num_rows;
  CHECK(turn_rows > 0);
  for (int64_t begin = 0; begin < args.num_rows; begin += turn_rows) {
    const int64_t rows = std::min(turn_rows, args.num_rows - begin);
    const void* x = static_cast<const std::byte*>(args.x) + begin * row_bytes;
    if (is_reordered) {
      ReorderColumns({.dtype = args.dtype,
                      .num_entries = rows,
                      .columns = columns,
                      .x = x,
                      .column_place = args.weight.column_place,
                      .y = args.scratch},
                     stream);
      x = args.scratch;
    }
    Multiply(
        {.dtype = args.dtype,
         .y_dtype = args.y_dtype,
         .weights = args.weight,
         .x = x,
         .y = static_cast<std::byte*>(args.y) + begin * args.weight.rows * static_cast<int64_t>(SizeOf(args.y_dtype)),
         .permutation = {.num_pairs = rows, .num_experts = 1},
         .num_multiprocessors = args.num_multiprocessors},
        args.form.value_or(ChooseQuantizedForm(args.weight.quantization.format, rows, 1)), stream);
  }
}

}  // namespace switchyard::cuda
