"""Writes tests/kernels/quantization/data/ with bitsandbytes on the CPU.

    python make_quantization_vectors.py --out ../kernels/quantization/data

Needs bitsandbytes==0.50.2, torch==2.15.0 and numpy==2.4.6; torch's CPU build does.

nf4-<case>.bin, little-endian, without padding:
    int64 rows, columns, bytes of a weight (2: bfloat16, 4: float32); the weights
    uint8 codes [rows * columns / 2], the first of two in the upper half; float32 absmax [blocks of 64]
    float32 offset; uint8 nested codes [blocks]; float32 nested absmax [blocks of 256 of those]
    float32 scales [blocks], what the nested codes amount to; uint64 FNV-1a of every dequantised row's float32
dynamic-map.bin: float32 [256].
nested.txt: per line a number of block maxima (block_maxima below), hexadecimal bits of their offset, FNV-1a of the
    nested codes, FNV-1a of the nested absmax.

The nested codes are the nearest values, as from bitsandbytes' portable kernel and on GPUs; its CPU kernel of 0.50
rounds through a table of 65,536 bins. Of two values as near the portable kernel takes the lower, GPUs and these vectors
the even code; quantize_maxima says where that makes a difference.
"""

import argparse
import pathlib
import struct
import sys

import numpy as np
import torch
from bitsandbytes import functional

BLOCK = 64
NESTED_BLOCK = 256


def fnv(data: bytes) -> int:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def nearest_even(values: np.ndarray) -> np.ndarray:
    """Codes of `values` by the search that bitsandbytes' GPU kernel describes: the even code of two as near."""
    code = functional.create_dynamic_map().numpy()
    middles = (code[1:] + code[:-1]) * np.float32(0.5)
    lower = np.searchsorted(middles, values, side="left")
    tie = (lower < 255) & (middles[np.minimum(lower, 254)] == values)
    return np.where(tie, (lower + 1) // 2 * 2, lower).astype(np.uint8)


def quantize_maxima(maxima: torch.Tensor) -> tuple[torch.Tensor, np.ndarray, torch.Tensor]:
    """offset, nested codes, nested absmax."""
    offset = maxima.mean()
    rest = maxima - offset
    portable = torch._C.DispatchKey.CompositeExplicitAutograd
    quantize = torch.ops.bitsandbytes.quantize_blockwise.default
    codes, _ = quantize._op_dk(portable, rest, functional.create_dynamic_map(), NESTED_BLOCK)
    _, absmax = quantize(rest, functional.create_dynamic_map(), NESTED_BLOCK)
    inverse = 1 / absmax.clamp(min=1e-38)
    scaled = (rest * inverse.repeat_interleave(NESTED_BLOCK)[: len(rest)]).numpy()
    even = nearest_even(scaled)
    if (codes.numpy() != even).any():
        print(f"  {(codes.numpy() != even).sum()} of {len(even)} codes are ties", file=sys.stderr)
    return offset, even, absmax


def block_maxima(count: int) -> np.ndarray:
    """Exact in float32, so that a test makes them too."""
    state = np.arange(count, dtype=np.uint64)
    state = (state + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    state ^= state >> np.uint64(32)
    state *= np.uint64(0xD6E8FEB86659FD93)
    return (state >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-28) + np.float32(2.0**-6)


def write_nf4(path: pathlib.Path, weights: torch.Tensor) -> None:
    rows, columns = weights.shape
    codes, state = functional.quantize_4bit(weights, blocksize=BLOCK, quant_type="nf4", compress_statistics=False)
    offset, nested_codes, nested_absmax = quantize_maxima(state.absmax)
    nested = torch.from_numpy(nested_codes)
    scales = functional.dequantize_blockwise(
        nested, absmax=nested_absmax, code=functional.create_dynamic_map(), blocksize=NESTED_BLOCK
    )
    scales += offset
    values = torch.ops.bitsandbytes.dequantize_4bit.default(codes, scales, BLOCK, "nf4", weights.shape, torch.float32)
    with path.open("wb") as out:
        out.write(struct.pack("<qqq", rows, columns, weights.element_size()))
        out.write(weights.view(torch.uint8).numpy().tobytes())
        for array in (codes, state.absmax, offset, nested, nested_absmax, scales):
            out.write(array.numpy().tobytes())
        out.write(b"".join(struct.pack("<Q", fnv(row.numpy().tobytes())) for row in values))


def tie_weights() -> torch.Tensor:
    """What lies between two NF4 values, and its neighbours, in blocks whose largest magnitude is a power of 2."""
    values = functional.get_4bit_type("nf4", device="cpu").numpy()
    middles = (values[1:] + values[:-1]) / np.float32(2)
    above = np.nextafter(middles, np.float32(2))
    below = np.nextafter(middles, np.float32(-2))
    block = np.concatenate([middles, above, below, values])
    block = np.pad(block, (0, BLOCK - len(block))).astype(np.float32)
    return torch.from_numpy(np.stack([block, -block, block * 4, block * np.float32(0.125)]))


def edge_weights() -> torch.Tensor:
    """Rows of zeros, of denormal numbers, and of both beside ordinary ones."""
    weights = torch.randn(12, BLOCK)
    weights[0] = 0
    weights[1] *= 1e-40
    weights[2] *= 1e-38
    weights[4, ::2] = 0
    weights[5, ::2] = -0.0
    weights[6, 1:] *= 1e-30
    weights[7] = 2.5
    weights[8] = -2.5
    weights[9] = 0
    weights[9, 17] = 1e-45
    weights[10] *= 1e-39
    weights[3] *= 1e37
    return weights


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(4)
    torch.set_num_threads(1)  # the order of summation of an offset depends on the threads
    cases = {
        "normal": (torch.randn(5, 4096) * 0.02).bfloat16(),
        "uniform": torch.rand(87, 192) - 0.5,
        "outliers": torch.distributions.StudentT(2.0).sample((40, 128)).float() * 0.01,
        "alike": torch.randn(6, BLOCK).sign() * 0.375,
        "edges": edge_weights(),
        "ties": tie_weights(),
    }
    for name, weights in cases.items():
        write_nf4(out / f"nf4-{name}.bin", weights)
    (out / "dynamic-map.bin").write_bytes(functional.create_dynamic_map().numpy().tobytes())
    lines = []
    for count in (2, 3, 7, 8, 9, 31, 33, 100, 255, 256, 257, 511, 513, 1000, 8193, 57344, 100003, 2**24, 17236008):
        offset, codes, absmax = quantize_maxima(torch.from_numpy(block_maxima(count)))
        bits = struct.unpack("<I", struct.pack("<f", offset.item()))[0]
        # The longest are for their offsets, which another cascade sums to other bits.
        hashes = (fnv(codes.tobytes()), fnv(absmax.numpy().tobytes())) if count < 2**20 else (0, 0)
        lines.append(f"{count} {bits:08x} {hashes[0]:016x} {hashes[1]:016x}\n")
    (out / "nested.txt").write_text("".join(lines))


if __name__ == "__main__":
    main()
