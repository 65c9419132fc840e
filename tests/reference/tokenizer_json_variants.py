"""Small tokenizers in the shapes that model families publish, and odd ones: name -> (tokenizer.json, tokenizer_config).

Each is trained by `tokenizers` on the texts it is given, then put into its family's shape.
"""

import json
import pathlib

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

_BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
_LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
           r"|\s+(?!\S)|\s+")
_QWEN = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
          r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
          r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
_CHATML = [AddedToken(name, special=True, normalized=False) for name in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]


def _split(pattern: str, behavior: str = "isolated", invert: bool = False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def _byte_level(texts: list[str], size: int, pre, normalizer=None, special=()) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=_BYTES, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(list(special))
    return tokenizer


def _sentencepiece(texts: list[str], size: int) -> Tokenizer:
    """As transformers converts LLaMA's tokenizer.model (Mixtral's own tokenizer.json has this form)."""
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    # Words for training only: the published file has none.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", "always", True)
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=special, show_progress=False, limit_alphabet=120)
    tokenizer.train_from_iterator(texts, trainer)
    data = json.loads(tokenizer.to_str())
    data["pre_tokenizer"] = None
    data["added_tokens"] = [token for token in data["added_tokens"] if token["id"] < 3]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B",
                                                             special_tokens=[("<s>", 1)])
    return tokenizer


def _gpt2(texts, size):
    tokenizer = _byte_level(texts, size, pre_tokenizers.ByteLevel(add_prefix_space=False), special=_CHATML[:1])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer, {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
                       "unk_token": "<|endoftext|>"}


def _llama3(texts, size):
    pre = pre_tokenizers.Sequence([_split(_LLAMA3), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    special = [AddedToken("<|begin_of_text|>", special=True, normalized=False),
               AddedToken("<|eot_id|>", special=True, normalized=False)]
    tokenizer = _byte_level(texts, size, pre, special=special)
    data = json.loads(tokenizer.to_str())
    data["model"]["ignore_merges"] = True
    data["model"]["merges"] = [" ".join(merge) for merge in data["model"]["merges"]]  # as older files have them
    tokenizer = Tokenizer.from_str(json.dumps(data))
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    template = processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="$A $B",
                                             special_tokens=[("<|begin_of_text|>", bos)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>",
                       "eos_token": "<|eot_id|>"}


def _qwen(texts, size):
    pre = pre_tokenizers.Sequence([_split(_QWEN), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    extra = [AddedToken("<tool_call>", special=False, normalized=False)]
    tokenizer = _byte_level(texts, size, pre, normalizers.NFC(), _CHATML + extra)
    return tokenizer, {"tokenizer_class": "Qwen2Tokenizer", "bos_token": None, "eos_token": "<|im_end|>",
                       "pad_token": "<|endoftext|>", "add_bos_token": False, "add_prefix_space": False,
                       "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}


def _o200k(texts, size):
    pre = pre_tokenizers.Sequence([_split(_O200K), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = _byte_level(texts, size, pre, special=_CHATML)
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|im_start|>",
                       "eos_token": "<|endoftext|>"}


def _deepseek(texts, size):
    pre = pre_tokenizers.Sequence([
        _split(r"[\r\n]"), _split(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿΑ-ωА-я]+"), _split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
        _split(r"\s+$"), _split(r"[一-龥ࠀ-一가-퟿]+"), pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    ])
    special = [AddedToken("<｜begin▁of▁sentence｜>", special=True, normalized=True),
               AddedToken("<｜end▁of▁sentence｜>", special=True, normalized=True)]
    tokenizer = _byte_level(texts, size, pre, special=special)
    return tokenizer, {"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True, "add_eos_token": False,
                       "bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>", "unk_token": None}


def _neox(texts, size):
    special = [AddedToken("<|endoftext|>", special=True, normalized=False)]
    special += [AddedToken(" " * n, special=False, normalized=True) for n in range(24, 1, -1)]
    tokenizer = _byte_level(texts, size, pre_tokenizers.ByteLevel(add_prefix_space=True), normalizers.NFC(), special)
    return tokenizer, {"tokenizer_class": "GPTNeoXTokenizer", "add_prefix_space": False, "add_eos_token": True,
                       "eos_token": "<|endoftext|>", "bos_token": None}


def _mixtral(texts, size):
    return _sentencepiece(texts, size), {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>",
                                         "eos_token": "</s>", "unk_token": "<unk>"}


def _metaspace(texts, size):
    """transformers' conversion with legacy = false."""
    tokenizer = _sentencepiece(texts, size)
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", "first", False)
    return tokenizer, {"tokenizer_class": "LlamaTokenizer", "legacy": False, "bos_token": "<s>", "eos_token": "</s>",
                       "unk_token": "<unk>", "add_bos_token": True, "add_eos_token": True}


def _gemma(texts, size):
    """No BOS space; the decoder keeps a leading one; tokens with all flags."""
    tokenizer = _sentencepiece(texts, size)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_tokens([
        AddedToken("[INST]", special=False, normalized=False, lstrip=True),
        AddedToken("[/INST]", special=True, normalized=False, rstrip=True),
        AddedToken("the", special=False, normalized=False, single_word=True),
        AddedToken("a b", special=False, normalized=True, lstrip=True, rstrip=True),
        AddedToken("\n\n", special=False, normalized=True),
    ])
    return tokenizer, {"tokenizer_class": "GemmaTokenizer", "bos_token": "<s>", "eos_token": "</s>",
                       "unk_token": "<unk>", "pad_token": "<pad>"}


def _words(texts, size):
    """Normalizers and pre-tokenizers that no large language model uses, and unknown characters."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", fuse_unk=True, continuing_subword_prefix="##"))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.NFD(), normalizers.Lowercase(), normalizers.Strip(), normalizers.Replace(Regex(r"\d{4,}"), " 0000 ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Digits(False)])
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False,
                                  continuing_subword_prefix="##", limit_alphabet=60)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]", "cls_token": "[CLS]",
                       "sep_token": "[SEP]"}


def _splits(texts, size):
    """The behaviours of Split; Metaspace on both ways; unknown characters one by one."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=False, end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(left=False, right=True)])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        _split(r"[.,;]+", "merged_with_next"), pre_tokenizers.Split("the", "removed"), _split(r"\w+", "contiguous", True),
        _split(r"(?<=[a-z])(?=[A-Z])|\bq|x*", "merged_with_previous"), pre_tokenizers.Whitespace(),
        pre_tokenizers.Metaspace("_", "always", True)])
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["<unk>"], show_progress=False,
                                  end_of_word_suffix="</w>", limit_alphabet=60)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.decoder = decoders.Metaspace("_", "always", True)
    return tokenizer, {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}


_VARIANTS = {
    "gpt2": _gpt2, "llama3": _llama3, "qwen": _qwen, "o200k": _o200k, "deepseek": _deepseek, "neox": _neox,
    "mixtral": _mixtral, "metaspace": _metaspace, "gemma": _gemma, "words": _words, "splits": _splits,
}


def names() -> list[str]:
    return list(_VARIANTS)


def write(name: str, texts: list[str], vocab_size: int, folder: pathlib.Path) -> None:
    """tokenizer.json and tokenizer_config.json of a variant."""
    tokenizer, config = _VARIANTS[name](texts, vocab_size)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(text + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False, indent=1) + "\n")
