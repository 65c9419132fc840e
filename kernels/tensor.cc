#include "kernels/tensor.h"

#include "absl/strings/str_cat.h"

namespace switchyard {

size_t SizeOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
    case DType::kInt32:
      return 4;
    case DType::kBFloat16:
    case DType::kFloat16:
      return 2;
    case DType::kUInt8:
    case DType::kInt8:
    case DType::kFloat8E4M3:
      return 1;
  }
  return 0;
}

const char* Name(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return "F32";
    case DType::kBFloat16:
      return "BF16";
    case DType::kFloat16:
      return "F16";
    case DType::kInt32:
      return "I32";
    case DType::kUInt8:
      return "U8";
    case DType::kInt8:
      return "I8";
    case DType::kFloat8E4M3:
      return "F8_E4M3";
  }
  return "?";
}

Shape::Shape(std::initializer_list<int64_t> dims) {
  CHECK_LE(dims.size(), static_cast<size_t>(kMaxRank));
  for (const int64_t dim : dims) {
    CHECK_GE(dim, 0);
    dims_[rank_++] = dim;
  }
}

int64_t Shape::num_elements() const {
  int64_t product = 1;
  for (int i = 0; i < rank_; ++i) product *= dims_[i];
  return product;
}

Shape Shape::WithOuter(int64_t outer) const {
  CHECK_GT(rank_, 0);
  Shape result = *this;
  result.dims_[0] = outer;
  return result;
}

std::string Shape::ToString() const {
  std::string text = "[";
  for (int i = 0; i < rank_; ++i) absl::StrAppend(&text, i == 0 ? "" : ", ", dims_[i]);
  return text + "]";
}

bool Shape::operator==(const Shape& other) const {
  if (rank_ != other.rank_) return false;
  for (int i = 0; i < rank_; ++i) {
    if (dims_[i] != other.dims_[i]) return false;
  }
  return true;
}

}  // namespace switchyard
