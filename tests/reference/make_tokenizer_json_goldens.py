"""Writes tests/golden/tokenizer_json/<variant>/: tokenizer.json, tokenizer_config.json and cases.json.

    python make_tokenizer_json_goldens.py --out ../golden/tokenizer_json

cases.json: `text`, `ids` (special tokens in the text are tokens) and, where they differ, `plain_ids`
(split_special_tokens=True), both with what stands around a text; `decoded` of `ids` with special tokens skipped and,
where it differs, `decoded_all` with them; all by transformers' fast tokenizer of the folder.
"""

import argparse
import json
import pathlib

import tokenizers
import transformers
from transformers import AutoTokenizer

import tokenizer_json_variants
from tokenizer_texts import texts

_MORE_TEXTS = [
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|endoftext|>", "a <|eot_id|> b", "<tool_call>{}",
    "<｜begin▁of▁sentence｜>x <｜end▁of▁sentence｜>", "  [INST]  a  [/INST]  b", "the other the, lathe the", "x a  b y a b z",
    "[/INST]  \n [INST]", "IT'S it\u017f KELVIN'LL 'S 'ſ", "A\u030a\u0323 q\u0323\u0307 e\u0301 \u1100\u1161\u11a8",
    "\U00031350\U0002ebf0 \u1c89\u1c8a \U0001ccf0\U00010d40", "a\u0897b \u0301\u0345\u0334", "12345 1234 123 ١٢٣٤٥ ²³½ Ⅷ",
    "camelCase XMLHttpRequest xxq q_q", "a.b,,c;;;d the.the", "   \n  \n\n   x   ", "\u00a0\u2003 x\u200b\u200c\u200dy\u0085z",
    "def f(x):\n        return x\n\n\n\t\tpass\n", " " * 70 + "x", "\r\n\r\n", "ﬁ ﬃ ㎏ ①", "ǅ ʰ ª İI", "__a_b c_",
]


def cases(tokenizer) -> list[dict]:
    result = []
    for text in texts() + _MORE_TEXTS:
        ids = tokenizer(text)["input_ids"]
        plain = tokenizer(text, split_special_tokens=True)["input_ids"]
        case = {"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=True)}
        if plain != ids:
            case["plain_ids"] = plain
        decoded_all = tokenizer.decode(ids)
        if decoded_all != case["decoded"]:
            case["decoded_all"] = decoded_all
        result.append(case)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    for name in tokenizer_json_variants.names():
        folder = args.out / name
        tokenizer_json_variants.write(name, texts() + _MORE_TEXTS, 700, folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, clean_up_tokenization_spaces=False)
        value = {
            "made_by": f"tests/reference/make_tokenizer_json_goldens.py, transformers {transformers.__version__}, "
                       f"tokenizers {tokenizers.__version__}",
            "cases": cases(tokenizer),
        }
        text = json.dumps(value, ensure_ascii=True, separators=(",", ":")).replace('{"text"', '\n{"text"')
        (folder / "cases.json").write_text(text + "\n")
        print(folder, type(tokenizer).__name__, len(tokenizer), "tokens")


if __name__ == "__main__":
    main()
