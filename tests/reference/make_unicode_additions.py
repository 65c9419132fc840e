"""Writes engine/text/tokenizer_json/unicode_additions.cc: where tokenizers' Unicode differs from our libraries'.

    python make_unicode_additions.py > ../../engine/text/tokenizer_json/unicode_additions.cc

Asks `tokenizers` (requirements.txt) for every character's category and behaviour in the normal forms, and the shared
libraries of Debian 12 (libpcre2-8-0, libutf8proc2) for theirs.
"""

import ctypes

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

_CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So".split()
_CODES = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
_PCRE2_UCP_UTF = 0x00020000 | 0x00080000


def ranges(codes: set[int]) -> list[tuple[int, int]]:
    result: list[list[int]] = []
    for code in sorted(codes):
        if result and result[-1][1] == code - 1:
            result[-1][1] = code
        else:
            result.append([code, code])
    return [(first, last) for first, last in result]


def matched_by_tokenizers(pattern: str) -> set[int]:
    remover = pre_tokenizers.Split(Regex(pattern), "removed")
    found: set[int] = set()
    for begin in range(0, len(_CODES), 4096):
        chunk = "".join(map(chr, _CODES[begin:begin + 4096]))
        found |= set(map(ord, chunk)) - {ord(c) for piece, _ in remover.pre_tokenize_str(chunk) for c in piece}
    return found


def matched_by_pcre2(pattern: str) -> set[int]:
    library = ctypes.CDLL("libpcre2-8.so.0")
    library.pcre2_compile_8.restype = ctypes.c_void_p
    library.pcre2_compile_8.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint32] + [ctypes.c_void_p] * 3
    library.pcre2_match_data_create_8.restype = ctypes.c_void_p
    library.pcre2_match_8.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t,
                                      ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p]
    error, offset = ctypes.c_int(), ctypes.c_size_t()
    code = library.pcre2_compile_8(pattern.encode(), len(pattern), _PCRE2_UCP_UTF, ctypes.byref(error),
                                   ctypes.byref(offset), None)
    assert code, pattern
    data = library.pcre2_match_data_create_8(1, None)
    texts = ((c, chr(c).encode()) for c in _CODES)
    return {c for c, text in texts if library.pcre2_match_8(code, text, len(text), 0, 0, data, None) >= 0}


class _Property(ctypes.Structure):
    _fields_ = [("category", ctypes.c_int16), ("combining_class", ctypes.c_int16)]


def inert_in_normal_forms() -> set[int]:
    library = ctypes.CDLL("libutf8proc.so.2")
    library.utf8proc_get_property.restype = ctypes.POINTER(_Property)
    library.utf8proc_map.argtypes = [ctypes.c_char_p, ctypes.c_ssize_t, ctypes.c_void_p, ctypes.c_int]
    nfd, nfkd = normalizers.NFD(), normalizers.NFKD()
    inert = set()
    for code in _CODES:
        char = chr(code)
        for form, options in ((nfd, 1 << 4), (nfkd, 1 << 4 | 1 << 2)):
            out = ctypes.c_char_p()
            library.utf8proc_map(char.encode(), len(char.encode()), ctypes.byref(out), options)
            if code and out.value.decode() != form.normalize_str(char):
                assert form.normalize_str(char) == char
                inert.add(code)
                inert |= {ord(c) for c in out.value.decode() if ord(c) > 0x10FFF}  # they would compose to it
        if nfd.normalize_str(char) == char:
            combining_class = library.utf8proc_get_property(code).contents.combining_class
            text = "a" + char + "\u0334"  # class 1, the lowest
            if (nfd.normalize_str(text) != text) != (combining_class > 1):
                inert.add(code)
    return inert


def told_otherwise(category: str, found: set[int]) -> list[str]:
    """Where `found` and Unicode 16 differ on a category."""
    return [f"{{0x{first:X}, 0x{last:X}}}," for first, last in ranges(matched_by_tokenizers(r"\p{%s}" % category) ^ found)]


def punctuation() -> set[int]:
    remover = pre_tokenizers.Punctuation("removed")
    return {code for code in _CODES if code >= 0x80 and not remover.pre_tokenize_str(chr(code))} | {
        code for code in matched_by_tokenizers(r"\p{P}") if code < 0x80}


def marks() -> set[int]:
    stripper = normalizers.StripAccents()
    return {code for code in _CODES if not stripper.normalize_str(chr(code))}


def table(rows: list[str], width: int) -> str:
    return "\n".join("    " + " ".join(rows[i:i + width]) for i in range(0, len(rows), width))


def main() -> None:
    additions = []
    for category in _CATEGORIES:
        pattern = r"\p{%s}" % category
        additions += [(first, last, category)
                      for first, last in ranges(matched_by_tokenizers(pattern) - matched_by_pcre2(pattern))]
    categories = [f'{{0x{first:X}, 0x{last:X}, "{category}"}},' for first, last, category in sorted(additions)]
    inert = [f"{{0x{first:X}, 0x{last:X}}}," for first, last in ranges(inert_in_normal_forms())]
    print(f"""// Made by tests/reference/make_unicode_additions.py with tokenizers {tokenizers.__version__}.
#include "engine/text/tokenizer_json/unicode_additions.h"

#include <algorithm>

namespace switchyard::tokenizer_json {{
namespace {{

constexpr CategoryRange kCategories[] = {{
{table(categories, 3)}
}};

struct CodeRange {{
  char32_t first = 0;
  char32_t last = 0;
}};
constexpr CodeRange kInert[] = {{
{table(inert, 4)}
}};
constexpr CodeRange kPunctuation[] = {{
{table(told_otherwise("P", punctuation()), 4)}
}};
constexpr CodeRange kMarks[] = {{
{table(told_otherwise("M", marks()), 4)}
}};

bool Contains(std::span<const CodeRange> ranges, char32_t code) {{
  const auto found = std::partition_point(ranges.begin(), ranges.end(),
                                          [code](const CodeRange& range) {{ return range.last < code; }});
  return found != ranges.end() && found->first <= code;
}}

}}  // namespace

std::span<const CategoryRange> CategoryAdditions() {{ return kCategories; }}

bool IsInertInNormalForms(char32_t code) {{ return Contains(kInert, code); }}
bool IsToldOtherwiseAsPunctuation(char32_t code) {{ return Contains(kPunctuation, code); }}
bool IsToldOtherwiseAsMark(char32_t code) {{ return Contains(kMarks, code); }}

}}  // namespace switchyard::tokenizer_json""")


if __name__ == "__main__":
    main()
