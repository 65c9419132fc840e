// A kind of product whose kernel takes rows in tiles and writes ranges of output features.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/cpu/quantized_matrix.h"
#include "kernels/cpu/row_products.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/thread_pool.h"

namespace switchyard {

// Kernel has
//   using Weight, Packed;            the Matrix and the element of packed rows
//   static constexpr kTileRows;      at most
//   static constexpr kUnitRows;      output features that are computed together
//   static PackedSize(rows, columns), NumTiles(rows)
//   void PackTile(rows, tile, const Weight&, RowSource, Packed*) const      source(r): row r of the product
//   void Multiply(const Packed*, rows, const Weight&, unit_begin, unit_end, float* y) const
// whose packed rows of a tile start at PackedSize(first row of the tile, columns).
template <typename Kernel>
class TiledProducts final : public RowProductKind {
 public:
  // `pool` outlives this.
  explicit TiledProducts(ThreadPool& pool, Kernel kernel = {})
      : pool_(pool), kernel_(kernel), gathered_(pool.max_workers()) {}

  void Run(std::span<const RowProduct> products, RowSource source, float* y) override {
    if (products.empty()) return;
    Packed* packed = Pack(products, source);
    const int64_t columns = products[0].weight->spec().in_features;
    const int64_t out_features = products[0].weight->spec().out_features;
    const int64_t units = (out_features + Kernel::kUnitRows - 1) / Kernel::kUnitRows;
    const int64_t count = units * static_cast<int64_t>(products.size());
    const int64_t rows = row_begin_.back() / static_cast<int64_t>(products.size());
    const int64_t smallest =
        std::max<int64_t>(1, kRangeProducts / (Kernel::kUnitRows * rows * std::max<int64_t>(1, columns)));
    pool_.ParallelFor(count, smallest, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end;) {
        const RowProduct& product = products[i / units];
        const int64_t unit_begin = i % units;
        const int64_t unit_end = std::min(units, unit_begin + (end - i));
        kernel_.Multiply(packed + Kernel::PackedSize(row_begin_[i / units], columns), product.rows,
                         Weight::From(*product.weight), unit_begin, unit_end, y + product.first_row * out_features);
        i += unit_end - unit_begin;
      }
    });
  }

 private:
  using Weight = typename Kernel::Weight;
  using Packed = typename Kernel::Packed;
  // Multiplications, and elements of rows, worth a range of their own: another thread's taking part costs about as
  // much.
  static constexpr int64_t kRangeProducts = 65536;
  static constexpr int64_t kRangeElements = 2048;

  Packed* Pack(std::span<const RowProduct> products, RowSource source) {
    row_begin_.assign(1, 0);
    tile_begin_.assign(1, 0);
    for (const RowProduct& product : products) {
      row_begin_.push_back(row_begin_.back() + product.rows);
      tile_begin_.push_back(tile_begin_.back() + Kernel::NumTiles(product.rows));
    }
    const int64_t columns = products[0].weight->spec().in_features;
    const int64_t elements = row_begin_.back() * columns;
    Packed* packed = packed_.Get(Kernel::PackedSize(row_begin_.back(), columns));
    const int64_t tiles = tile_begin_.back();
    const int64_t smallest = std::max<int64_t>(1, kRangeElements * tiles / std::max<int64_t>(1, elements));
    pool_.ParallelForWorkers(tiles, smallest, [&](int worker, int64_t begin, int64_t end) {
      for (int64_t tile = begin; tile < end; ++tile) {
        const auto owner = std::upper_bound(tile_begin_.begin(), tile_begin_.end(), tile) - tile_begin_.begin() - 1;
        const RowProduct& product = products[owner];
        const Weight& weight = Weight::From(*product.weight);
        kernel_.PackTile(
            product.rows, tile - tile_begin_[owner], weight,
            [&](int64_t row) { return InStoredOrder(weight, source(product.first_row + row), gathered_[worker]); },
            packed + Kernel::PackedSize(row_begin_[owner], columns));
      }
    });
    return packed;
  }

  // The row as the columns of `weight` are stored.
  static const float* InStoredOrder(const Matrix& weight, const float* x, Scratch<float>& gathered) {
    if (!weight.spec().quantization.reordered) return x;
    const int64_t columns = weight.spec().in_features;
    const int32_t* order = QuantizedMatrix::From(weight).column_order();
    float* out = gathered.Get(columns);
    for (int64_t c = 0; c < columns; ++c) out[c] = x[order[c]];
    return out;
  }

  ThreadPool& pool_;
  const Kernel kernel_;
  std::vector<int64_t> row_begin_;   // [products + 1], first packed row of each
  std::vector<int64_t> tile_begin_;  // [products + 1], first tile of each
  Scratch<Packed> packed_;
  std::vector<Scratch<float>> gathered_;  // of each thread, a row
};

}  // namespace switchyard
