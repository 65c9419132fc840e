#!/usr/bin/env bash
# Builds deploy/Dockerfile without a daemon or a registry, over a Debian 12 made by debootstrap, and has the image answer
# a question. As root; needs buildah and debootstrap.
#   [CCACHE_DIR=...] tests/deploy/build_image.sh [WORK_FOLDER]
# With CCACHE_DIR that compiler cache is used, and a second build takes minutes; without it as long as building the server.
set -euo pipefail

source_dir=$(cd "$(dirname "$0")/../.." && pwd)
work=${1:-$(mktemp -d)}
mkdir -p "$work"
# Everything that buildah keeps stays in the work folder.
buildah=(buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs)

"$source_dir/tests/deploy/debian_base.sh" "$work"
# Made once: another base would make every layer anew.
for name in docker.io/library/debian:bookworm docker.io/library/debian:bookworm-slim; do
  if ! "${buildah[@]}" inspect --type image "$name" > "$work/inspect.log" 2>&1; then
    container=$("${buildah[@]}" from scratch)
    "${buildah[@]}" add -q "$container" "$work/base.tar" / > "$work/add.log"
    "${buildah[@]}" commit -q --rm "$container" "$name" > "$work/commit.log"
  fi
done

cache=()
if [ -n "${CCACHE_DIR:-}" ]; then
  cache=(--volume "$CCACHE_DIR:/root/.cache/ccache")
fi
"${buildah[@]}" build "${cache[@]}" --isolation chroot --network host --pull-never --layers --format docker \
  -f "$source_dir/deploy/Dockerfile" -t switchyard "$source_dir"

"${buildah[@]}" images --format '{{.Name}} {{.Size}}' localhost/switchyard
container=$("${buildah[@]}" from --pull-never localhost/switchyard)
trap '"${buildah[@]}" rm "$container" > /dev/null' EXIT
answer=$("${buildah[@]}" run --isolation chroot --network host "$container" -- \
  /usr/local/bin/switchyard generate --chat --prompt "What is 12 + 7?" --max-tokens 8 --temperature 0)
echo "the image answers: $answer"
[[ $answer == *19* ]]
