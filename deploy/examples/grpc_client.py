#!/usr/bin/env python3
"""Many prompts on one stream, each answer as it comes (pip install grpcio-tools).

    python3 -m grpc_tools.protoc --proto_path=proto --python_out=. --grpc_python_out=. proto/switchyard/v1/generation.proto
    grpc_client.py 127.0.0.1:50051 "In the beginning" "To be, or not"
"""

import os
import sys

import grpc
from switchyard.v1 import generation_pb2, generation_pb2_grpc


def main():
    address, *prompts = sys.argv[1:]
    key = os.environ.get("SWITCHYARD_API_KEY")
    metadata = [("authorization", f"Bearer {key}")] if key else []
    requests = (generation_pb2.GenerateRequest(
        request_id=str(index), text=prompt, sampling=generation_pb2.SamplingParams(temperature=0),
        stop=generation_pb2.StopParams(max_tokens=32)) for index, prompt in enumerate(prompts))
    answers = dict.fromkeys(map(str, range(len(prompts))), "")
    failed = False
    with grpc.insecure_channel(address) as channel:
        stub = generation_pb2_grpc.GenerationStub(channel)
        for response in stub.GenerateBatch(requests, metadata=metadata, timeout=120):
            answers[response.request_id] += response.text
            if not response.HasField("status"):
                continue
            if response.status.code != grpc.StatusCode.OK.value[0]:
                failed = True
                print(f"{response.request_id}: {response.status.message}", file=sys.stderr)
            else:
                print(f"{prompts[int(response.request_id)]}|{answers[response.request_id]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
