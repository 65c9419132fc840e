"""Runs transformers' Mixtral in float32 on checkpoints with a golden.json and prints how far the two are apart.

    python compare_goldens.py ../../models/tiny-mixtral ../golden/top* ../golden/hf-*

The exit status is 1 when a log-probability differs by more than 1e-3 or a token differs where the golden margin (when
it is given) is above 1e-3.
"""

import argparse
import json
import pathlib
import sys

import torch
import transformers

from reference_model import continue_greedily, load, score

_TOLERANCE = 1e-3


def compare(folder: pathlib.Path) -> tuple[str, bool]:
    golden = json.loads((folder / "golden.json").read_text())
    model = load(folder)
    difference, num_positions, num_top1, num_wrong = 0.0, 0, 0, 0
    for expected in golden["sequences"]:
        actual = score(model, expected["tokens"])
        for a, b in zip(actual["logprobs"], expected["logprobs"], strict=True):
            difference = max(difference, abs(a - b))
            num_positions += 1
        margins = expected.get("top1_margin", actual["top1_margin"])
        for a, b, margin in zip(actual["top1"], expected["top1"], margins, strict=True):
            num_top1 += 1
            num_wrong += a != b and margin > _TOLERANCE
    runs = [(chat["prompt_tokens"], chat["answer_tokens"]) for chat in golden.get("chats", [])]
    if "greedy" in golden:
        runs.append((golden["greedy"]["prompt"], golden["greedy"]["continuation"]))
    num_equal = sum(continue_greedily(model, prompt, len(wanted))["continuation"] == wanted for prompt, wanted in runs)
    good = difference < _TOLERANCE and num_wrong == 0 and num_equal == len(runs)
    row = (f"| `{folder.name}` | {num_positions} | {difference:.1e} | {num_top1 - num_wrong} of {num_top1} | "
           f"{num_equal} of {len(runs)} |")
    return row, good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=pathlib.Path, nargs="+")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"transformers {transformers.__version__}, torch {torch.__version__}\n")
    print("| checkpoint | positions | largest difference in log-probability | equal top-1 | equal greedy runs |")
    print("|---|---|---|---|---|")
    all_good = True
    for folder in args.folders:
        row, good = compare(folder.resolve())
        print(row, flush=True)
        all_good = all_good and good
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
