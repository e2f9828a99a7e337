"""A refusal as people see it, word for word, and a frame that closes around whatever stands in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core.rules import Rule
from ds01.core.value import replace
from ds01.runtime.containers.admission import Refusal
from ds01.runtime.containers.box import Style, draw

MEMORY = Refusal(
    Rule.MEMORY,
    "DS01 Aggregate Memory Quota Exceeded",
    (("Current usage", "48G (in use right now)"), ("Requested", "64G"), ("Your limit", "96G")),
    "This container would exceed your aggregate memory quota.",
    ("Stop a running container: docker stop <name>", "Ask for less memory: docker run --memory <size> …"),
)
GPU = Refusal(
    Rule.GPU,
    "DS01 No GPU Free",
    (("Requested", "GPU 1"), ("In use", "0    alice  training"), ("", "0:1  bob    a\tb\x1b[31mred\n\udcff\u202e")),
    "Every unit is held.",
    (),
)
CONTACT = "ds01-help@lab-x.org"
GOLDEN = {
    "lines": (
        draw(MEMORY, CONTACT),
        """\
┌────────────────────────────────────────────────────────────┐
│  DS01 Aggregate Memory Quota Exceeded                      │
├────────────────────────────────────────────────────────────┤
│                                                            │
│  Current usage:  48G (in use right now)                    │
│  Requested:      64G                                       │
│  Your limit:     96G                                       │
│                                                            │
│  This container would exceed your aggregate memory quota.  │
│                                                            │
│  What you can do:                                          │
│    • Stop a running container: docker stop <name>          │
│    • Ask for less memory: docker run --memory <size> …     │
│                                                            │
│  To get a higher limit, ask ds01-help@lab-x.org.           │
│                                                            │
└────────────────────────────────────────────────────────────┘""",
    ),
    "ASCII, and nobody to ask": (
        draw(MEMORY, "", Style(unicode=False)),
        """\
+------------------------------------------------------------+
|  DS01 Aggregate Memory Quota Exceeded                      |
+------------------------------------------------------------+
|                                                            |
|  Current usage:  48G (in use right now)                    |
|  Requested:      64G                                       |
|  Your limit:     96G                                       |
|                                                            |
|  This container would exceed your aggregate memory quota.  |
|                                                            |
|  What you can do:                                          |
|    * Stop a running container: docker stop <name>          |
|    * Ask for less memory: docker run --memory <size> ...   |
|                                                            |
+------------------------------------------------------------+""",
    ),
    "rows without a name, control characters, no steps": (
        draw(GPU, ""),
        r"""
┌───────────────────────────────────────────────────────┐
│  DS01 No GPU Free                                     │
├───────────────────────────────────────────────────────┤
│                                                       │
│  Requested:  GPU 1                                    │
│  In use:     0    alice  training                     │
│              0:1  bob    a\tb\x1b[31mred\n\xff\u202e  │
│                                                       │
│  Every unit is held.                                  │
│                                                       │
└───────────────────────────────────────────────────────┘""".removeprefix("\n"),
    ),
    "wide characters, and those that stand on others": (
        draw(replace(GPU, rows=(("In use", "日本語 e\u0301 한글"), ("", "ที่ \u1112\u1161\u11ab ok"))), ""),
        """\
┌──────────────────────────────────────────────┐
│  DS01 No GPU Free                            │
├──────────────────────────────────────────────┤
│                                              │
│  In use:  日本語 e\u0301 한글                      │
│           ที่ \u1112\u1161\u11ab ok                            │
│                                              │
│  Every unit is held.                         │
│                                              │
└──────────────────────────────────────────────┘""",
    ),
    "the same in ASCII": (
        draw(replace(GPU, rows=(("In use", "日本 é × –"),)), "", Style(unicode=False)),
        r"""
+----------------------------------------------+
|  DS01 No GPU Free                            |
+----------------------------------------------+
|                                              |
|  In use:  \u65e5\u672c \xe9 x -              |
|                                              |
|  Every unit is held.                         |
|                                              |
+----------------------------------------------+""".removeprefix("\n"),
    ),
    "a name that is longer than a line stays whole": (
        draw(replace(GPU, rows=(("In use", "0 " + "n" * 80 + " since 10:00"),), meaning="word " * 16), ""),
        f"""\
┌─────────────────────────────────────────────────────────────────────────────────────────────┐
│  DS01 No GPU Free                                                                           │
├─────────────────────────────────────────────────────────────────────────────────────────────┤
│                                                                                             │
│  In use:  0                                                                                 │
│           {"n" * 80}  │
│           since 10:00                                                                       │
│                                                                                             │
│  word word word word word word word word word word word word word word word                 │
│  word                                                                                       │
│                                                                                             │
└─────────────────────────────────────────────────────────────────────────────────────────────┘""",
    ),
}


@pytest.mark.parametrize(("drawn", "golden"), GOLDEN.values(), ids=GOLDEN)
def test_a_box_is_exactly_this(drawn: str, golden: str) -> None:
    assert drawn.split("\n") == golden.split("\n")


def test_colour_changes_the_title_and_nothing_else() -> None:
    plain, coloured = draw(MEMORY, CONTACT).split("\n"), draw(MEMORY, CONTACT, Style(colour=True)).split("\n")
    assert coloured[1] == f"│\x1b[1;31m  DS01 Aggregate Memory Quota Exceeded\x1b[0m{' ' * 22}│"
    assert coloured[1].replace("\x1b[1;31m", "").replace("\x1b[0m", "") == plain[1]
    assert [coloured[0], *coloured[2:]] == [plain[0], *plain[2:]]


# --- Whatever stands in it --------------------------------------------------------------------------------------------

# Columns of characters that do not have one; what is not here, of what is drawn below, has.
COLUMNS = {
    **dict.fromkeys("日語한Ａ。😀", 2),
    **dict.fromkeys("\u0301\u0e34\u20dd\u3099\u094d\ufe0f\u1161\u11ab", 0),
    "\u1112": 2,
}
CHARACTERS = [*COLUMNS, *"ab-é×…•ภÅ \t\n\x1b\x00\x7f\x85\u200b\u2028\u202e\udcff"]
texts = st.text(st.sampled_from(CHARACTERS), max_size=120)
refusals = st.builds(
    Refusal,
    rule=st.sampled_from(Rule),
    title=st.just("DS01 No GPU Free"),
    rows=st.lists(st.tuples(st.sampled_from(["", "In use", "Requested"]), texts), max_size=4).map(tuple),
    meaning=texts,
    steps=st.lists(texts, max_size=3).map(tuple),
)


@given(refusals, texts, st.booleans())
def test_every_line_has_as_many_columns_as_the_frame(refusal: Refusal, contact: str, unicode: bool) -> None:  # noqa: FBT001 - Hypothesis gives it
    lines = draw(refusal, contact, Style(unicode)).split("\n")
    side = "│" if unicode else "|"
    assert {sum(COLUMNS.get(char, 1) for char in line) for line in lines} == {len(lines[0])}
    assert all(line[0] == line[-1] == side for line in (lines[1], *lines[3:-1]))


@given(refusals, texts, st.booleans())
def test_nothing_in_it_drives_a_terminal(refusal: Refusal, contact: str, unicode: bool) -> None:  # noqa: FBT001 - Hypothesis gives it
    drawn = draw(refusal, contact, Style(unicode))
    assert all(char.isprintable() or char == "\n" for char in drawn)
    assert unicode or drawn.isascii()


@given(st.lists(st.text("abc", min_size=1, max_size=100), min_size=1, max_size=30))
def test_no_word_is_lost_or_broken(words: list[str]) -> None:
    lines = draw(Refusal(Rule.GPU, "T", (), " ".join(words), ()), "").split("\n")
    assert " ".join(line.strip("│ ") for line in lines[5:-2]).split() == words
    assert all(len(line) <= 80 for line in lines) or max(map(len, words)) > 74
