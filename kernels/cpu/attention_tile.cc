#include "kernels/cpu/attention_tile.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention_tile.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, which includes this file once for each instruction set.
#include "hwy/highway.h"
#include "kernels/cpu/exp-inl.h"
#include "kernels/cpu/kv_elements-inl.h"
#include "kernels/cpu/vector_util-inl.h"

#ifndef SWITCHYARD_KERNELS_CPU_ATTENTION_TILE_LAYOUT_
#define SWITCHYARD_KERNELS_CPU_ATTENTION_TILE_LAYOUT_
namespace switchyard {

inline constexpr int64_t kTileKeys = 64;  // keys of a block; a multiple of every vector's lanes
inline constexpr int64_t kStripRows = 6;  // rows whose sums the registers hold

// Where a tile's operands lie in its scratch; every extent is a multiple of 16 floats.
struct TileLayout {
  int64_t rows;   // whole strips; those beyond the tile's rows see nothing
  int64_t width;  // head_dim and zeros
  int64_t q, keys, values, widened, scores, out, largest, total, keep, size;

  TileLayout(int64_t tile_rows, int64_t head_dim)
      : rows((tile_rows + kStripRows - 1) / kStripRows * kStripRows), width((head_dim + 15) / 16 * 16) {
    const int64_t per_row = (rows + 15) / 16 * 16;
    q = 0;                                 // [rows, width]
    keys = q + rows * width;               // [head_dim, kTileKeys], transposed
    values = keys + width * kTileKeys;     // [kTileKeys, width]
    widened = values + kTileKeys * width;  // [4, width], 8-bit keys on their way
    scores = widened + 4 * width;          // [rows, kTileKeys], then the weights
    out = scores + rows * kTileKeys;       // [rows, width], not yet divided by the total
    largest = out + rows * width;          // [rows] each: the online softmax
    total = largest + per_row;
    keep = total + per_row;
    size = keep + per_row;
  }
};

}  // namespace switchyard
#endif  // SWITCHYARD_KERNELS_CPU_ATTENTION_TILE_LAYOUT_

HWY_BEFORE_NAMESPACE();
namespace switchyard {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

// With one strip's rows: sums that leave registers for the other operand, of 32 with AVX-512 and 16 elsewhere.
constexpr size_t kVectors = HWY_MAX_BYTES >= 64 ? 4 : 2;
constexpr size_t kRows = kStripRows;

// c[i] = keep[i] * c[i] + sum over k of a[i][k] * b[k], for one strip and kCount vectors of columns; keep null: no c.
template <size_t kCount>
void MultiplyStrip(const float* HWY_RESTRICT a, size_t a_stride, const float* HWY_RESTRICT b, size_t b_stride,
                   size_t depth, const float* keep, float* HWY_RESTRICT c, size_t c_stride) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  Vector sums[kRows * kCount];
  Unroll<kRows * kCount>([&](auto n) SWITCHYARD_INLINE_LAMBDA {
    constexpr size_t kRow = n / kCount;
    constexpr size_t kVector = n % kCount;
    sums[n] = keep == nullptr ? hn::Zero(d)
                              : hn::Mul(hn::LoadU(d, c + kRow * c_stride + kVector * lanes), hn::Set(d, keep[kRow]));
  });
  for (size_t k = 0; k < depth; ++k, b += b_stride) {
    Vector columns[kCount];
    Unroll<kCount>([&](auto v) SWITCHYARD_INLINE_LAMBDA { columns[v] = hn::LoadU(d, b + v * lanes); });
    Unroll<kRows>([&](auto i) SWITCHYARD_INLINE_LAMBDA {
      const Vector factor = hn::Set(d, a[i * a_stride + k]);
      Unroll<kCount>([&](auto v) SWITCHYARD_INLINE_LAMBDA {
        sums[i * kCount + v] = hn::MulAdd(factor, columns[v], sums[i * kCount + v]);
      });
    });
  }
  Unroll<kRows * kCount>([&](auto n) SWITCHYARD_INLINE_LAMBDA {
    constexpr size_t kRow = n / kCount;
    constexpr size_t kVector = n % kCount;
    hn::StoreU(sums[n], d, c + kRow * c_stride + kVector * lanes);
  });
}

void Multiply(const float* a, size_t a_stride, const float* b, size_t b_stride, size_t depth, size_t width,
              const float* keep, float* c, size_t c_stride) {
  const size_t lanes = hn::Lanes(Floats());
  size_t x = 0;
  for (; x + kVectors * lanes <= width; x += kVectors * lanes) {
    MultiplyStrip<kVectors>(a, a_stride, b + x, b_stride, depth, keep, c + x, c_stride);
  }
  for (; x < width; x += lanes) MultiplyStrip<1>(a, a_stride, b + x, b_stride, depth, keep, c + x, c_stride);
}

// out [count] = scale * elements.
template <typename Element>
void WidenRow(const Element* HWY_RESTRICT elements, float scale, size_t count, float* HWY_RESTRICT out) {
  const Floats d;
  const size_t lanes = hn::Lanes(d);
  const float unit = scale * kElementUnit<Element>;
  const Vector factor = hn::Set(d, unit);
  size_t x = 0;
  for (; x + lanes <= count; x += lanes) hn::StoreU(hn::Mul(LoadElements(d, elements + x), factor), d, out + x);
  for (; x < count; ++x) out[x] = LoadElement(elements + x) * unit;
}

// Keys and values of positions [begin, end) as the products take them; zeros before `first`, which no row sees.
template <typename Element>
void LoadBlock(const AttentionTile& tile, const KvRows& keys, const KvRows& values, int64_t first, int64_t begin,
               int64_t end, const TileLayout& layout, float* scratch) {
  const int64_t head_dim = tile.head_dim;
  float* transposed = scratch + layout.keys;
  // Four keys at a time, which may lie on several pages.
  for (int64_t p = begin; p < end; p += 4) {
    const float* rows[4];
    for (int64_t j = 0; j < 4; ++j) {
      float* value = scratch + layout.values + (p + j - begin) * layout.width;
      if (p + j >= first && p + j < end) {
        const int64_t row = keys.At(tile.sequence, tile.kv_head, p + j);
        if constexpr (std::is_same_v<Element, float>) {
          rows[j] = keys.Elements<float>(row);
          std::copy_n(values.Elements<float>(row), head_dim, value);
        } else {
          float* widened = scratch + layout.widened + j * layout.width;
          WidenRow(keys.Elements<Element>(row), keys.scale(row), head_dim, widened);
          WidenRow(values.Elements<Element>(row), values.scale(row), head_dim, value);
          rows[j] = widened;
        }
        std::fill(value + head_dim, value + layout.width, 0.0f);
      } else {
        std::fill_n(value, layout.width, 0.0f);
        rows[j] = value;
      }
    }
    float* out = transposed + (p - begin);
    int64_t x = 0;
    for (; x + 4 <= head_dim; x += 4) TransposeFour(rows, x, out + x * kTileKeys, kTileKeys);
    for (; x < head_dim; ++x) {
      for (int64_t j = 0; j < 4; ++j) out[x * kTileKeys + j] = rows[j][x];
    }
  }
  const int64_t filled = (end - begin + 3) / 4 * 4;
  if (filled == kTileKeys) return;
  for (int64_t x = 0; x < head_dim; ++x) {
    std::fill(transposed + x * kTileKeys + filled, transposed + (x + 1) * kTileKeys, 0.0f);
  }
}

// Which of a block's keys a row sees: [begin, end), empty where none.
struct Seen {
  int64_t begin, end;
};

Seen SeenBy(const AttentionTile& tile, int64_t row, int64_t block_begin, int64_t block_end) {
  if (row >= tile.tokens * tile.queries) return {0, 0};
  const int64_t position = tile.positions[row / tile.queries];
  const int64_t begin = std::max<int64_t>(block_begin, position - tile.window + 1) - block_begin;
  const int64_t end = std::min(block_end, position + 1) - block_begin;
  return begin < end ? Seen{begin, end} : Seen{0, 0};
}

// Scores to weights in place, and what the row's former sums are worth now. Unseen keys get weight 0. A score that is
// NaN makes `total` NaN, and with it all that the row still becomes.
void WeighRow(const Seen& seen, float scale, float* HWY_RESTRICT scores, float* HWY_RESTRICT largest,
              float* HWY_RESTRICT total, float* HWY_RESTRICT keep) {
  const Floats d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  *keep = 1.0f;
  if (seen.begin == seen.end) {
    std::fill_n(scores, kTileKeys, 0.0f);
    return;
  }
  const float none = -std::numeric_limits<float>::infinity();
  for (int64_t j = 0; j < seen.begin; ++j) scores[j] = none;
  for (int64_t j = seen.end; j < kTileKeys; ++j) scores[j] = none;
  const Vector factor = hn::Set(d, scale);
  Vector highest = hn::Set(d, *largest);
  for (int64_t j = 0; j < kTileKeys; j += lanes) {
    const Vector score = hn::Mul(hn::LoadU(d, scores + j), factor);
    hn::StoreU(score, d, scores + j);
    highest = hn::Max(highest, score);
  }
  highest = hn::MaxOfLanes(d, highest);
  Vector sum = hn::Zero(d);
  for (int64_t j = 0; j < kTileKeys; j += lanes) {
    const Vector weight = ExpOrNaN(d, hn::Sub(hn::LoadU(d, scores + j), highest));
    hn::StoreU(weight, d, scores + j);
    sum = hn::Add(sum, weight);
  }
  *keep = hn::GetLane(ExpOrNaN(d, hn::Sub(hn::Set(d, *largest), highest)));
  *largest = hn::GetLane(highest);
  *total = *total * *keep + hn::GetLane(hn::SumOfLanes(d, sum));
}

template <typename Element>
void AttendElements(const AttentionTile& tile, const KvRows& keys, const KvRows& values, float* scratch) {
  const int64_t rows = tile.tokens * tile.queries;
  const TileLayout layout(rows, tile.head_dim);
  float* q = scratch + layout.q;
  float* scores = scratch + layout.scores;
  float* out = scratch + layout.out;
  std::fill_n(q, layout.rows * layout.width, 0.0f);
  std::fill_n(out, layout.rows * layout.width, 0.0f);
  std::fill_n(scratch + layout.total, layout.rows, 0.0f);
  // Finite: the difference of two infinities would be no number.
  std::fill_n(scratch + layout.largest, layout.rows, std::numeric_limits<float>::lowest());
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t offset = row / tile.queries * tile.token_stride + row % tile.queries * tile.head_dim;
    std::copy_n(tile.q + offset, tile.head_dim, q + row * layout.width);
  }
  const auto [low, high] = std::minmax_element(tile.positions, tile.positions + tile.tokens);
  const int64_t last = *high;
  const int64_t first = std::max<int64_t>(0, *low - tile.window + 1);
  // Blocks begin where they would in any other tile: a row's sums do not depend on its neighbours.
  for (int64_t begin = first / kTileKeys * kTileKeys; begin <= last; begin += kTileKeys) {
    const int64_t end = std::min(last + 1, begin + kTileKeys);
    LoadBlock<Element>(tile, keys, values, first, begin, end, layout, scratch);
    for (int64_t strip = 0; strip < layout.rows; strip += kStripRows) {
      // With every strip a share of the next block.
      const int64_t next_end = std::min(last + 1, end + (strip + kStripRows) * kTileKeys / layout.rows);
      for (int64_t p = end + strip * kTileKeys / layout.rows; p < next_end; ++p) {
        const int64_t row = keys.At(tile.sequence, tile.kv_head, p);
        PrefetchRow(keys.Elements<Element>(row), tile.head_dim);
        PrefetchRow(values.Elements<Element>(row), tile.head_dim);
      }
      Seen seen[kStripRows];
      int64_t depth = 0;  // keys that the strip sees, counted from the block's first
      for (int64_t i = 0; i < kStripRows; ++i) {
        seen[i] = SeenBy(tile, strip + i, begin, end);
        depth = std::max(depth, seen[i].end);
      }
      if (depth == 0) continue;
      float* weights = scores + strip * kTileKeys;
      Multiply(q + strip * layout.width, layout.width, scratch + layout.keys, kTileKeys, tile.head_dim, kTileKeys,
               nullptr, weights, kTileKeys);
      for (int64_t i = 0; i < kStripRows; ++i) {
        WeighRow(seen[i], tile.scale, weights + i * kTileKeys, scratch + layout.largest + strip + i,
                 scratch + layout.total + strip + i, scratch + layout.keep + strip + i);
      }
      Multiply(weights, kTileKeys, scratch + layout.values, layout.width, depth, layout.width,
               scratch + layout.keep + strip, out + strip * layout.width, layout.width);
    }
  }
  for (int64_t row = 0; row < rows; ++row) {
    const float inverse = 1.0f / scratch[layout.total + row];
    float* dst = tile.out + row / tile.queries * tile.token_stride + row % tile.queries * tile.head_dim;
    for (int64_t x = 0; x < tile.head_dim; ++x) dst[x] = out[row * layout.width + x] * inverse;
  }
}

void Attend(const AttentionTile& tile, const KvRows& keys, const KvRows& values, float* scratch) {
  DispatchKvElement(keys.dtype(), [&](auto type) { AttendElements<decltype(type)>(tile, keys, values, scratch); });
}

}  // namespace HWY_NAMESPACE
}  // namespace switchyard
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace switchyard {

HWY_EXPORT(Attend);

int64_t AttentionTileScratch(int64_t rows, int64_t head_dim) { return TileLayout(rows, head_dim).size; }

void AttendTile(const AttentionTile& tile, const KvRows& keys, const KvRows& values, float* scratch) {
  HWY_DYNAMIC_DISPATCH(Attend)(tile, keys, values, scratch);
}

}  // namespace switchyard
#endif  // HWY_ONCE
