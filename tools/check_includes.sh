#!/usr/bin/env bash
# Fails when an include runs against the layers: proto <- server -> engine -> parallel -> kernels.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
# forbid FOLDER PATTERN WHY [EXCEPT]: no source of FOLDER may match PATTERN, files named by EXCEPT aside.
forbid() {
  local hits
  hits=$(grep -rnE --include='*.h' --include='*.cc' --include='*.cu' --include='*.cuh' \
    "#include [\"<]($2)" $1 | grep -vE "^(${4:-$^})" || true)
  if [ -n "$hits" ]; then
    printf '%s: %s\n%s\n' "$1" "$3" "$hits"
    failed=1
  fi
}

forbid kernels 'parallel/|engine/|server/|switchyard/v1/' 'kernels know nothing of ranks, requests, files or protocols'
forbid parallel 'engine/|server/|switchyard/v1/' 'parallel knows nothing of layers, requests or protocols'
forbid engine 'server/|switchyard/v1/' 'the engine knows nothing of its front ends'
forbid server 'kernels/cpu|kernels/cuda|parallel/communicators' 'the edge knows nothing of devices and transports'
forbid server/http 'server/openai|engine/' 'HTTP knows no OpenAI and no engine'
forbid server/openai 'boost/' 'OpenAI handlers know no sockets'
forbid 'kernels parallel engine' 'grpc|boost/beast|prometheus|spdlog|CLI/' 'third-party types of the edge stay in server/'
forbid 'kernels parallel engine server' 'gloo/' 'Gloo stays in its one file' 'parallel/communicators/gloo_links.cc'
forbid 'kernels parallel engine server' 'nccl.h' 'NCCL stays in its one file' 'parallel/communicators/nccl_links.cc'
forbid 'parallel engine server kernels/cpu' 'cuda_runtime|cublas' 'CUDA stays in kernels/cuda/' 'parallel/communicators/nccl_links.cc'
forbid 'parallel engine server' 'dnnl|oneapi|hwy/' 'oneDNN and Highway stay in kernels/cpu/'
forbid 'kernels parallel server' 'sentencepiece' 'SentencePiece stays in engine/text/'

if [ "$failed" -ne 0 ]; then exit 1; fi
echo "includes: every arrow points down"
