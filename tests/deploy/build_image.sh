#!/usr/bin/env bash
# Builds deploy/Dockerfile without a daemon or a registry, over a Debian 12 made by debootstrap, and has the image answer
# a question. As root; takes as long as a build of the server. Needs buildah and debootstrap.
#   tests/deploy/build_image.sh [WORK_FOLDER]
set -euo pipefail

source_dir=$(cd "$(dirname "$0")/../.." && pwd)
work=${1:-$(mktemp -d)}
mkdir -p "$work"
# Everything that buildah keeps stays in the work folder.
buildah=(buildah --root "$work/storage" --runroot "$work/run" --storage-driver vfs)

if [ ! -f "$work/base.tar" ]; then
  debootstrap --variant=minbase bookworm "$work/base" http://deb.debian.org/debian > "$work/debootstrap.log"
  tar -C "$work/base" --one-file-system -cf "$work/base.tar" .
fi
for name in debian:bookworm debian:bookworm-slim; do
  container=$("${buildah[@]}" from scratch)
  "${buildah[@]}" add -q "$container" "$work/base.tar" / > "$work/add.log"
  "${buildah[@]}" commit -q --rm "$container" "docker.io/library/$name" > "$work/commit.log"
done

"${buildah[@]}" build --isolation chroot --network host --pull-never --layers=false -f "$source_dir/deploy/Dockerfile" \
  -t switchyard "$source_dir"

container=$("${buildah[@]}" from --pull-never localhost/switchyard)
trap '"${buildah[@]}" rm "$container" > /dev/null' EXIT
answer=$("${buildah[@]}" run --isolation chroot --network host "$container" -- \
  /usr/local/bin/switchyard generate --chat --prompt "What is 12 + 7?" --max-tokens 8 --temperature 0)
echo "the image answers: $answer"
[[ $answer == *19* ]]
