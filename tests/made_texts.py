# SPDX-License-Identifier: Apache-2.0
"""Texts and training corpora that a seed draws, for the tests beside PyPI's tokenizers and sentencepiece."""

import functools
import unicodedata

WORDS = ("the of and to in that it was for on are with as they at be this from have or by one had not but what all "
         "were when we there can an your which their said if do will each about how out them then she many some so "
         "straße größe naïve œuvre été привет мир как дела ещё 世界 你好 今天 天気 こんにちは 안녕 한국어 مرحبا שלום "
         "नमस्ते ไทย ελληνικά I'll don't we've HE'S 1984 3.14 12345 x=y; ({[]}) != -> // foo_bar CamelCase").split()
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", "\n\t\t", "\u3000", "\u00a0", "\u2003", "\u2028",
          "\x85", "\x0b", "\u200b"]
MARKS = ["e\u0301", "n\u0303o\u0308", "\u0301x", "a\u0300\u0301\u0302\u0303b", "\u1e9b\u0323", "\u212b", "\u0958",
         "\u1100\u1161\u11a8", "q\u0307\u0323", "\u0130i\u0307", "\u2460\u00bd\u00b2\u2122\uff21\u3392", "\ufb01\u01c4",
         "ǅ", "ß", "ſ", "ΑΣ", "Σίσυφος", "ﷺ", "İ", "ŉ", "℻", "ϓ"]
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "1️⃣", "❤️", "🧑🏿‍🚀", "🤷🏻‍♀️", "🚀", "✅"]
CODE = ["def f(x):\n    return x + 1\n", "for (int i = 0; i < 10; ++i) {\n\tputs(\"%d\\n\");\n}",
        "SELECT * FROM t WHERE a='b'", "{\"key\": [1, 2.5, -3e10, null]}", "<b class=\"x\">&amp;</b>",
        "x = y if z else w  # note   ", "a&&b||!c",
        "https://example.com/path?q=1&r=2#frag", "C:\\path\\file.txt", "${HOME} @decorator", "0x1F 1e-5 1_000_000",
        "snake_case camelCase SCREAMING_CASE", "a->b::c.d[e](f)<g>", "'''``` \"\"\"", "....----____====", "!!!???..."]
ODD = ["\x00", "\x01\x1b[31m", "\x7f\x9f", "\ufeff", "\u200d\u200c", "\u202e", "\u00ad", "\ufffd", "\ufffe",
       "\U0010ffff", "\ue000", "\U000e0041", "\u0378", "\ufe0f", "\u2060", "\u0600", "\x1c\x1f", "▁", "▁▁", "Ġ",
       "##ing", "</w>", "@@"]
TAGS = ["<s>", "</s>", "<unk>", "<pad>", "<mask>", "[CLS]", "[SEP]", "[MASK]", "<|im_start|>", "<|im_end|>",
        "<|endoftext|>", "<0x0A>", "<0xE4><0xBD>", "< s >", "<|im_st", "<think>", "<tool>", "WORD", "Ab", "Abc",
        "new tok", "NormTok"]


@functools.cache
def characters():
    """Characters that have a category in this Python's tables, in groups from which strings are drawn."""
    groups = {}
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        if category not in ("Cn", "Cs", "Co"):
            groups.setdefault(category, []).append(chr(code))
    return list(groups.values())


def string(rng):
    """Words, white space, letters of several kinds and characters of any category."""
    parts = []
    for _ in range(rng.randint(1, 7)):
        kind = rng.random()
        if kind < 0.5:
            parts.append(rng.choice(WORDS))
        elif kind < 0.65:
            parts.append(rng.choice([" ", "  ", "\n", "\r\n", "\t", " \n ", "\u3000", "\u00a0"]))
        elif kind < 0.8:
            parts.append("".join(rng.choice("abcXYZ 0129.,'!-_/\u0301") for _ in range(rng.randint(1, 6))))
        else:
            group = rng.choice(characters())
            parts.append("".join(rng.choice(group) for _ in range(rng.randint(1, 4))))
        if rng.random() < 0.5:
            parts.append(" ")
    return "".join(parts)


def text(rng):
    """What string() gives, or a mixture with code, marks, emoji, control characters, long runs and spelled tokens."""
    kind = rng.random()
    if kind < 0.3:
        return string(rng)
    if kind < 0.4:
        unit = rng.choice([rng.choice("aZ0_!. "), rng.choice(WORDS), rng.choice("中é😀\n\t\u0301"), rng.choice(EMOJI)])
        return string(rng) * rng.randint(0, 1) + unit * rng.randint(2, 150)
    if kind < 0.5:  # any code point, unassigned ones too
        return "".join(chr(rng.choice([rng.randrange(0xd800), rng.randrange(0xe000, 0x110000)]))
                       for _ in range(rng.randint(1, 12)))
    groups = [WORDS, WORDS, SPACES, MARKS, EMOJI, CODE, ODD, TAGS, TAGS]
    return "".join(rng.choice(rng.choice(groups)) + rng.choice(["", "", " "]) for _ in range(rng.randint(1, 9)))


def texts(rng, count):
    """`count` different texts; the empty one and single kinds of white space come first."""
    found = dict.fromkeys(["", *SPACES])
    while len(found) < count:
        found[text(rng)] = None
    return list(found)[:count]


def corpus(rng):
    """Lines to train on: words of several languages, invented words, code and some of any character."""
    letters = ["abcdefghijklmnopqrstuvwxyz", "абвгдежзиклмнопрстуф", "αβγδεζηθικλμνξοπρστυφχψω", "你好世界今天气怎么样大小中国人"]
    invented = ["".join(rng.choice(rng.choice(letters[:1]) if rng.random() < 0.7 else rng.choice(letters))
                        for _ in range(rng.randint(1, 9))) for _ in range(300)]
    pool = WORDS * 4 + invented + CODE + EMOJI + MARKS
    lines = [" ".join(rng.choice(pool) for _ in range(12)) for _ in range(1500)]
    return lines + [string(rng) for _ in range(300)]
