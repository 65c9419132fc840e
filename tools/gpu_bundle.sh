#!/usr/bin/env bash
# Collects what bench/gpu_check.sh needs on a machine that has a GPU and nothing of ours.
#
#   tools/gpu_bundle.sh [--no-data] BUILD_DIR FOLDER
#
# FOLDER gets the programs, stripped; the shared libraries that they need and that are neither the C and C++ runtime nor
# CUDA's or NCCL's; the checkpoints that are tested with, without --no-data; and gpu_check.sh. FOLDER.tar.xz is the same
# in one file, which must not exceed 64 MiB. With --no-data gpu_check.sh is to be started in a checkout's root.
set -euo pipefail

readonly PROGRAMS=(gpu_kernels_test gpu_backend_test gpu_engine_test gpu_kernel_bench decode_bench prefill_bench)
readonly MAX_BYTES=$((64 << 20))

with_data=true
if [[ ${1:-} == --no-data ]]; then
  with_data=false
  shift
fi
if (($# != 2)); then
  echo "usage: tools/gpu_bundle.sh [--no-data] BUILD_DIR FOLDER" >&2
  exit 2
fi
build=$1
folder=${2%/}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [[ -e $folder ]]; then
  echo "$folder exists" >&2
  exit 2
fi

mkdir -p "$folder/bin" "$folder/lib"
for program in "${PROGRAMS[@]}"; do
  strip -o "$folder/bin/$program" "$build/$program"
done
# Of glibc and GCC the other machine has its own; the driver, CUDA and NCCL are what it must bring.
ldd "$folder"/bin/* | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
  { grep -vE '/(ld-linux.*|lib(c|m|dl|rt|pthread|stdc\+\+|gcc_s|cuda|cudart|cublas|cublasLt|nccl))\.so' || true; } |
  while read -r library; do
    strip -o "$folder/lib/$(basename "$library")" "$library"
  done
cp "$root/bench/gpu_check.sh" "$folder/"
git -C "$root" describe --always --dirty > "$folder/VERSION" 2> /dev/null || echo unknown > "$folder/VERSION"
if $with_data; then
  mkdir -p "$folder/models" "$folder/tests/engine/data"
  cp -r "$root/models/tiny-mixtral" "$folder/models/"
  cp -r "$root/tests/golden" "$folder/tests/"
  cp -r "$root/tests/engine/data/mixtral-8x7b" "$folder/tests/engine/data/"
fi

# One dictionary over all: the programs share most of their code.
tar -C "$(dirname "$folder")" --sort=name -cf - "$(basename "$folder")" | xz -9 -T1 > "$folder.tar.xz"
bytes=$(stat -c %s "$folder.tar.xz")
echo "$folder: $(du -sm "$folder" | cut -f1) MiB; $folder.tar.xz: $((bytes >> 20)) MiB"
if ((bytes > MAX_BYTES)); then
  echo "$folder.tar.xz is larger than 64 MiB" >&2
  exit 1
fi
