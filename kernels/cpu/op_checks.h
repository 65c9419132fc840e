// The shapes that backend.h promises, checked once at the edge of every operation; a violation aborts.
#pragma once

#include "kernels/backend.h"

namespace switchyard {

void CheckEmbedTokens(const Matrix& table, ConstTensorView ids, ConstTensorView out);
void CheckRmsNorm(ConstTensorView x, ConstTensorView weight, ConstTensorView out);
void CheckLinear(ConstTensorView x, const Matrix& weight, ConstTensorView y);
void CheckAttentionIndex(const AttentionIndex& index, int64_t tokens);
void CheckKvPages(const AttentionSpec& attention, const KvPages& pages);
void CheckRopeAppendKv(const AttentionSpec& attention, const RopeSpec& rope, const AttentionIndex& index,
                       ConstTensorView qkv, ConstTensorView q_out, const KvPages& pages);
void CheckPagedAttention(const AttentionSpec& attention, const AttentionIndex& index, ConstTensorView q,
                         const KvPages& pages, ConstTensorView out);
void CheckRoute(const RouterSpec& spec, ConstTensorView x, const Matrix& router, ConstTensorView num_valid,
                const RouterOutput& out);
void CheckRunExperts(const ExpertWeights& experts, const ExpertArgs& args);
void CheckGatherRows(ConstTensorView src, ConstTensorView index, ConstTensorView dst);
void CheckSumRows(ConstTensorView src, ConstTensorView begin, ConstTensorView dst);
void CheckAdd(ConstTensorView x, ConstTensorView acc);
void CheckLogits(ConstTensorView logits, size_t num_rows);

}  // namespace switchyard
