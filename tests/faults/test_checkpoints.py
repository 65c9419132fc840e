"""Checkpoint files that lie: the server refuses to start, by name, with exit code 2, and without much memory."""

import json
import shutil
import struct
import subprocess

import pytest

import harness


def with_header(header, data=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def tensor(begin, end, shape=(2, 2)):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}


FILES = {
    "huge_header_length": struct.pack("<Q", 2**62) + b"{}",
    "header_longer_than_the_file": struct.pack("<Q", 10**6) + b"{}",
    "truncated_length": b"\x10\x00",
    "no_json": with_header(b"\xff" * 64),
    "deep_json": with_header(b"[" * 100_000),
    "overlapping": with_header({"a": tensor(0, 16), "b": tensor(8, 24)}, bytes(24)),
    "beyond_the_file": with_header({"a": tensor(0, 16), "b": tensor(16, 2**40)}, bytes(32)),
    "negative_offset": with_header({"a": tensor(-16, 0)}, bytes(16)),
    "size_is_not_the_shapes": with_header({"a": tensor(0, 8)}, bytes(8)),
    "shape_overflows": with_header({"a": tensor(0, 16, (2**40, 2**40))}, bytes(16)),
    "truncated_data": None,
}


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_lying_file_is_refused_by_name(tmp_path, name):
    model = tmp_path / "model"
    shutil.copytree(harness.MODEL, model)
    shard = sorted(model.glob("*.safetensors"))[0]
    if FILES[name] is None:
        data = shard.read_bytes()
        shard.write_bytes(data[:len(data) // 2])
    else:
        shard.write_bytes(FILES[name])
    # In 4 GiB of address space: a size from the file must not become an allocation.
    done = subprocess.run(["bash", "-c", 'ulimit -v 4194304; exec "$@"', "bash", harness.BINARY, "serve", "--check", "--model",
                           model], capture_output=True, text=True, timeout=harness.PATIENCE)
    assert done.returncode == 2, done.stderr
    assert shard.name in done.stderr


def test_a_config_that_is_no_json_is_refused(tmp_path):
    model = tmp_path / "model"
    shutil.copytree(harness.MODEL, model)
    (model / "config.json").write_text("{" * 100_000)
    done = harness.run("serve", "--check", "--model", model)
    assert done.returncode == 2 and "config.json" in done.stderr
