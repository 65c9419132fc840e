#include "kernels/cpu/op_checks.h"

namespace switchyard {
namespace {

void CheckFloats(ConstTensorView tensor) { CHECK(tensor.dtype() == DType::kFloat32); }
void CheckInts(ConstTensorView tensor) { CHECK(tensor.dtype() == DType::kInt32); }

}  // namespace

void CheckEmbedTokens(const Matrix& table, ConstTensorView ids, ConstTensorView out) {
  CheckInts(ids);
  CheckFloats(out);
  CHECK_EQ(out.dim(0), ids.num_elements());
  CHECK_EQ(out.dim(1), table.spec().in_features);
}

void CheckRmsNorm(ConstTensorView x, ConstTensorView weight, ConstTensorView out) {
  CheckFloats(x);
  CheckFloats(weight);
  CheckFloats(out);
  CHECK(x.shape() == out.shape());
  CHECK_EQ(x.row_elements(), weight.num_elements());
}

void CheckLinear(ConstTensorView x, const Matrix& weight, ConstTensorView y) {
  CheckFloats(x);
  CheckFloats(y);
  CHECK_EQ(x.dim(0), y.dim(0));
  CHECK_EQ(x.row_elements(), weight.spec().in_features);
  CHECK_EQ(y.row_elements(), weight.spec().out_features);
}

void CheckAttentionIndex(const AttentionIndex& index, int64_t tokens) {
  CheckInts(index.positions);
  CheckInts(index.token_sequence);
  CheckInts(index.sequence_begin);
  CheckInts(index.page_table);
  CHECK_EQ(index.positions.num_elements(), tokens);
  CHECK_EQ(index.token_sequence.num_elements(), tokens);
  CHECK_EQ(index.page_table.shape().rank(), 2);
  CHECK_EQ(index.sequence_begin.num_elements(), index.page_table.dim(0) + 1);
}

void CheckKvPages(const AttentionSpec& attention, const KvPages& pages) {
  CHECK(pages.k.dtype() == pages.v.dtype());
  CHECK_EQ(pages.k.shape().rank(), 4);
  CHECK(pages.k.shape() == pages.v.shape());
  if (pages.k.dtype() != DType::kFloat32) {
    CHECK(pages.k.dtype() == DType::kFloat8E4M3 || pages.k.dtype() == DType::kInt8);
    const Shape scales = {pages.k.dim(0), pages.k.dim(1), pages.k.dim(2)};
    for (const TensorView* tensor : {&pages.k_scales, &pages.v_scales}) {
      CheckFloats(*tensor);
      CHECK(tensor->shape() == scales);
    }
  }
  CHECK_EQ(pages.k.dim(1), attention.num_kv_heads);
  CHECK_EQ(pages.k.dim(3), attention.head_dim);
  CHECK_GT(attention.num_kv_heads, 0);
  CHECK_EQ(attention.num_heads % attention.num_kv_heads, 0);
}

void CheckRopeAppendKv(const AttentionSpec& attention, const RopeSpec& rope, const AttentionIndex& index,
                       ConstTensorView qkv, ConstTensorView q_out, const KvPages& pages) {
  CheckFloats(qkv);
  CheckFloats(q_out);
  CheckAttentionIndex(index, qkv.dim(0));
  CheckKvPages(attention, pages);
  CHECK_EQ(q_out.dim(0), qkv.dim(0));
  CHECK_EQ(qkv.row_elements(), (attention.num_heads + 2 * attention.num_kv_heads) * attention.head_dim);
  CHECK_EQ(q_out.row_elements(), attention.num_heads * attention.head_dim);
  CHECK_LE(static_cast<int64_t>(2 * rope.inv_freq.size()), attention.head_dim);
}

void CheckPagedAttention(const AttentionSpec& attention, const AttentionIndex& index, ConstTensorView q,
                         const KvPages& pages, ConstTensorView out) {
  CheckFloats(q);
  CheckFloats(out);
  CheckAttentionIndex(index, q.dim(0));
  CheckKvPages(attention, pages);
  CHECK_EQ(q.num_elements(), q.dim(0) * attention.num_heads * attention.head_dim);
  CHECK_EQ(out.num_elements(), q.num_elements());
  if (attention.sliding_window.has_value()) CHECK_GT(*attention.sliding_window, 0);
}

void CheckRoute(const RouterSpec& spec, ConstTensorView x, const Matrix& router, ConstTensorView num_valid,
                const RouterOutput& out) {
  CheckFloats(x);
  CheckInts(out.experts);
  CheckFloats(out.weights);
  CheckInts(out.counts);
  if (num_valid.data() != nullptr) CheckInts(num_valid);
  CHECK_EQ(x.row_elements(), router.spec().in_features);
  CHECK_EQ(spec.num_experts, router.spec().out_features);
  CHECK_GE(spec.top_k, 1);
  CHECK_LE(spec.top_k, spec.num_experts);
  CHECK_EQ(out.experts.num_elements(), x.dim(0) * spec.top_k);
  CHECK_EQ(out.weights.num_elements(), x.dim(0) * spec.top_k);
  CHECK_EQ(out.counts.num_elements(), spec.num_experts);
}

void CheckRunExperts(const ExpertWeights& experts, const ExpertArgs& args) {
  CheckFloats(args.rows);
  CheckInts(args.slots);
  CheckFloats(args.weights);
  CheckFloats(args.out);
  CHECK(args.rows.shape() == args.out.shape());
  CHECK(args.slots.shape() == args.weights.shape());
  CHECK_EQ(args.slots.dim(0), args.rows.dim(0));
  CHECK_EQ(args.rows.dim(1), experts.spec().hidden_size);
}

void CheckGatherRows(ConstTensorView src, ConstTensorView index, ConstTensorView dst) {
  CheckInts(index);
  CHECK(src.dtype() == dst.dtype());
  CHECK_EQ(dst.dim(0), index.num_elements());
  CHECK_EQ(src.row_elements(), dst.row_elements());
}

void CheckSumRows(ConstTensorView src, ConstTensorView begin, ConstTensorView dst) {
  CheckFloats(src);
  CheckFloats(dst);
  CheckInts(begin);
  CHECK_EQ(begin.num_elements(), dst.dim(0) + 1);
  CHECK_EQ(src.row_elements(), dst.row_elements());
}

void CheckAdd(ConstTensorView x, ConstTensorView acc) {
  CheckFloats(x);
  CheckFloats(acc);
  CHECK_EQ(x.num_elements(), acc.num_elements());
}

void CheckLogits(ConstTensorView logits, size_t num_rows) {
  CheckFloats(logits);
  CHECK_EQ(logits.dim(0), static_cast<int64_t>(num_rows));
}

}  // namespace switchyard
