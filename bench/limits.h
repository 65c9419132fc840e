// What this machine can do at most, measured in the running process, so that a benchmark prints a fraction of a limit
// taken under the same load. Each call takes some tenths of a second and keeps the best of several runs.
#pragma once

namespace switchyard {

// Bytes per second of `threads` threads that start together and each stream through their own part of a buffer far
// larger than the third-level cache.
double MeasureReadBandwidth(int threads);

// float32 operations per second (a fused multiply-add counts two) of `threads` threads on registers alone.
double MeasureFmaRate(int threads);

}  // namespace switchyard
