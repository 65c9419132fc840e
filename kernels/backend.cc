#include "kernels/backend.h"

namespace switchyard {

absl::StatusOr<Tensor> Backend::AllocateTensor(DType dtype, Shape shape) {
  absl::StatusOr<Buffer> buffer = Allocate(static_cast<size_t>(shape.num_elements()) * SizeOf(dtype));
  if (!buffer.ok()) return buffer.status();
  return Tensor(*std::move(buffer), dtype, shape);
}

absl::StatusOr<std::unique_ptr<RecordedWork>> Backend::Record(const std::function<absl::Status()>& /*body*/) {
  return absl::UnimplementedError(Description() + " cannot record work");
}

absl::Status Backend::Replay(RecordedWork& /*work*/) {
  return absl::UnimplementedError(Description() + " cannot replay work");
}

}  // namespace switchyard
