#include "kernels/weights.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace switchyard {
namespace {

absl::Status Refuse(const MatrixSpec& spec, absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat("the matrix [", spec.out_features, ", ", spec.in_features, "], ",
                                                    Describe(spec.quantization), ", is not filled with ", what));
}

}  // namespace

absl::Status Matrix::Fill(int64_t /*row_begin*/, ConstTensorView /*rows*/) { return Refuse(spec(), "dense rows"); }

absl::Status Matrix::FillCodes(int64_t /*row_begin*/, ConstTensorView /*codes*/) { return Refuse(spec(), "codes"); }

absl::Status Matrix::FillScales(int64_t /*row_begin*/, const GroupScales& /*scales*/) {
  return Refuse(spec(), "scales");
}

absl::Status Matrix::FillColumnOrder(std::span<const int32_t> /*order*/) { return Refuse(spec(), "a column order"); }

}  // namespace switchyard
