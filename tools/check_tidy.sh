#!/usr/bin/env bash
# clang-tidy over the project's sources with the compile commands of build/.
# With a base revision as argument, only over the files that changed since.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -gt 0 ]; then
  files=$(git diff --name-only --diff-filter=d "$1" -- 'kernels/*.cc' 'parallel/*.cc' 'engine/*.cc' 'server/*.cc')
else
  files=$(git ls-files 'kernels/*.cc' 'parallel/*.cc' 'engine/*.cc' 'server/*.cc')
fi
[ -z "$files" ] || echo "$files" | xargs -P "$(nproc)" -n 4 clang-tidy -p build --quiet 2>/dev/null
echo "clang-tidy: clean"
