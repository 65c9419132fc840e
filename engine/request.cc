#include "engine/request.h"

#include "kernels/check.h"

namespace switchyard {

const char* Name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kAborted:
      return "abort";
    case FinishReason::kError:
      return "error";
  }
  CHECK(!"a finish reason");
  return "";
}

}  // namespace switchyard
