#!/usr/bin/env bash
# Everything that is to be known on a machine with a GPU, in one command. Run it in a bundle of tools/gpu_bundle.sh, or
# in a checkout after `cmake --preset gpu-check && cmake --build --preset gpu-check`.
#
#   gpu_check.sh [--section NAME]... [--out DIR] [--bin DIR] [--data DIR] [--time-limit SECONDS] [--dry-run]
#
#   tests       kernels and backend against the CPU reference
#   engine      scores and greedy decoding of the golden checkpoints and the bundled model, 1 to 3 ranks
#   sanitizer   compute-sanitizer over the kernels, the backend and small engines
#   kernels     time of each kernel beside its limit
#   model       decode and prefill with Mixtral-8x7B's dimensions and random weights, beside their limits
#
# Without --section all of them. Each goes on after a failure. DIR/gpu_check.md is a report in Markdown, DIR/<section>.log
# what the programs printed; the summary is printed last. Exit code: 0 if all that ran passed, 1 if something failed, 2
# if nothing could be run. --time-limit is for one program, 540 by default. --dry-run needs no GPU: it checks that every
# program is there and finds its libraries, and prints what would be run.
#
# Needs the driver, and the libraries of CUDA 13 (libcublasLt) and NCCL, which are found where the toolkit, a
# distribution or Python wheels put them.
set -uo pipefail

readonly ALL_SECTIONS=(tests engine sanitizer kernels model)
readonly PROGRAMS=(gpu_kernels_test gpu_backend_test gpu_engine_test gpu_kernel_bench decode_bench prefill_bench)

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${OUT:-./gpu_check-out}
sections=()
time_limit=540
dry_run=false
if [[ -d $here/bin ]]; then
  bin=$here/bin
  data=$here
  [[ -d $data/models ]] || data=$PWD  # a bundle without data, started in a checkout
else
  data=$(dirname "$here")
  bin=$data/build-gpu
fi

die() {
  echo "gpu_check.sh: $1" >&2
  exit 2
}

while (($# > 0)); do
  case $1 in
    --dry-run) dry_run=true; shift; continue ;;
    --help | -h) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --section | --out | --bin | --data | --time-limit) (($# > 1)) || die "$1 needs a value" ;;
    *) die "unknown argument $1; see --help" ;;
  esac
  case $1 in
    --section) sections+=("$2") ;;
    --out) out=$2 ;;
    --bin) bin=$2 ;;
    --data) data=$2 ;;
    --time-limit) time_limit=$2 ;;
  esac
  shift 2
done
((${#sections[@]} > 0)) || sections=("${ALL_SECTIONS[@]}")
for section in "${sections[@]}"; do
  [[ " ${ALL_SECTIONS[*]} " == *" $section "* ]] || die "no section $section; there are: ${ALL_SECTIONS[*]}"
done
[[ $time_limit =~ ^[1-9][0-9]*$ ]] || die "--time-limit is $time_limit; a number of seconds is needed"

# Folders that may hold the libraries of CUDA and NCCL, one a line.
library_folders() {
  ldconfig -p 2> /dev/null | sed -n 's/.* => \(.*\)\/lib\(cublasLt\|nccl\)\.so\..*/\1/p'
  printf '%s\n' /usr/local/cuda/lib64 /usr/local/cuda*/lib64 /usr/local/cuda*/targets/x86_64-linux/lib /usr/local/cuda*/lib \
    /usr/lib/x86_64-linux-gnu /usr/lib64 ${CUDA_HOME:+"$CUDA_HOME/lib64"} ${NCCL_HOME:+"$NCCL_HOME/lib"}
  local python
  for python in python3 /opt/*/.venv/bin/python3 /opt/*/bin/python3; do
    command -v "$python" > /dev/null || continue
    "$python" -c 'import sys; print("\n".join(p for p in sys.path if p))' 2> /dev/null
  done | sort -u | while read -r folder; do printf '%s\n' "$folder"/nvidia/*/lib; done
}

# "2.28.9" of a libnccl.
nccl_version() { grep -aoE -m1 'NCCL version [0-9]+\.[0-9]+\.[0-9]+' "$1" | head -1 | grep -oE '[0-9.]+$'; }

# Puts the folders of the libraries at the head of LD_LIBRARY_PATH: of cuBLASLt the first that is found, of NCCL the
# newest, since only 2.30 and later let ranks share a GPU.
find_libraries() {
  local folder version newest=0
  cublaslt="" nccl="" nccl_found=""
  while read -r folder; do
    [[ -n $cublaslt || ! -e $folder/libcublasLt.so.13 ]] || cublaslt=$folder/libcublasLt.so.13
    [[ -e $folder/libnccl.so.2 ]] || continue
    version=$(nccl_version "$folder/libnccl.so.2")
    if [[ -z $nccl || $(printf '%s\n' "$newest" "${version:-0}" | sort -V | tail -1) != "$newest" ]]; then
      nccl=$folder/libnccl.so.2
      newest=${version:-0}
    fi
  done < <(library_folders | awk '!seen[$0]++')
  [[ -z $nccl ]] || nccl_found="$newest in $(dirname "$nccl")"
  local path=$here/lib
  [[ -z $nccl ]] || path+=:$(dirname "$nccl")
  [[ -z $cublaslt ]] || path+=:$(dirname "$cublaslt")
  for folder in /usr/local/nvidia/lib64 /usr/local/nvidia/lib /usr/lib/wsl/lib; do
    [[ ! -e $folder/libcuda.so.1 ]] || path+=:$folder
  done
  export LD_LIBRARY_PATH=$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

# Prints what is missing; fails if anything is.
check_programs() {
  local program missing complete=true
  for program in "${PROGRAMS[@]}"; do
    if [[ ! -x $bin/$program ]]; then
      echo "missing: $bin/$program"
      complete=false
    elif missing=$(ldd "$bin/$program" 2>&1 | sed -n 's/^[[:space:]]*\(.*not found\).*/\1/p'); [[ -n $missing ]]; then
      echo "$program: ${missing//$'\n'/;}"
      complete=false
    fi
  done
  for folder in tests/golden models/tiny-mixtral tests/engine/data/mixtral-8x7b; do
    [[ -d $data/$folder ]] && continue
    echo "missing: $data/$folder (--data DIR names the folder that holds it)"
    complete=false
  done
  $complete
}

count_gpus() {
  if command -v nvidia-smi > /dev/null; then
    nvidia-smi -L 2> /dev/null | grep -c '^GPU '
  else
    find /dev -maxdepth 1 -name 'nvidia[0-9]*' 2> /dev/null | wc -l
  fi
}

summary=()
num_failed=0
note() {  # RESULT WHAT DETAIL
  summary+=("| $2 | $1 | $3 |")
  [[ $1 != FAILED ]] || ((++num_failed))
  echo "== $1: $2 ($3)"
}

# run NAME COMMAND...: into $log; sets `seconds`, returns the command's status.
run() {
  local name=$1 began=$SECONDS status
  shift
  echo "-- $name: $*"
  if $dry_run; then
    note "not run" "$name" "--dry-run"
    return 255
  fi
  echo "\$ $*" >> "$log"
  : > "$log.part"
  timeout --kill-after=10 "$time_limit" "$@" >> "$log.part" 2>&1
  status=$?
  seconds=$((SECONDS - began))
  cat "$log.part" >> "$log"
  return $status
}

failure_detail() {  # STATUS
  case $1 in
    124 | 137) echo "stopped after $time_limit s; see $(basename "$log")" ;;
    *) echo "exit code $1 after $seconds s; see $(basename "$log")" ;;
  esac
}

# run_tests NAME COMMAND...: a GoogleTest program, which must have run something.
run_tests() {
  run "$@"
  local status=$? passed skipped
  ((status != 255)) || return
  passed=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$log.part" | tail -1)
  skipped=$(sed -n 's/^\[  SKIPPED \] \([0-9]*\) test.*/\1/p' "$log.part" | tail -1)
  if ((status != 0)); then
    note FAILED "$1" "$(failure_detail $status)"
    grep -E '^\[  FAILED  \]|Failure$|CHECK|ERROR SUMMARY' "$log.part" | sort -u | head -20
    tail -5 "$log.part"
  elif ((${passed:-0} == 0)); then
    note FAILED "$1" "no test ran, ${skipped:-0} skipped"
  else
    note passed "$1" "$passed tests, ${skipped:-0} skipped, $seconds s"
  fi
}

# run_bench NAME COMMAND...: a program whose Markdown belongs in the report.
run_bench() {
  run "$@"
  report_bench "$1" $?
}

report_bench() {  # NAME STATUS
  (($2 != 255)) || return 0
  if (($2 == 0)); then
    note measured "$1" "$seconds s"
  else
    note FAILED "$1" "$(failure_detail "$2")"
    tail -5 "$log.part"
  fi
  {
    printf '\n**%s**\n\n' "$1"
    awk '/^\|/ && !in_table { print "" } { in_table = /^\|/; print }' "$log.part"
  } >> "$tables"
}

section_tests() {
  run_tests "kernels against the CPU reference" "$bin/gpu_kernels_test"
  run_tests "backend against the CPU reference" "$bin/gpu_backend_test"
}

section_engine() {
  run_tests "golden checkpoints and bundled model" "$bin/gpu_engine_test" --source-dir "$data"
  $dry_run && return
  {
    printf '\n**Engines furthest from the reference**\n\n'
    grep -h '^log-probability errors' "$log" | sort -k11 -gr | sed 's/^/- /' | head -5
  } >> "$tables"
}

section_sanitizer() {
  local sanitizer tool options
  sanitizer=$(command -v compute-sanitizer || find /usr/local/cuda*/bin /opt/nvidia -name compute-sanitizer 2> /dev/null | head -1)
  if [[ -z $sanitizer ]] && ! $dry_run; then
    note "not run" "compute-sanitizer" "there is none on this machine"
    return
  fi
  # A refusal of the runtime is a Status, which the tests look at. Death tests fork, which the sanitizer does not follow.
  options=(--error-exitcode 99 --report-api-errors no)
  for tool in memcheck racecheck synccheck; do
    run_tests "$tool, kernels" "${sanitizer:-compute-sanitizer}" --tool "$tool" "${options[@]}" \
      "$bin/gpu_kernels_test" --gtest_filter='-*DeathTest*'
  done
  run_tests "memcheck, backend" "${sanitizer:-compute-sanitizer}" --tool memcheck "${options[@]}" "$bin/gpu_backend_test"
  run_tests "memcheck, small engines" "${sanitizer:-compute-sanitizer}" --tool memcheck "${options[@]}" \
    "$bin/gpu_engine_test" --source-dir "$data" --gtest_filter='*InChunks/top2_of_8_1_ranks*:*InChunks/hf_head_dim_1_ranks*'
}

section_kernels() {
  run_bench "kernels at Mixtral-8x7B's sizes" "$bin/gpu_kernel_bench"
}

# A card that cannot hold 32 layers runs fewer of the same layers: a layer costs the same.
model_config() {  # LAYERS
  local config=$data/tests/engine/data/mixtral-8x7b/config.json
  (($1 == 32)) || config=$scratch/config-$1-layers.json
  [[ -e $config ]] ||
    sed "s/\"num_hidden_layers\": 32/\"num_hidden_layers\": $1/" "$data/tests/engine/data/mixtral-8x7b/config.json" > "$config"
  echo "$config"
}

section_model() {
  local layers gpus model flags name status format
  local -a quantised=(--device cuda --load-format dummy --config "$(model_config 32)")
  local -a lists=("0")
  ((num_gpus < 2)) || lists+=("0,1")
  for gpus in "${lists[@]}"; do
    for layers in 32 16 8 4 2 1; do
      model=(--device cuda --gpus "$gpus" --load-format dummy --config "$(model_config $layers)")
      flags=(--prompt 128 --generate 192 --max-batch-tokens 4096)
      name="decode, $layers of 32 layers, GPU $gpus"
      run "$name" "$bin/decode_bench" "${model[@]}" "${flags[@]}" --batches 1,8,64,256
      status=$?
      # Refused by the memory plan, or with room for part of the batch only: fewer layers.
      ((status == 1)) || break
      grep -qE 'FAILED_PRECONDITION|raise --generate' "$log.part" || break
    done
    report_bench "$name" $status
    run_bench "decode without CUDA graphs, $layers of 32 layers, GPU $gpus" \
      "$bin/decode_bench" "${model[@]}" "${flags[@]}" --batches 1,64 --no-cuda-graphs
    run_bench "decode without programmatic launches, int4, GPU $gpus" "$bin/decode_bench" "${quantised[@]}" --gpus "$gpus" \
      --quantize int4 "${flags[@]}" --batches 1,64 --no-programmatic-launches
    run_bench "prefill, $layers of 32 layers, GPU $gpus" \
      "$bin/prefill_bench" "${model[@]}" --lengths 512,4096,16384 --max-batch-tokens 4096
    for format in nf4 int4 int8; do
      run_bench "decode, $format, GPU $gpus" "$bin/decode_bench" "${quantised[@]}" --gpus "$gpus" --quantize "$format" \
        "${flags[@]}" --batches 1,8,64
      run_bench "prefill, $format, GPU $gpus" "$bin/prefill_bench" "${quantised[@]}" --gpus "$gpus" --quantize "$format" \
        --lengths 512,4096 --max-batch-tokens 4096
    done
  done
}

find_libraries
num_gpus=$(count_gpus)
if ! check_programs; then
  [[ -n $cublaslt ]] || echo "libcublasLt.so.13 was not found: install CUDA 13's libraries, or set LD_LIBRARY_PATH"
  [[ -n $nccl ]] || echo "libnccl.so.2 was not found: install NCCL, or set LD_LIBRARY_PATH"
  die "the programs above cannot run; build them with the preset gpu-check, and bundle them with tools/gpu_bundle.sh"
fi
if ((num_gpus == 0)) && ! $dry_run; then
  die "no NVIDIA GPU here (nvidia-smi lists none): nothing can be checked. --dry-run checks the bundle without one"
fi

mkdir -p "$out" || die "cannot write $out"
out=$(cd "$out" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tables=$scratch/tables
: > "$tables"
for section in "${sections[@]}"; do
  log=$out/$section.log
  : > "$log"
  "section_$section"
  rm -f "$log.part"
done

{
  echo "# GPU check"
  echo
  echo "$(date -u '+%Y-%m-%d %H:%M UTC'), version $(cat "$here/VERSION" 2> /dev/null || git -C "$here" describe --always --dirty 2> /dev/null || echo unknown)," \
    "sections: ${sections[*]}"
  echo
  echo "| GPU | driver | cuBLASLt | NCCL |"
  echo "|---|---|---|---|"
  { nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2> /dev/null || echo "unknown, unknown"; } |
    while IFS=, read -r name driver; do echo "| $name | $driver | $cublaslt | $nccl_found |"; done
  echo
  echo "| what | result | |"
  echo "|---|---|---|"
  printf '%s\n' "${summary[@]}"
  cat "$tables"
} > "$out/gpu_check.md"
echo
cat "$out/gpu_check.md"
echo
if ((num_failed > 0)); then
  echo "$num_failed FAILED"
  exit 1
fi
$dry_run && echo "dry run: nothing was run" || echo "all that ran passed"
