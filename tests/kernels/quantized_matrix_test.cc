// Quantised weights of the fast CPU backend: rows come in any order and number, and are read back as they were.
#include "kernels/cpu/quantized_matrix.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/quantization/quantize.h"
#include "tests/kernels/test_backends.h"

namespace switchyard {
namespace {

constexpr int64_t kRows = 57;

class QuantizedMatrixTest : public BackendTest {};
// The packing has a vector form for each instruction set; backends and threads make no difference to it.
INSTANTIATE_OVER_BACKENDS(QuantizedMatrixTest);

TEST_P(QuantizedMatrixTest, HoldsRowsThatAreFilledInAnyParts) {
  for (const char* name : {"nf4", "int4", "int4-g64-asym", "int8", "int8-g64"}) {
    // Whole slices and parts of one, rows of whole words and of single bytes, and more than 4 slices.
    for (const int64_t columns : {64, 192, 328, 325, 36, 7}) {
      const QuantizationRecipe recipe = *ParseQuantizationRecipe(name);
      if (!ValidateQuantization(recipe.stored, columns).ok()) continue;
      SCOPED_TRACE(absl::StrCat(name, ", ", columns));
      const auto tensor = Quantize(recipe, Normal(kRows * columns), columns);
      ASSERT_TRUE(tensor.ok()) << tensor.status();
      std::vector<float> expected(kRows * columns);
      DequantizeRows(*tensor, 0, kRows, expected);
      const Quantization held = tensor->quantization;
      const auto matrix =
          QuantizedMatrix::Create({.out_features = kRows, .in_features = columns, .quantization = held});
      ASSERT_TRUE(matrix.ok()) << matrix.status();
      // Blocks of 16 rows from their beginning, from within, and the last, which is short.
      for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{{40, 57}, {0, 16}, {16, 21}, {21, 40}}) {
        const QuantizedTensor part = SliceRows(*tensor, begin, end);
        const Shape shape{end - begin, held.CodeBytes(columns)};
        ASSERT_TRUE((*matrix)->FillCodes(begin, ConstTensorView(part.codes.data(), DType::kUInt8, shape)).ok());
        ASSERT_TRUE((*matrix)->FillScales(begin, part.scales.Rows(0, end - begin)).ok());
      }
      std::vector<float> found(kRows * columns);
      for (int64_t row = 0; row < kRows; ++row) (*matrix)->UnpackRow(row, found.data() + row * columns);
      EXPECT_EQ(found, expected);
    }
  }
}

}  // namespace
}  // namespace switchyard
