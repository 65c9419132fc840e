#include "engine/checkpoint/load_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "tests/engine/checkpoint/fake_backend.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;

using Rows = std::pair<int64_t, int64_t>;

// Blocks of `slice`, at most 8 rows of 16 BF16 each.
std::vector<Rows> BlocksOf(const TensorSlice& slice, FakeBackend& backend) {
  const StackedSlices stacked{.slices = {slice}};
  const auto matrix = backend.CreateMatrix({.out_features = slice.num_rows(), .in_features = 16});
  const std::vector<PlannedMatrix> matrices = {{&stacked, matrix->get()}};
  const LoadBlocks split = SplitIntoBlocks(matrices, 8 * 16 * 2 + 5);
  std::vector<Rows> rows;
  for (const LoadBlock& block : split.blocks) rows.emplace_back(block.row_begin, block.row_end);
  return rows;
}

TEST(LoadBlocks, BeginAtTheSameRowsWhicheverOfThemAreRead) {
  FakeBackend backend;
  const TensorLocation tensor{.name = "x", .shape = {22, 16}};
  TensorSlice slice{.tensor = &tensor, .row_end = 22, .column_end = 16};
  EXPECT_THAT(BlocksOf(slice, backend), ElementsAre(Rows(0, 8), Rows(8, 16), Rows(16, 22)));
  slice.row_begin = 5;
  slice.row_end = 18;
  EXPECT_THAT(BlocksOf(slice, backend), ElementsAre(Rows(5, 8), Rows(8, 16), Rows(16, 18)));
  slice.is_read_whole = true;
  EXPECT_THAT(BlocksOf(slice, backend), ElementsAre(Rows(0, 8), Rows(8, 16), Rows(16, 22)));
}

}  // namespace
}  // namespace switchyard
