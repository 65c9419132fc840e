// The stream type of the CUDA runtime, without its headers.
#pragma once

struct CUstream_st;

namespace switchyard::cuda {

using Stream = CUstream_st*;  // the same type as cudaStream_t

}  // namespace switchyard::cuda
