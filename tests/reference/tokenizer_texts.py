"""The texts that the tokenizer goldens are made of: languages, code, white space, special tokens, garbage."""

import random

_FIXED = [
    "", " ", "  ", "   ", "\n", "\n\n", "\t", " \n ", "a", " a", "  a", "a ", "a  ", "A", "\u2581", "\u2581a", "a\u2581b",
    "Hello, world!", "hello world", "  Hello", "Hello  world", "The quick brown fox jumps over the lazy dog.",
    "In the beginning God created the heaven and the earth.",
    "KING HENRY:\nOnce more unto the breach, dear friends, once more;",
    "My fellow citizens, we meet today", "What is 12 + 7?", "3.14159e-10", "1234567890", "0x7fffffff", "1,000,000.00",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.", "naïve café", "Ça va ? Où êtes-vous ?",
    "El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia", "Příliš žluťoučký kůň úpěl ďábelské ódy",
    "Съешь же ещё этих мягких французских булок", "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία", "דג סקרן שט בים מאוכזב",
    "صِف خَلقَ خَودِ كَمِثلِ الشَمسِ", "いろはにほへと ちりぬるを", "東京都は日本の首都です。", "中文分词测试", "키스의 고유조건은",
    "ऋषियों को सताने वाले दुष्ट", "นายสังฆภัณฑ์", "Pijamalı hasta yağız şoföre", "İstanbul ıI", "ﬁ ﬂ ½ ² Å Å",
    "e\u0301 vs \u00e9", "ﷺ", "\u200b zero \u200d width \ufeff bom", "\u00a0nbsp\u00a0", "\u3000ideographic space",
    "line\u2028separator", "🙂", "👩‍👩‍👧‍👦 family", "🇩🇪🇯🇵", "flag 🏴󠁧󠁢󠁳󠁣󠁴󠁿 end", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢", "\U0010ffff", "\ue000 private", "\ufffd",
    "\u0000", "a\u0000b", "\u0001\u0002\u007f", "\r\n windows \r\n", "tab\tseparated\tvalues", "trailing newline\n",
    "def main(argv=None):\n    return 0\n", "for (int i = 0; i < n; ++i) { a[i] = b[i] * 2; }",
    "#include <vector>\n\ntemplate <typename T>\nclass Foo {};\n", "SELECT * FROM t WHERE x = 'y' -- comment",
    '{"key": [1, 2.5, null, true, "v\\n"]}', "<html><body class=\"x\">&amp;</body></html>", "$ ls -la | grep '^d' && echo $?",
    "\\begin{equation} e^{i\\pi} + 1 = 0 \\end{equation}", "https://example.com/path?q=1&r=%20#frag", "user@example.com",
    "C:\\Windows\\System32", "import os\n\n\nclass A(object):\n\tdef f(self):\n\t\tpass\n", "lambda x: x ** 2 % 3 // 4",
    "<0x0A>", "<0xE2><0x82>", "[INST] What is 12 + 7? [/INST] 19", "[INST]", "[/INST]", "[INST][/INST]", " [INST] ",
    "<s>", "</s>", "<unk>", "<s></s>", "<s> </s>", " <s>", "<s> ", "  <s>  ", "a<s>b", "a <s> b", "<s>a</s>", "<s> a </s>",
    "<s>[INST] Hi [/INST] Hello</s>[INST] Bye [/INST]", "<s>[INST]  Hi [/INST]", "<s", "s>", "<<s>>", "<s><", "</s</s>",
    "<S>", "< s >", "<unk", "x<unk>y", "</s>\n<s>", "<s>\u2581a", "<s>東京</s>", "🙂</s>🙂", "<pad>", "<|im_start|>user",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", " " * 33, "\n" * 9, "=" * 40, "ab" * 30, "the the the the", "thethethethe",
    "ALL CAPS SHOUTING", "camelCaseIdentifier snake_case_identifier kebab-case", "don't can't won't I'm you're",
    "“curly” ‘quotes’ — dash … ellipsis", "¿¡§¶†‡•", "x² + y² = z²", "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋", "© ® ™ € £ ¥",
]


def texts() -> list[str]:
    """About 200 texts: the fixed ones and seeded random garbage."""
    rng = random.Random(20240229)
    alphabets = [
        "abcdefghijklmnopqrstuvwxyz ", "ABC abc 123 .,;\n\t", " \u2581\n", "<s>/unk[]INST ", "éßøλжאش東🙂\u0301\u200d a",
    ]
    garbage = ["".join(rng.choice(a) for _ in range(rng.randint(1, 60))) for a in alphabets for _ in range(10)]
    for _ in range(20):
        points = [rng.choice([rng.randint(1, 0x7F), rng.randint(0x80, 0xD7FF), rng.randint(0xE000, 0x10FFFF)])
                  for _ in range(rng.randint(1, 20))]
        garbage.append("".join(map(chr, points)))
    return _FIXED + garbage
