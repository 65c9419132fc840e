#include "kernels/cuda/paged_attention.h"

#include <cstdint>

#include "kernels/check.h"
#include "kernels/cuda/paged_attention_forms.h"

namespace switchyard::cuda {

void PagedAttention(const PagedAttentionArgs& args, Stream stream) {
  if (args.num_tokens == 0) return;
  CHECK_GT(args.num_kv_heads, 0);
  CHECK_EQ(args.num_heads % args.num_kv_heads, 0);
  CHECK_EQ(args.head_dim % (args.kv_dtype.has_value() ? 16 : 8), 0);
  if (args.kv_dtype.has_value()) CHECK(args.k_scales != nullptr && args.v_scales != nullptr);
  CHECK(args.head_dim > 0 && args.head_dim <= 256);
  CHECK_GT(args.page_size, 0);
  CHECK_GT(args.scale, 0.0f);
  CHECK_GE(args.sliding_window, 0);
  for (const void* pointer : {args.q, args.k_pages, args.v_pages, static_cast<const void*>(args.out)}) {
    CHECK_EQ(reinterpret_cast<uintptr_t>(pointer) % 16, 0u);
  }
  if (NeedsDecodeForm(args)) PagedAttentionDecode(args, stream);
  if (NeedsPrefillForm(args)) PagedAttentionPrefill(args, stream);
}

}  // namespace switchyard::cuda
