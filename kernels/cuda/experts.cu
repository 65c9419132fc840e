#include "kernels/cuda/expert_gemm.h"
#include "kernels/cuda/expert_permutation.h"
#include "kernels/cuda/expert_sum.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/experts_scratch.h"
#include "kernels/cuda/launch.cuh"

namespace switchyard::cuda {
namespace {

// Up to this many pairs (row, k) per local expert the streaming form runs. It reads the weights again for every 32
// entries of an expert. Measured on an H200 (docs/GPU_RESULTS.md): at 32 entries the tiled form is 11% faster, at 16
// the streaming one by 31%; but where experts are sharded and each rank has all rows, twice as many pairs are counted
// as its experts have entries.
constexpr int64_t kMaxStreamingPairsPerExpert = 32;

}  // namespace

ExpertForm ChooseExpertForm(int64_t num_rows, int64_t top_k, int64_t num_local_experts) {
  return num_rows * top_k <= kMaxStreamingPairsPerExpert * num_local_experts ? ExpertForm::kStreaming
                                                                             : ExpertForm::kTiled;
}

void RunExperts(const RunExpertsArgs& args, Stream stream) {
  CHECK(args.hidden_size > 0 && args.hidden_size % 8 == 0);
  CHECK(args.intermediate_size > 0 && args.intermediate_size % 8 == 0);
  CHECK(args.top_k > 0);
  if (args.num_rows == 0) return;

  const ExpertsScratch scratch = DivideExpertsScratch(args.num_rows, args.top_k, args.hidden_size,
                                                      args.intermediate_size, args.num_local_experts, args.scratch);
  PermuteExperts({.top_k = args.top_k,
                  .first_slot = args.first_slot,
                  .slots = args.slots,
                  .weights = args.weights,
                  .permutation = scratch.permutation},
                 stream);
  if (args.num_local_experts > 0) {
    const ExpertForm form = args.form.value_or(ChooseExpertForm(args.num_rows, args.top_k, args.num_local_experts));
    const auto multiply_form = form == ExpertForm::kStreaming ? StreamingExpertGemm : TiledExpertGemm;
    const auto multiply = [&](const int32_t* expert_place) {
      ExpertPermutation lists = scratch.permutation;
      lists.expert_place = expert_place;
      multiply_form({.dtype = args.dtype,
                     .product = ExpertProduct::kGateUp,
                     .in_features = args.hidden_size,
                     .out_features = args.intermediate_size,
                     .x = args.rows,
                     .weights = args.gate_up,
                     .y = scratch.act,
                     .permutation = lists,
                     .num_multiprocessors = args.num_multiprocessors},
                    stream);
      multiply_form({.dtype = args.dtype,
                     .product = ExpertProduct::kDown,
                     .in_features = args.intermediate_size,
                     .out_features = args.hidden_size,
                     .x = scratch.act,
                     .weights = args.down,
                     .y = scratch.y,
                     .permutation = lists,
                     .num_multiprocessors = args.num_multiprocessors},
                    stream);
    };
    if (args.turns) {
      args.turns(scratch.permutation.offsets, multiply);
    } else {
      multiply(nullptr);
    }
  }
  SumExperts({.dtype = args.dtype,
              .num_rows = args.num_rows,
              .top_k = args.top_k,
              .hidden_size = args.hidden_size,
              .place = scratch.permutation.place,
              .y = scratch.y,
              .out = args.out},
             stream);
}

}  // namespace switchyard::cuda
