#include "engine/checkpoint/writer/bitsandbytes_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/quantization/quantize.h"

namespace switchyard {
namespace {

using ::testing::ElementsAre;

// A row of 300 blocks has two scales of scales, and the second is used by no other row.
TEST(BitsAndBytesWriter, WritesEachNestedScaleOnceAndTheStateAsJson) {
  constexpr int64_t kColumns = 300 * 64;
  std::vector<float> values(kColumns);
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i)) * (i < 256 * 64 ? 1.0f : 3.0f);
  const auto quantized = Quantize(*ParseQuantizationRecipe("nf4"), values, kColumns);
  ASSERT_TRUE(quantized.ok()) << quantized.status();
  const TensorLocation weight{.name = "w.weight", .shape = {1, kColumns}};
  const auto encoder = CreateBitsAndBytesEncoder();
  const auto layouts = encoder->LayoutsOf(weight);
  ASSERT_TRUE(layouts.ok()) << layouts.status();
  const std::vector<std::byte> bytes = encoder->Encode(weight, *quantized);

  size_t offset = 0;
  for (const TensorLayout& layout : *layouts) {
    const auto size = static_cast<size_t>(layout.bytes);
    ASSERT_LE(offset + size, bytes.size());
    if (layout.name == "w.weight.nested_absmax") {
      std::vector<float> nested(size / sizeof(float));
      std::memcpy(nested.data(), bytes.data() + offset, size);
      const std::vector<float>& scales = quantized->scales.nested_scales;
      EXPECT_THAT(nested, ElementsAre(scales[0], scales[1]));
      EXPECT_NE(nested[0], nested[1]);
    }
    if (layout.name == "w.weight.quant_state.bitsandbytes__nf4") {
      const auto state = nlohmann::json::parse(std::string(reinterpret_cast<const char*>(bytes.data()) + offset, size));
      EXPECT_EQ(state["quant_type"], "nf4");
      EXPECT_EQ(state["dtype"], "bfloat16");
      EXPECT_THAT(state["shape"].get<std::vector<int>>(), ElementsAre(1, kColumns));
      EXPECT_EQ(state["nested_blocksize"], 256);
      EXPECT_EQ(static_cast<float>(state["nested_offset"].get<double>()), quantized->scales.nested_offsets[0]);
    }
    offset += size;
  }
  EXPECT_EQ(offset, bytes.size());
}

}  // namespace
}  // namespace switchyard
