#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the two tables of src/text/unicode_ages.cc, from the tables of Unicode 16 in the package unicodedataplus.

    pip install unicodedataplus==16.0.0.post1
    tests/make/unicode_ages.py | clang-format-14 --assume-filename=src/text/unicode_ages.cc
"""

import unicodedata

import unicodedataplus

OLDEST = 14  # the tables of the oldest PCRE2 and utf8proc that this project is built with; also this Python's (3.11)


def age(code):
    version = unicodedataplus.age(chr(code))
    return None if version == "Unassigned" else int(version.split(".")[0])


def elder(code, category):
    """The nearest character of Unicode 14 that has the category, then and now, and as many bytes."""
    for distance in range(1, 0x20000):
        for other in (code - distance, code + distance):
            if not 0x80 <= other < 0x110000 or 0xd800 <= other < 0xe000:
                continue
            if len(chr(other).encode()) == len(chr(code).encode()) and category == unicodedata.category(chr(other)) == \
                    unicodedataplus.category(chr(other)):
                return other
    raise ValueError(hex(code))


def main():
    assert unicodedataplus.unidata_version.startswith("16.") and unicodedata.unidata_version.startswith("14.")
    ages, elders = [], []
    before = None  # gaps of unassigned code points do not matter in the first table
    last = None
    for code in range(0x80, 0x110000):
        since = None if 0xd800 <= code < 0xe000 else age(code)
        category = None if since is None else unicodedataplus.category(chr(code))
        changed = since is not None and (since > OLDEST or unicodedata.category(chr(code)) != category)
        if changed and last == (code - 1, category):
            elders[-1][1] = code
        elif changed:
            elders.append([code, code, elder(code, category)])
        last = (code, category) if changed else None
        if since is None:
            continue
        group = min(since, 10) if since > 8 else None
        if group is not None and group == before:
            ages[-1][1] = code
        elif group is not None:
            ages.append([code, code, group])
        before = group
    for name, rows, value in (("kAges", ages, "{}"), ("kElders", elders, "0x{:x}")):
        form = "{{0x{:x}, 0x{:x}, " + value + "}}"
        print(f"constexpr Row {name}[] = {{{', '.join(form.format(*row) for row in rows)}}};\n")


if __name__ == "__main__":
    main()
