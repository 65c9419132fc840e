// CudaBackend: checks shapes and types, and hands over to the kernels.
#include <utility>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/experts.h"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/offloaded_experts.h"
#include "kernels/cuda/op_checks.h"
#include "kernels/cuda/paged_attention.h"
#include "kernels/cuda/quantized_columns.h"
#include "kernels/cuda/quantized_experts.h"
#include "kernels/cuda/quantized_weights.h"
#include "kernels/cuda/rope.h"
#include "kernels/cuda/router.h"
#include "kernels/cuda/rows.h"

namespace switchyard::cuda {

void CudaBackend::EmbedTokens(const Matrix& table, ConstTensorView ids, TensorView out) {
  CheckType(ids, DType::kInt32);
  CheckType(out, DType::kFloat32);
  CHECK(out.shape() == (Shape{ids.num_elements(), table.spec().in_features}));
  if (!table.spec().quantization.is_dense()) {
    return cuda::EmbedQuantized(QuantizedDeviceMatrix::From(table).view(), ids.As<int32_t>().data(), out.dim(0),
                                out.As<float>().data(), stream_);
  }
  cuda::EmbedTokens(dtype_, DeviceMatrix::From(table).data(), ids.As<int32_t>().data(), out.dim(0), out.dim(1),
                    out.As<float>().data(), stream_);
}

void CudaBackend::RmsNorm(ConstTensorView x, ConstTensorView weight, float eps, TensorView out) {
  CheckType(x, DType::kFloat32);
  CheckType(out, dtype_);
  CHECK(x.shape() == out.shape());
  cuda::RmsNorm({.dtype = dtype_,
                 .num_tokens = x.dim(0),
                 .hidden_size = weight.num_elements(),
                 .eps = eps,
                 .weight = weight.As<float>().data()},
                x.As<float>().data(), out.data(), stream_);
}

void CudaBackend::AddRmsNorm(ConstTensorView delta, ConstTensorView weight, float eps, TensorView residual,
                             TensorView out) {
  CheckType(delta, dtype_);
  CheckType(residual, DType::kFloat32);
  CheckType(out, dtype_);
  CHECK(delta.shape() == out.shape());
  CHECK(residual.shape() == out.shape());
  cuda::AddRmsNorm({.dtype = dtype_,
                    .num_tokens = out.dim(0),
                    .hidden_size = weight.num_elements(),
                    .eps = eps,
                    .weight = weight.As<float>().data()},
                   delta.data(), residual.As<float>().data(), out.data(), stream_);
}

void CudaBackend::Linear(ConstTensorView x, const Matrix& weight, TensorView y) {
  CheckType(x, dtype_);
  CHECK(y.dtype() == dtype_ || y.dtype() == DType::kFloat32);
  CHECK_EQ(x.row_elements(), weight.spec().in_features);
  CHECK_EQ(y.row_elements(), weight.spec().out_features);
  CHECK_EQ(x.dim(0), y.dim(0));
  if (!weight.spec().quantization.is_dense()) {
    return QuantizedLinear({.dtype = dtype_,
                            .y_dtype = y.dtype(),
                            .num_rows = x.dim(0),
                            .weight = QuantizedDeviceMatrix::From(weight).view(),
                            .x = x.data(),
                            .y = y.data(),
                            .num_multiprocessors = num_multiprocessors_,
                            .scratch = Scratch(layout_.gemm_workspace),
                            .scratch_bytes = layout_.gemm_workspace.bytes},
                           stream_);
  }
  Note(gemm_->Multiply({.dtype = dtype_,
                        .y_dtype = y.dtype(),
                        .rows = x.dim(0),
                        .out_features = weight.spec().out_features,
                        .in_features = weight.spec().in_features,
                        .x = x.data(),
                        .weight = DeviceMatrix::From(weight).data(),
                        .y = y.data()}));
}

const float* CudaBackend::InvFreq(const RopeSpec& rope) {
  auto* device = reinterpret_cast<float*>(Scratch(layout_.constants));
  if (!std::equal(rope.inv_freq.begin(), rope.inv_freq.end(), inv_freq_.begin(), inv_freq_.end())) {
    CHECK(!recording_);
    CHECK_LE(rope.inv_freq.size_bytes(), layout_.constants.bytes);
    inv_freq_.assign(rope.inv_freq.begin(), rope.inv_freq.end());
    Note(transfers_.Upload(inv_freq_.data(), rope.inv_freq.size_bytes(), device));
  }
  return device;
}

void CudaBackend::RopeAppendKv(const AttentionSpec& attention, const RopeSpec& rope, const AttentionIndex& index,
                               ConstTensorView qkv, TensorView q_out, const KvPages& pages) {
  CheckType(qkv, dtype_);
  CheckType(q_out, dtype_);
  CheckIndex(index, qkv.dim(0));
  const std::optional<DType> kv_dtype = CheckPages(attention, pages, dtype_);
  CHECK_EQ(qkv.row_elements(), (attention.num_heads + 2 * attention.num_kv_heads) * attention.head_dim);
  CHECK_EQ(q_out.num_elements(), qkv.dim(0) * attention.num_heads * attention.head_dim);
  cuda::RopeAppendKv({.dtype = dtype_,
                      .kv_dtype = kv_dtype,
                      .num_tokens = qkv.dim(0),
                      .num_heads = attention.num_heads,
                      .num_kv_heads = attention.num_kv_heads,
                      .head_dim = attention.head_dim,
                      .qkv = qkv.data(),
                      .inv_freq = InvFreq(rope),
                      .rotary_dim = static_cast<int64_t>(2 * rope.inv_freq.size()),
                      .attention_factor = rope.attention_factor,
                      .positions = index.positions.As<int32_t>().data(),
                      .token_sequence = index.token_sequence.As<int32_t>().data(),
                      .page_table = index.page_table.As<int32_t>().data(),
                      .page_table_width = index.page_table.dim(1),
                      .page_size = pages.k.dim(2),
                      .q_out = q_out.data(),
                      .k_pages = pages.k.data(),
                      .v_pages = pages.v.data(),
                      .k_scales = static_cast<float*>(pages.k_scales.data()),
                      .v_scales = static_cast<float*>(pages.v_scales.data())},
                     stream_);
}

void CudaBackend::PagedAttention(const AttentionSpec& attention, const AttentionIndex& index, ConstTensorView q,
                                 const KvPages& pages, TensorView out) {
  CheckType(q, dtype_);
  CheckType(out, dtype_);
  CheckIndex(index, q.dim(0));
  const std::optional<DType> kv_dtype = CheckPages(attention, pages, dtype_);
  CHECK_EQ(q.num_elements(), q.dim(0) * attention.num_heads * attention.head_dim);
  CHECK_EQ(out.num_elements(), q.num_elements());
  cuda::PagedAttention({.dtype = dtype_,
                        .kv_dtype = kv_dtype,
                        .num_tokens = q.dim(0),
                        .num_sequences = index.page_table.dim(0),
                        .num_heads = attention.num_heads,
                        .num_kv_heads = attention.num_kv_heads,
                        .head_dim = attention.head_dim,
                        .scale = attention.scale,
                        .sliding_window = attention.sliding_window.value_or(0),
                        .q = q.data(),
                        .positions = index.positions.As<int32_t>().data(),
                        .token_sequence = index.token_sequence.As<int32_t>().data(),
                        .sequence_begin = index.sequence_begin.As<int32_t>().data(),
                        .page_table = index.page_table.As<int32_t>().data(),
                        .page_table_width = index.page_table.dim(1),
                        .page_size = pages.k.dim(2),
                        .k_pages = pages.k.data(),
                        .v_pages = pages.v.data(),
                        .k_scales = static_cast<const float*>(pages.k_scales.data()),
                        .v_scales = static_cast<const float*>(pages.v_scales.data()),
                        .max_context = index.max_context,
                        .max_query_tokens = index.max_query_tokens,
                        .min_query_tokens = index.min_query_tokens,
                        .num_multiprocessors = num_multiprocessors_,
                        .scratch = Scratch(layout_.attention),
                        .out = out.data()},
                       stream_);
}

void CudaBackend::Route(const RouterSpec& spec, ConstTensorView x, const Matrix& router, ConstTensorView num_valid,
                        const RouterOutput& out) {
  CheckType(x, dtype_);
  CHECK_EQ(x.row_elements(), router.spec().in_features);
  CHECK(router.spec().quantization.is_dense());
  CHECK_EQ(spec.num_experts, router.spec().out_features);
  CHECK_EQ(out.experts.num_elements(), x.dim(0) * spec.top_k);
  CHECK_EQ(out.weights.num_elements(), x.dim(0) * spec.top_k);
  CHECK_EQ(out.counts.num_elements(), spec.num_experts);
  cuda::Route({.dtype = dtype_,
               .num_tokens = x.dim(0),
               .hidden_size = router.spec().in_features,
               .num_experts = spec.num_experts,
               .top_k = spec.top_k,
               .renormalize = spec.renormalize,
               .x = x.data(),
               .router = DeviceMatrix::From(router).data(),
               .num_valid = num_valid.data() == nullptr ? nullptr : num_valid.As<int32_t>().data(),
               .experts = out.experts.As<int32_t>().data(),
               .weights = out.weights.As<float>().data(),
               .counts = out.counts.As<int32_t>().data(),
               .scratch = Scratch(layout_.router)},
              stream_);
}

void CudaBackend::RunExperts(const ExpertWeights& experts, const ExpertArgs& args) {
  CheckType(args.rows, dtype_);
  CheckType(args.out, dtype_);
  CHECK(args.rows.shape() == args.out.shape());
  CHECK(args.slots.shape() == args.weights.shape());
  CHECK_EQ(args.slots.dim(0), args.rows.dim(0));
  CHECK_EQ(args.rows.dim(1), experts.spec().hidden_size);
  const OffloadedDeviceExperts* const offloaded = OffloadedDeviceExperts::FromOrNull(experts);
  const ExpertWeights& held = offloaded == nullptr ? experts : offloaded->places();
  ExpertTurns turns;
  if (offloaded != nullptr) {
    turns = [&](const int32_t* offsets, const std::function<void(const int32_t*)>& multiply) {
      Note(offloaded->TakeTurns(offsets, args.next, multiply));
    };
  } else if (args.next.experts != nullptr) {
    args.next.experts->Prefetch(args.next.likely);
  }
  if (!experts.spec().gate_up.is_dense()) {
    const QuantizedDeviceExperts& quantized = QuantizedDeviceExperts::From(held);
    return RunQuantizedExperts({.dtype = dtype_,
                                .num_rows = args.rows.dim(0),
                                .top_k = args.slots.dim(1),
                                .num_local_experts = experts.spec().num_experts,
                                .first_slot = args.first_slot,
                                .rows = args.rows.data(),
                                .slots = args.slots.As<int32_t>().data(),
                                .weights = args.weights.As<float>().data(),
                                .gate_up = quantized.gate_up_view(),
                                .down = quantized.down_view(),
                                .turns = std::move(turns),
                                .num_multiprocessors = num_multiprocessors_,
                                .scratch = Scratch(layout_.experts),
                                .out = args.out.data()},
                               stream_);
  }
  const DeviceExpertWeights& weights = DeviceExpertWeights::From(held);
  cuda::RunExperts({.dtype = dtype_,
                    .num_rows = args.rows.dim(0),
                    .top_k = args.slots.dim(1),
                    .hidden_size = experts.spec().hidden_size,
                    .intermediate_size = experts.spec().intermediate_size,
                    .num_local_experts = experts.spec().num_experts,
                    .first_slot = args.first_slot,
                    .rows = args.rows.data(),
                    .slots = args.slots.As<int32_t>().data(),
                    .weights = args.weights.As<float>().data(),
                    .gate_up = weights.gate_up_data(),
                    .down = weights.down_data(),
                    .turns = std::move(turns),
                    .num_multiprocessors = num_multiprocessors_,
                    .scratch = Scratch(layout_.experts),
                    .out = args.out.data()},
                   stream_);
}

void CudaBackend::GatherRows(ConstTensorView src, ConstTensorView index, TensorView dst) {
  CheckType(index, DType::kInt32);
  CHECK(src.dtype() == dst.dtype());
  CHECK_EQ(dst.dim(0), index.num_elements());
  if (dst.dim(0) == 0) return;
  const auto row_bytes = static_cast<int64_t>(dst.bytes()) / dst.dim(0);
  cuda::GatherRows(src.data(), index.As<int32_t>().data(), dst.dim(0), row_bytes, dst.data(), stream_);
}

void CudaBackend::SumRows(ConstTensorView src, ConstTensorView begin, ConstTensorView index, TensorView dst) {
  CheckType(src, dtype_);
  CheckType(dst, dtype_);
  CHECK_EQ(begin.num_elements(), dst.dim(0) + 1);
  cuda::SumRows(dtype_, src.data(), begin.As<int32_t>().data(), index.As<int32_t>().data(), dst.dim(0),
                dst.row_elements(), dst.data(), stream_);
}

void CudaBackend::Add(ConstTensorView x, TensorView acc) {
  CheckType(x, dtype_);
  CheckType(acc, dtype_);
  CHECK_EQ(x.num_elements(), acc.num_elements());
  cuda::Add(dtype_, x.data(), acc.data(), acc.num_elements(), stream_);
}

}  // namespace switchyard::cuda
