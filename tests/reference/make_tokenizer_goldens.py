"""Writes tests/golden/tokenizer/*.json with Hugging Face's slow LlamaTokenizer.

    python make_tokenizer_goldens.py --model ../../models/tiny-mixtral --out ../golden/tokenizer

encode-<variant>.json: `config` (what is changed in tokenizer_config.json) and `cases` of `text`, `ids` (special tokens
in the text are tokens), `plain_ids` (split_special_tokens=True: they are letters), both with the BOS and EOS that the
configuration adds, and `decoded` (of `ids`, special tokens skipped) by the fast tokenizer converted from the slow one:
the slow one's decode loses leading spaces of the text (" a" becomes "a") or leaves their marks ("▁▁▁").
chat.json: per template a list of conversations with the ids of apply_chat_template(tokenize=True).
"""

import argparse
import json
import pathlib
import shutil
import tempfile

import transformers
from transformers import LlamaTokenizer, LlamaTokenizerFast

import chat_templates
from tokenizer_texts import texts

_ADDED = {"content": "", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
_VARIANTS = {
    "legacy": {},
    "not-legacy": {"legacy": False},
    "no-bos-but-eos": {"add_bos_token": False, "add_eos_token": True},
    "added-tokens": {
        "added_tokens_decoder": {
            "2048": _ADDED | {"content": "<pad>"},
            "2049": _ADDED | {"content": "<|im_start|>", "rstrip": True},
            "2050": _ADDED | {"content": "[INST]", "special": False},
            "2051": _ADDED | {"content": "the", "special": False, "single_word": True},
            "2052": _ADDED | {"content": "[/INST]", "lstrip": True},
            "2053": _ADDED | {"content": "thethe", "special": False},
        }
    },
}


def variant(model: pathlib.Path, changes: dict, kind: type = LlamaTokenizer):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(model / "tokenizer.model", folder)
        config = json.loads((model / "tokenizer_config.json").read_text())
        for key, value in changes.items():
            config[key] = config[key] | value if isinstance(value, dict) else value
        (pathlib.Path(folder) / "tokenizer_config.json").write_text(json.dumps(config))
        return kind.from_pretrained(folder)


def encode_cases(tokenizer: LlamaTokenizer, fast: LlamaTokenizerFast) -> list[dict]:
    cases = []
    for text in texts():
        ids = tokenizer(text)["input_ids"]
        cases.append({
            "text": text,
            "ids": ids,
            "plain_ids": tokenizer(text, split_special_tokens=True)["input_ids"],
            "decoded": fast.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False),
        })
    return cases


def chat_cases(tokenizer: LlamaTokenizer) -> list[dict]:
    result = []
    for name, template in chat_templates.templates(tokenizer.chat_template).items():
        conversations = chat_templates.CONVERSATIONS
        if name in chat_templates.WITH_SYSTEM:
            conversations = conversations + chat_templates.SYSTEM_CONVERSATIONS
        result.append({
            "name": name,
            "chat_template": template,
            "conversations": [{
                "messages": messages,
                "ids": tokenizer.apply_chat_template(messages, chat_template=template, tokenize=True),
            } for messages in conversations],
        })
    return result


def write(path: pathlib.Path, value: dict) -> None:
    value = {"made_by": f"tests/reference/make_tokenizer_goldens.py, transformers {transformers.__version__}"} | value
    lists = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    path.write_text(lists.replace('{"text"', '\n{"text"').replace('{"messages"', '\n{"messages"') + "\n")
    print(path, path.stat().st_size, "bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, changes in _VARIANTS.items():
        cases = encode_cases(variant(args.model, changes), variant(args.model, changes, LlamaTokenizerFast))
        write(args.out / f"encode-{name}.json", {"config": changes, "cases": cases})
    write(args.out / "chat.json", {"templates": chat_cases(variant(args.model, {}))})


if __name__ == "__main__":
    main()
