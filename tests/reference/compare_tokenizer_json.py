"""Compares our tokenizer with Hugging Face's `tokenizers` token for token on a corpus of a million tokens and more.

    cmake --build build --target tokenizer_bench
    python compare_tokenizer_json.py --bench ../../build/tokenizer_bench [--vocab-size 8000] [--bytes 1000000] [--only qwen]

Trains every variant of tokenizer_json_variants.py on a tenth of the corpus, encodes the corpus with transformers' fast
tokenizer of the folder and with tokenizer_bench, and prints both rates (one thread each, of processor time). Exits with 1 and shows the
first texts that differ, if any do. The corpus, `--bytes` of each kind, seeded:

  languages  translations of Django's messages into 90 languages (pip: Django)
  code       C++, Python, CMake and shell of this repository and of Python's standard library
  garbage    characters drawn from all of Unicode, from unassigned and private ones too, from runs of one kind, from
             white space and marks, pieces of special tokens, and random bytes where each that is no UTF-8 is U+FFFD
"""

import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import sysconfig
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"

from transformers import AutoTokenizer  # noqa: E402

import tokenizer_json_variants  # noqa: E402
from make_tokenizer_json_goldens import _MORE_TEXTS  # noqa: E402
from tokenizer_texts import texts  # noqa: E402

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def languages(size: int, rng: random.Random) -> list[str]:
    import django
    found = []
    for path in sorted(pathlib.Path(django.__file__).parent.glob("**/locale/*/LC_MESSAGES/*.po")):
        text = path.read_text(encoding="utf-8", errors="replace")
        messages = re.findall(r'^msgstr(?:\[\d\])? ((?:".*"\n)+)', text, re.M)
        messages = ["".join(re.findall(r'"(.*)"', m)).replace("\\n", "\n").replace('\\"', '"') for m in messages]
        found += [" ".join(messages[i:i + 8]) for i in range(0, len(messages), 8)]
    return take(found, size, rng)


def code(size: int, rng: random.Random) -> list[str]:
    paths = [p for ext in ("cc", "h", "cu", "py", "txt", "sh", "md", "json") for p in _ROOT.glob(f"[!b]*/**/*.{ext}")]
    paths += list(pathlib.Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    found = []
    for path in sorted(paths):
        text = path.read_text(encoding="utf-8", errors="replace") if path.stat().st_size < 300_000 else ""
        found += [text[i:i + 4000] for i in range(0, len(text), 4000)]
    return take(found, size, rng)


def garbage(size: int, rng: random.Random) -> list[str]:
    spaces = " \t\n\r\u00a0\u2003\u3000\u0085\u200b\u180e"
    marks = "\u0301\u0323\u0345\u0334\u0897\u1ace\u093c\u0e38\u05b0\u064b\U0001e08f\U000116ac"
    names = ["<|im_start|>", "<|im_", "<s>", "</s", "[INST]", "[/INST] ", "<｜end▁of▁sentence｜>", "<0x0A>", "'s", "'LL"]

    def any_char() -> str:
        return chr(rng.choice([rng.randint(1, 0x7F), rng.randint(0x80, 0x2FFF), rng.randint(0x3000, 0xD7FF),
                               rng.randint(0xE000, 0xFFFF), rng.randint(0x10000, 0x1FFFF),
                               rng.randint(0x20000, 0x10FFFF)]))

    def text() -> str:
        kind, n = rng.randrange(7), rng.randint(1, 120)
        if kind == 0:
            return "".join(any_char() for _ in range(n))
        if kind == 1:
            return "".join(rng.choice(spaces) * rng.randint(1, 9) + rng.choice("ab1.é東") for _ in range(n // 4 + 1))
        if kind == 2:
            return "".join(rng.choice("aeuoq한ກ ") + "".join(rng.choices(marks, k=rng.randint(0, 5))) for _ in range(n))
        if kind == 3:
            return rng.randbytes(n).decode("utf-8", errors="replace")
        if kind == 4:
            return "".join(rng.choice([rng.choice(names), rng.choice(spaces), any_char(), "the"]) for _ in range(n // 3))
        if kind == 5:
            return "".join(any_char() * rng.randint(1, 60) for _ in range(n // 20 + 1))
        return "".join(rng.choice("abcdefgABCDEFG0123456789 _-'.,;/\\\n") for _ in range(n))

    found, left = [], size
    while left > 0:
        found.append(text())
        left -= len(found[-1].encode())
    return found


def take(candidates: list[str], size: int, rng: random.Random) -> list[str]:
    rng.shuffle(candidates)
    taken, left = [], size
    for text in candidates:
        if left <= 0:
            break
        taken.append(text)
        left -= len(text.encode())
    return taken


def compare(name: str, corpus: list[str], args: argparse.Namespace, folder: pathlib.Path) -> tuple[bool, int]:
    tokenizer_json_variants.write(name, corpus[::10], args.vocab_size, folder)
    hugging_face = AutoTokenizer.from_pretrained(folder)
    backend = hugging_face.backend_tokenizer  # as transformers has set it up
    begin = time.process_time()
    expected = [encoding.ids for encoding in backend.encode_batch_fast(corpus)]
    seconds = time.process_time() - begin
    num_tokens = sum(map(len, expected))
    print(f"{name}: {len(hugging_face)} tokens in the vocabulary; tokenizers: {num_tokens} tokens in {seconds:.3f} s: "
          f"{num_tokens / seconds / 1e6:.2f} million tokens/s", flush=True)
    lines, ids = folder / "lines.jsonl", folder / "ids.txt"
    lines.write_text("".join(json.dumps(text) + "\n" for text in corpus))
    out = subprocess.run([args.bench, folder, lines, ids], check=True, capture_output=True, text=True).stdout
    print(f"{name}: ours: {out.strip()}", flush=True)
    ours = [[int(i) for i in line.split()] for line in ids.read_text().splitlines()]
    different = [i for i in range(len(corpus)) if ours[i] != expected[i]]
    for i in different[:5]:
        at = next(k for k in range(len(expected[i]) + 1) if expected[i][:k] != ours[i][:k])
        print(f"  differs: {corpus[i][:200]!r}\n    from token {at - 1}: tokenizers "
              f"{hugging_face.convert_ids_to_tokens(expected[i][at - 1:at + 5])}, ours "
              f"{hugging_face.convert_ids_to_tokens(ours[i][at - 1:at + 5])}")
    print(f"{name}: {len(different)} of {len(corpus)} texts differ", flush=True)
    return not different, num_tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=pathlib.Path, required=True)
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--bytes", type=int, default=1_000_000, help="of each of the three kinds of text")
    parser.add_argument("--only", choices=tokenizer_json_variants.names(), action="append")
    args = parser.parse_args()
    args.bench = args.bench.resolve()
    rng = random.Random(20261127)
    corpus = texts() + _MORE_TEXTS + [kind for make in (languages, code, garbage) for kind in make(args.bytes, rng)]
    print(f"{len(corpus)} texts, {sum(len(text.encode()) for text in corpus)} bytes")
    equal, total = True, 0
    for name in args.only or tokenizer_json_variants.names():
        with tempfile.TemporaryDirectory() as folder:
            same, num_tokens = compare(name, corpus, args, pathlib.Path(folder))
        equal, total = equal and same, total + num_tokens
    print(f"{total} tokens: {'all equal' if equal else 'DIFFERENT'}")
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
