"""Writes weights as bitsandbytes, AutoGPTQ and AutoAWQ pack them, and what they mean, for the readers' tests.

    pip install torch bitsandbytes safetensors numpy      # CPU is enough
    pip download --no-deps auto-gptq==0.7.1 autoawq==0.2.9; unzip/tar x them into GPTQ_DIR and AWQ_DIR
    python make_source_vectors.py --auto-gptq GPTQ_DIR --autoawq AWQ_DIR --out ../engine/checkpoint/data

The packing and the dequantised values are the libraries' own (made with bitsandbytes 0.50.2, auto-gptq 0.7.1, autoawq
0.2.9; of the last two only the files that pack are loaded, without CUDA extensions). What AutoGPTQ cannot write is
packed here after gptqmodel's definition: format gptq_v2, whose zero points are not one too small, and format gptq with
zero points of 0, which gptqmodel makes from that by subtracting one from each 4 or 8 bits of a word, with borrow.

Of each case NAME: the parts under their names in a checkpoint, and
    NAME.expected.codes        U8  [out, in]      one code per byte, columns sorted by group
    NAME.expected.scales       F32 [out, groups]  groups of the file
    NAME.expected.zeros        U8  [out, groups]
    NAME.expected.order        I32 [in]           with act-order only
    NAME.expected.dequantized  F32 [out / 4, in]  of the outputs 0, 4, 8, ..., columns in their own order
"""

import argparse
import importlib
import pathlib
import sys
import types

import numpy as np
import torch
from safetensors.numpy import save_file

_EVERY = 4


def _load(root: pathlib.Path, package: str, module: str):
    """One module of a package whose __init__ would import far more than it needs."""
    parts = package.split(".")
    for end in range(1, len(parts) + 1):
        name = ".".join(parts[:end])
        stub = types.ModuleType(name)
        stub.__path__ = [str(root.joinpath(*parts[:end]))]
        sys.modules[name] = stub
    return importlib.import_module(f"{package}.{module}")


def _stub(name: str, **members) -> None:
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


def _pack_zeros(zeros: np.ndarray, bits: int) -> np.ndarray:
    """[out, groups] -> uint32 [groups, out * bits / 32], the first output in the lowest bits."""
    fields = zeros.T.astype(np.uint32).reshape(zeros.shape[1], -1, 32 // bits)
    return (fields << (np.arange(32 // bits, dtype=np.uint32) * bits)).sum(-1, dtype=np.uint64).astype(np.uint32)


class _Grouped:
    """A random weight that is exact in its codes: w = scale * (code - zero)."""

    def __init__(self, seed: int, rows: int, columns: int, bits: int, group: int, zeros: range, act_order: bool):
        rng = np.random.default_rng(seed)
        group = columns if group == -1 else group
        num_groups = -(-columns // group)
        self.codes = rng.integers(0, 2**bits, (rows, columns), dtype=np.uint8)
        self.scales = (rng.uniform(0.5, 1.5, (rows, num_groups)) * 2.0**-6).astype(np.float16)
        self.zeros = rng.integers(zeros.start, zeros.stop, (rows, num_groups)).astype(np.uint8)
        self.group_of = np.arange(columns, dtype=np.int32) // group
        if act_order:
            self.group_of = self.group_of[rng.permutation(columns)]
        self.order = np.argsort(self.group_of, kind="stable").astype(np.int32)

    def linear(self, zeros: np.ndarray) -> torch.nn.Linear:
        """With the same codes and scales."""
        linear = torch.nn.Linear(self.codes.shape[1], self.codes.shape[0], bias=False)
        linear.weight.data = torch.from_numpy(self.values(zeros))
        return linear

    def values(self, zeros: np.ndarray) -> np.ndarray:
        steps = self.codes.astype(np.float32) - zeros.astype(np.float32)[:, self.group_of]
        return self.scales.astype(np.float32)[:, self.group_of] * steps

    def expected(self, name: str, dequantized: np.ndarray, act_order: bool) -> dict:
        assert np.array_equal(dequantized, self.values(self.zeros))
        out = {
            "codes": self.codes[:, self.order],
            "scales": self.scales.astype(np.float32),
            "zeros": self.zeros,
            "dequantized": dequantized[::_EVERY],
        }
        if act_order:
            out["order"] = self.order
        return {f"{name}.expected.{key}": np.ascontiguousarray(value) for key, value in out.items()}


def make_gptq(library: pathlib.Path) -> dict:
    conv = types.SimpleNamespace(Conv1D=type("Conv1D", (), {}))
    _stub("transformers", pytorch_utils=conv)
    qlinear = _load(library, "auto_gptq.nn_modules.qlinear", "qlinear_cuda")
    tensors = {}
    cases = [
        # name, rows, columns, bits, group, zeros, act-order, format
        ("sym4_g128", 96, 256, 4, 128, range(8, 9), False, "gptq"),
        ("asym4_g64_act", 96, 256, 4, 64, range(1, 16), True, "gptq"),
        ("sym8_g128", 32, 256, 8, 128, range(128, 129), False, "gptq"),
        ("asym8_g64_act", 96, 192, 8, 64, range(1, 256), True, "gptq"),
        ("asym4_channel_act", 32, 192, 4, -1, range(1, 16), True, "gptq"),
        ("sym4_g256_act", 32, 512, 4, 256, range(8, 9), True, "gptq"),
        ("asym4_g128_short", 32, 320, 4, 128, range(1, 16), False, "gptq"),
        ("asym4_g128_v2", 32, 256, 4, 128, range(0, 16), False, "gptq_v2"),
        ("asym4_g128_borrow", 32, 256, 4, 128, range(0, 16), False, "gptqmodel"),
        ("asym8_g64_borrow", 32, 128, 8, 64, range(0, 3), False, "gptqmodel"),
    ]
    for seed, (name, rows, columns, bits, group, zeros, act_order, form) in enumerate(cases):
        weight = _Grouped(seed, rows, columns, bits, group, zeros, act_order)
        layer = qlinear.QuantLinear(bits, group, columns, rows, bias=False)
        packed = np.maximum(weight.zeros, 1)  # AutoGPTQ would spoil the neighbours of a 0
        layer.pack(
            weight.linear(packed),
            torch.from_numpy(weight.scales.astype(np.float32)),
            torch.from_numpy(packed.astype(np.float32)),
            torch.from_numpy(weight.group_of),
        )
        qzeros = layer.qzeros.numpy().view(np.uint32)
        assert np.array_equal(qzeros, _pack_zeros(packed - 1, bits))
        if form == "gptq":
            dequantized = layer(torch.eye(columns)).detach().numpy().T
        else:
            ones = np.uint32(0x01010101 if bits == 8 else 0x11111111)
            qzeros = _pack_zeros(weight.zeros, bits) - (ones if form == "gptqmodel" else np.uint32(0))
            dequantized = weight.values(weight.zeros)
        tensors |= weight.expected(name, dequantized, act_order and group != -1)
        tensors |= {
            f"{name}.qweight": layer.qweight.numpy(),
            f"{name}.qzeros": np.ascontiguousarray(qzeros).view(np.int32),
            f"{name}.scales": layer.scales.numpy().astype(np.float16),
            f"{name}.g_idx": layer.g_idx.numpy().astype(np.int32),
        }
    return tensors


def make_awq(library: pathlib.Path) -> dict:
    _stub("accelerate")
    _stub("accelerate.hooks", add_hook_to_module=None, AlignDevicesHook=None)
    _load(library, "awq.utils", "packing_utils")
    gemm = _load(library, "awq.modules.linear", "gemm")
    tensors = {}
    cases = [
        # name, rows, columns, group, zeros
        ("asym_g128", 96, 256, 128, range(0, 16)),
        ("asym_g64", 32, 192, 64, range(0, 16)),
        ("asym_channel", 32, 192, -1, range(0, 16)),
        ("sym_g128", 32, 128, 128, range(8, 9)),
    ]
    for seed, (name, rows, columns, group, zeros) in enumerate(cases):
        weight = _Grouped(100 + seed, rows, columns, 4, group, zeros, False)
        group = columns if group == -1 else group
        layer = gemm.WQLinear_GEMM.from_linear(
            weight.linear(weight.zeros),
            4,
            group,
            scales=torch.from_numpy(weight.scales.astype(np.float32).T.copy()),
            zeros=torch.from_numpy(weight.zeros.astype(np.float32).T.copy()),
        )
        dequantized = gemm.dequantize_gemm(layer.qweight, layer.qzeros, layer.scales.float(), 4, group).numpy().T
        tensors |= weight.expected(name, dequantized, False)
        tensors |= {
            f"{name}.qweight": layer.qweight.numpy(),
            f"{name}.qzeros": layer.qzeros.numpy(),
            f"{name}.scales": layer.scales.numpy(),
        }
    return tensors


def make_bitsandbytes() -> dict:
    import bitsandbytes.functional as bnb

    tensors = {}
    for seed, (name, rows, columns, nested) in enumerate([("nested", 100, 192, True), ("plain", 8, 128, False)]):
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(rows, columns, generator=generator) * 0.02
        packed, state = bnb.quantize_4bit(weight, blocksize=64, compress_statistics=nested, quant_type="nf4")
        scales = state.absmax
        if nested:
            scales = bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset
        codes = np.stack([packed.numpy() >> 4, packed.numpy() & 15], -1).reshape(rows, columns)
        tensors |= {f"{name}.weight.{key}": value.numpy() for key, value in state.as_dict(packed=True).items()}
        tensors |= {
            f"{name}.weight": packed.numpy(),
            f"{name}.expected.codes": codes,
            f"{name}.expected.scales": scales.float().numpy().reshape(rows, columns // 64),
            f"{name}.expected.dequantized": bnb.dequantize_4bit(packed, state).numpy()[::_EVERY].copy(),
        }
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--auto-gptq", type=pathlib.Path, required=True)
    parser.add_argument("--autoawq", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file(make_bitsandbytes(), arguments.out / "bitsandbytes.safetensors")
    save_file(make_gptq(arguments.auto_gptq), arguments.out / "gptq.safetensors")
    save_file(make_awq(arguments.autoawq), arguments.out / "awq.safetensors")


if __name__ == "__main__":
    main()
