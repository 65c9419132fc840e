"""Writes the random checkpoints of mixtral_shapes.py with golden.json by transformers' Mixtral in float32.

    python make_goldens.py --out ../golden [--only rope-yarn]

Each goes to OUT/hf-<name>/, in the format of the other checkpoints there: `sequences` (tokens, logprobs, top1,
top1_margin) and `greedy` (prompt, continuation, margins). Seeds are tried until rounding cannot change the outcome: no
expert's router logit within 1e-3 of the choice's edge, no greedy margin below 1e-2, no end of text.
"""

import argparse
import json
import pathlib
import random

import torch
import transformers

from mixtral_shapes import SHAPES, Shape
from random_checkpoint import write_checkpoint
from reference_model import continue_greedily, load, score, smallest_router_gap

_MIN_ROUTER_GAP = 1e-3
_MIN_MARGIN = 1e-2
_LENGTHS = (2, 3, 17, 96)
_NUM_GREEDY = 24


def make(folder: pathlib.Path, shape: Shape, first_seed: int) -> None:
    config = shape.config()
    for seed in range(first_seed, first_seed + 500):
        write_checkpoint(folder, config, shape.num_shards, seed)
        rng = random.Random(seed)
        sequences = [[1] + [rng.randrange(3, config["vocab_size"]) for _ in range(n - 1)] for n in _LENGTHS]
        model = load(folder)
        gap = smallest_router_gap(model, sequences)
        if gap < _MIN_ROUTER_GAP:
            continue
        greedy = continue_greedily(model, sequences[2][:8], _NUM_GREEDY)
        gap = min(gap, smallest_router_gap(model, [greedy["prompt"] + greedy["continuation"]]))
        margin = min(greedy["margins"])
        if gap < _MIN_ROUTER_GAP or margin < _MIN_MARGIN or config["eos_token_id"] in greedy["continuation"]:
            continue
        golden = {
            "dtype": f"float32 reference on the {shape.dtype} weights",
            "made_by": f"tests/reference/make_goldens.py, transformers {transformers.__version__}, "
                       f"torch {torch.__version__}, seed {seed}",
            "sequences": [score(model, tokens) for tokens in sequences],
            "greedy": greedy,
        }
        (folder / "golden.json").write_text(json.dumps(golden) + "\n")
        print(f"{folder}: seed {seed}, router gap {gap:.4f}, greedy margin {margin:.4f}, "
              f"{len(set(greedy['continuation']))} different greedy tokens", flush=True)
        return
    raise SystemExit(f"{folder}: no seed of 500 keeps the router and the greedy choice clear of rounding")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--only", choices=list(SHAPES), help="one shape instead of all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for i, (name, shape) in enumerate(SHAPES.items()):
        if args.only in (None, name):
            make(args.out / f"hf-{name}", shape, first_seed=1000 * (i + 1))


if __name__ == "__main__":
    main()
