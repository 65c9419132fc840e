#include "engine/checkpoint/stacked_slices.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/checkpoint/safetensors.h"
#include "kernels/quantization/quantized_tensor.h"

namespace switchyard {
namespace {

// The smallest groups that backends compute with; every format has them.
constexpr int64_t kSmallestGroup = 64;

struct Form {
  Quantization quantization = {};
  std::string dense_because;  // empty where nobody asked for more
};

bool IsWholeGroups(const TensorSlice& slice, int64_t group_size) {
  return slice.column_begin % group_size == 0 &&
         (slice.column_end % group_size == 0 || slice.column_end == slice.tensor->columns());
}

Form FormOf(const TensorSlice& slice, const QuantizationRecipe& recipe) {
  Quantization form = slice.tensor->is_dense() ? recipe.stored : slice.tensor->quantization;
  if (form.is_dense()) return {};
  if (!slice.has_all_columns()) {
    if (form.reordered) return {.dense_because = "columns in act-order cannot be divided among ranks"};
    if (!IsWholeGroups(slice, form.group_size) && form.group_size % kSmallestGroup == 0) {
      form.group_size = kSmallestGroup;
    }
    if (!IsWholeGroups(slice, form.group_size)) {
      return {.dense_because = absl::StrCat("a rank's columns, ", slice.column_begin, " to ", slice.column_end,
                                            ", are not whole groups of ", form.group_size)};
    }
    // As SliceColumns leaves it.
    form.double_quantized = form.double_quantized &&
                            NestedScalesFit(form.NumGroups(slice.tensor->columns()),
                                            slice.column_begin / form.group_size, form.NumGroups(slice.column_end));
  }
  const absl::Status valid = ValidateQuantization(form, slice.num_columns());
  if (!valid.ok()) return {.dense_because = std::string(valid.message())};
  return {.quantization = form};
}

void MarkReads(StackedSlices& stacked) {
  for (TensorSlice& slice : stacked.slices) {
    slice.is_read_whole = !slice.tensor->is_dense() || stacked.recipe.stored.double_quantized;
  }
}

}  // namespace

int64_t StackedSlices::num_rows() const {
  int64_t rows = 0;
  for (const TensorSlice& slice : slices) rows += slice.num_rows();
  return rows;
}

int64_t StackedSlices::bytes_read() const {
  int64_t bytes = 0;
  for (const TensorSlice& slice : slices) bytes += slice.bytes_read();
  return bytes;
}

void DenseFallbacks::Add(const std::string& tensor, const std::string& because) {
  Names& names = by_reason_[because];
  if (names.count++ == 0) names.first = tensor;
}

std::vector<std::string> DenseFallbacks::Sentences() const {
  std::vector<std::string> sentences;
  for (const auto& [because, names] : by_reason_) {
    const std::string others = names.count > 1 ? absl::StrCat(" and ", names.count - 1, " more are") : " is";
    sentences.push_back(absl::StrCat(QuoteName(names.first), others, " held unquantised: ", because));
  }
  return sentences;
}

std::optional<Quantization> CommonForm(const Quantization& a, const Quantization& b) {
  if (a == b) return a;
  Quantization small_a = a;
  Quantization small_b = b;
  small_a.group_size = small_b.group_size = kSmallestGroup;
  const bool divides = a.group_size % kSmallestGroup == 0 && b.group_size % kSmallestGroup == 0;
  if (a.is_dense() || b.is_dense() || !divides || small_a != small_b) return std::nullopt;
  return small_a;
}

StackedSlices Stack(std::vector<TensorSlice> slices, const QuantizationRecipe& recipe, DenseFallbacks& fallbacks) {
  StackedSlices stacked{.slices = std::move(slices)};
  const TensorSlice& first = stacked.slices.front();
  stacked.dtype = first.tensor->dtype;
  const Form form = FormOf(first, recipe);
  stacked.quantization = form.quantization;
  std::string dense_because = form.dense_because;
  for (const TensorSlice& slice : stacked.slices) {
    CHECK_EQ(slice.num_columns(), stacked.num_columns());
    if (slice.tensor->dtype != stacked.dtype) stacked.dtype = DType::kFloat32;
    const Form other = FormOf(slice, recipe);
    const std::optional<Quantization> common = CommonForm(stacked.quantization, other.quantization);
    if (common.has_value()) {
      stacked.quantization = *common;
    } else if (dense_because.empty()) {
      dense_because = absl::StrCat("it is ", Describe(form.quantization), " and is stacked with ",
                                   QuoteName(slice.tensor->name), ", which is ", Describe(other.quantization));
    }
  }
  if (!stacked.quantization.is_dense()) stacked.recipe = recipe;
  if (!dense_because.empty()) MakeDense(stacked, dense_because, fallbacks);
  MarkReads(stacked);
  return stacked;
}

StackedSlices DenseStack(const TensorSlice& slice) {
  StackedSlices stacked{.slices = {slice}, .dtype = slice.tensor->dtype};
  MarkReads(stacked);
  return stacked;
}

void MakeDense(StackedSlices& stacked, const std::string& because, DenseFallbacks& fallbacks) {
  stacked.quantization = {};
  stacked.recipe = {};
  MarkReads(stacked);
  fallbacks.Add(stacked.slices.front().tensor->name, because);
}

}  // namespace switchyard
