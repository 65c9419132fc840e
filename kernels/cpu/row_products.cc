#include "kernels/cpu/row_products.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/cpu/bf16_gemm.h"
#include "kernels/cpu/bf16_products.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/quantized_gemm.h"
#include "kernels/cpu/quantized_int8_gemm.h"
#include "kernels/cpu/tiled_products.h"

namespace switchyard {
namespace {

// Rows of float32, as gemm.h and quantized_gemm.h take them.
template <typename WeightType>
struct Float32Rows : FloatTiles {
  using Weight = WeightType;
  using Packed = float;

  static int64_t PackedSize(int64_t rows, int64_t columns) { return PackedRowsSize(rows, columns); }
  static void PackTile(int64_t rows, int64_t tile, const Weight& weight, RowSource source, float* packed) {
    switchyard::PackTile(rows, tile, weight.spec().in_features, source, packed);
  }
};

struct DenseKernel : Float32Rows<PackedMatrix> {
  static constexpr int64_t kUnitRows = PackedMatrix::kGroupRows;
  static void Multiply(const float* packed, int64_t rows, const PackedMatrix& weight, int64_t begin, int64_t end,
                       float* y) {
    MultiplyGroups(packed, rows, weight, begin, end, y);
  }
};

struct QuantizedKernel : Float32Rows<QuantizedMatrix> {
  static constexpr int64_t kUnitRows = QuantizedMatrix::kBlockRows;
  static void Multiply(const float* packed, int64_t rows, const QuantizedMatrix& weight, int64_t begin, int64_t end,
                       float* y) {
    MultiplyBlocks(packed, rows, weight, begin, end, y);
  }
};

struct Int8Kernel : Int8Rows {
  using Weight = QuantizedMatrix;
  using Packed = ActivationGroup;
  static constexpr int64_t kUnitBlocks = 2;  // side by side
  static constexpr int64_t kUnitRows = kUnitBlocks * QuantizedMatrix::kBlockRows;

  Int8Dot dot;

  void Multiply(const ActivationGroup* packed, int64_t rows, const QuantizedMatrix& weight, int64_t begin, int64_t end,
                float* y) const {
    MultiplyInt8Blocks(dot, packed, rows, weight, begin * kUnitBlocks, std::min(end * kUnitBlocks, weight.num_blocks()),
                       y);
  }
};

}  // namespace

RowProducts::RowProducts(ThreadPool& pool, const RowProductOptions& options) {
  kinds_[kFloat32] = std::make_unique<TiledProducts<DenseKernel>>(pool);
  kinds_[kQuantizedFloat32] = std::make_unique<TiledProducts<QuantizedKernel>>(pool);
  if (options.bf16_activations) {
    absl::StatusOr<std::unique_ptr<Bf16Gemm>> gemm = Bf16Gemm::Create(pool);
    absl::StrAppend(&note_, gemm.ok() ? ", bfloat16 activations"
                                      : absl::StrCat(", float32 activations: ", gemm.status().message()));
    if (gemm.ok()) kinds_[kBf16] = std::make_unique<Bf16Products>(pool, *std::move(gemm));
  }
  if (options.int8_activations) {
    const Int8Dot dot = BestInt8Dot();
    absl::StrAppend(&note_, ", int8 activations", dot == Int8Dot::kVnni ? " (VNNI)" : " (no VNNI)");
    kinds_[kQuantizedInt8] = std::make_unique<TiledProducts<Int8Kernel>>(pool, Int8Kernel{{}, dot});
  }
}

RowProducts::~RowProducts() = default;

RowProducts::Kind RowProducts::KindOf(const RowProduct& product, bool float32_only) const {
  const MatrixSpec& spec = product.weight->spec();
  if (!spec.quantization.is_dense()) {
    return kinds_[kQuantizedInt8] != nullptr && !float32_only ? kQuantizedInt8 : kQuantizedFloat32;
  }
  return kinds_[kBf16] != nullptr && !float32_only && Bf16Gemm::Suits(product.rows, spec) ? kBf16 : kFloat32;
}

void RowProducts::RunKinds(std::span<const RowProduct> products, bool float32_only, RowSource source, float* y) {
  for (std::vector<RowProduct>& of_kind : products_) of_kind.clear();
  for (const RowProduct& product : products) products_[KindOf(product, float32_only)].push_back(product);
  for (size_t kind = 0; kind < kNumKinds; ++kind) {
    if (!products_[kind].empty()) kinds_[kind]->Run(products_[kind], source, y);
  }
}

void RowProducts::Run(std::span<const RowProduct> products, RowSource source, float* y) {
  RunKinds(products, false, source, y);
}

void RowProducts::RunFloat32(std::span<const RowProduct> products, RowSource source, float* y) {
  RunKinds(products, true, source, y);
}

}  // namespace switchyard
