"""YAML as this project reads it: the core rules of 1.2, places for everything, and no text that does harm."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ds01.generator import yamltext
from ds01.generator.problems import Place
from ds01.generator.yamltext import read_yaml

# The signs YAML is made of, so that random text reaches deep into the parser.
YAMLISH = st.text(" \n\t:-?,[]{}#&*!|>'\"%@`~<=.ab01\\\x00\x85\u2028\ufeff\ud800", max_size=60)


def data(text: str) -> Any:
    document, problems = read_yaml(text, "f")
    assert problems == ()
    return document.data


def problems(text: str) -> list[str]:
    return [str(problem) for problem in read_yaml(text, "f")[1]]


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        *((word, word) for word in ("off", "Off", "on", "no", "NO", "yes", "y", "n", "tRue", "nUll", ".inf", ".nan")),
        *((word, word) for word in ("12:30", "2026-01-31", "1_000", "0b1", "0O17", "0X1F", "-0x1", "1e", "96%", ".")),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("", None),
        ("~", None),
        ("null", None),
        ("NULL", None),
        ("1", 1),
        ("-1", -1),
        ("+1", 1),
        ("010", 10),
        ("0o17", 15),
        ("0x1f", 31),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("-2.5E-1", -0.25),
        ("'1'", "1"),
        ('"true"', "true"),
        ('""', ""),
        ('"a\\nb"', "a\nb"),
        ("# nothing", None),
    ],
)  # fmt: skip
def test_plain_scalar_is_read_by_the_core_rules(scalar: str, value: Any) -> None:
    read = data(f"key: {scalar}\n")["key"]
    assert (read, type(read)) == (value, type(value))


def test_keys_are_always_text() -> None:
    assert data("1: a\ntrue: b\n~: c\n2026-01-31: d\n") == {"1": "a", "true": "b", "~": "c", "2026-01-31": "d"}


def test_every_key_and_value_has_its_place() -> None:
    document, _ = read_yaml('a:\n  - x\n  - b: 1\n"c": {d: zoë, e: 2}\n', "f")
    assert (document.keys, document.values) == (
        {
            ("a",): Place("f", 1, 1),
            ("a", 1, "b"): Place("f", 3, 5),
            ("c",): Place("f", 4, 1),
            ("c", "d"): Place("f", 4, 7),
            ("c", "e"): Place("f", 4, 15),
        },
        {
            (): Place("f", 1, 1),
            ("a",): Place("f", 2, 3),
            ("a", 0): Place("f", 2, 5),
            ("a", 1): Place("f", 3, 5),
            ("a", 1, "b"): Place("f", 3, 8),
            ("c",): Place("f", 4, 6),
            ("c", "d"): Place("f", 4, 10),
            ("c", "e"): Place("f", 4, 18),
        },
    )


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("a", "b"), Place("f", 2, 3), Place("f", 2, 6)),
        (("a", "x", "y"), Place("f", 1, 1), Place("f", 2, 3)),
        (("z",), Place("f", 1, 1), Place("f", 1, 1)),
        ((), Place("f", 1, 1), Place("f", 1, 1)),
    ],
)
def test_what_has_no_place_stands_where_the_nearest_above_it_does(
    path: tuple[str, ...], key: Place, value: Place
) -> None:
    document, _ = read_yaml("a:\n  b: 1\n", "f")
    assert (document.key_place(path), document.value_place(path)) == (key, value)


@pytest.mark.parametrize("text", ["", "# comment\n", "---\n", "---\n...\n"])
def test_text_without_a_value_is_an_empty_document(text: str) -> None:
    assert data(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\ufeffa: 1\n", {"a": 1}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("a: &x {b: 1}\nc: *x\n", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: |\n  x: y\n  # z\n", {"a": "x: y\n# z\n"}),
        ("'<<': 1\n", {"<<": 1}),
        ("%YAML 1.2\n---\na: 1\n", {"a": 1}),
    ],
)
def test_ordinary_yaml_is_read(text: str, value: Any) -> None:
    assert data(text) == value


TWICE = "key 'a' stands twice (first in line 1); remove one of the two"
SYSTEM = "!!python/object/apply:os.system"
TOO_LARGE = "is too large a number; write a smaller one, or null for no limit"
MEND = "mend the indentation"
LINE = f"this line fits neither what is above it nor its indentation; {MEND}"
OPEN_LIST = "a list is opened here and never closed; close it with ], and part its entries by commas"
COLON = "a colon where no key can be; put the value in quotes, or mend the indentation"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a:\n\tb: 1", "f:2:1: a tab cannot indent in YAML; indent with spaces"),
        ("a:\n  b: 1\n\tc: 2", "f:3:1: a tab cannot indent in YAML; indent with spaces"),
        ("a: b: c", f"f:1:5: {COLON}"),
        ("a: b\n  c: d", f"f:2:4: {COLON}"),
        ("a:\n  - b\n c: d", f"f:3:2: {LINE}"),
        ("a: 'it's'", f"f:1:8: {LINE}"),
        ("x: 1\na: 'x\nb: 1\n", "f:2:4: a quote is opened here and never closed; close it"),
        ('a: "x', "f:1:4: a quote is opened here and never closed; close it"),
        ("a: [1, 2\n", f"f:1:4: {OPEN_LIST}"),
        ("k: [a, b\nc: d", f"f:1:4: {OPEN_LIST}"),
        ("a: {b: c\n", "f:1:4: a mapping is opened here and never closed; close it with }"),
        ("a: @x", "f:1:4: a value cannot start with @; put it in quotes"),
        ("a: 1\nb\n", "f:2:1: a line without a colon; write `key: value`"),
        ("a: *x", "f:1:4: alias *x has no anchor above it; write the value out"),
        ("a: &x [*x]", "f:1:8: alias *x has no anchor above it; write the value out"),
        ("a: 1\n---\nb: 1\n", "f:2:1: a second document begins here; keep one document a file"),
        ("x: 1\nab: c\x07d", "f:2:6: character U+0007 is not allowed in YAML; remove it"),
        ("a: \x00", "f:1:4: character U+0000 is not allowed in YAML; remove it"),
        ("a: \ud800", "f:1:4: character U+D800 is not allowed in YAML; remove it"),
        ("[" * 60, "f:1:52: nested more than 50 levels deep; write it flatter"),
        ("- " * 60 + "a", "f:1:103: nested more than 50 levels deep; write it flatter"),
    ],
)  # fmt: skip
def test_text_that_is_no_yaml_is_one_problem_where_it_goes_wrong(text: str, said: str) -> None:
    assert ([read_yaml(text, "f")[0].data], problems(text)) == ([None], [said])


@pytest.mark.parametrize(
    ("text", "rest", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", {"a": 1, "b": 2}, f"f:3:1: {TWICE}"),
        ("a: 1\n'a': 3\n", {"a": 1}, f"f:2:1: {TWICE}"),
        ("<<: {a: 1}\nb: 2\n", {"b": 2}, "f:1:1: merge keys (<<) are not used in YAML 1.2; write the keys out"),
        (f"a: {SYSTEM} [id]\nb: 2\n", {"b": 2}, f"f:1:4: tag {SYSTEM} is not used here; write the plain value"),
        ("a: !!int x\nb: 2\n", {"b": 2}, "f:1:4: tag !!int is not used here; write the plain value"),
        ("a: !mine {x: 1}\n", {}, "f:1:4: tag !mine is not used here; write the plain value"),
        ("a: [!x 1, 2]\n", {"a": [None, 2]}, "f:1:5: tag !x is not used here; write the plain value"),
        ("!!set {a, b}\n", None, "f:1:1: tag !!set is not used here; write the plain value"),
        ("? [a]\n: 1\nb: 2\n", {"b": 2}, "f:1:3: a key must be plain text; write one word before the colon"),
        ("!!str a: 1\n", {}, "f:1:1: a key must be plain text; write one word before the colon"),
        ("a: 9223372036854775808\n", {}, f"f:1:4: 9223372036854775808 {TOO_LARGE}"),
        ("a: 1e999\nb: 1\n", {"b": 1}, f"f:1:4: 1e999 {TOO_LARGE}"),
    ],
)  # fmt: skip
def test_part_that_is_refused_leaves_the_rest(text: str, rest: Any, said: str) -> None:
    assert (read_yaml(text, "f")[0].data, problems(text)) == (rest, [said])


def test_all_refused_parts_are_told_at_once() -> None:
    assert problems("a: !x 1\na: 2\nb: !y 1\nb: 3\nb: 4\n") == [
        "f:1:4: tag !x is not used here; write the plain value",
        "f:3:4: tag !y is not used here; write the plain value",
        "f:5:1: key 'b' stands twice (first in line 4); remove one of the two",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a: "x\\ny\\tz"\n', []),
        ("a: |\n  é 中\n  😀\n", []),
        ('a: "\\e[2J"\n', ["f:1:4: holds the character U+001B, which cannot be seen; remove it"]),
        ("a: x\u202ey\n", ["f:1:4: holds the character U+202E, which cannot be seen; remove it"]),
        ("a: [x, y\u200bz]\n", ["f:1:8: holds the character U+200B, which cannot be seen; remove it"]),
        ("a: \u00a01\n", ["f:1:4: holds the character U+00A0, which cannot be seen; remove it"]),
        ('"b\\x85": 1\n', ["f:1:1: holds the character U+0085, which cannot be seen; remove it"]),
        ('"b\\0": {c: "\\x7f"}\n', ["f:1:1: holds the character U+0000, which cannot be seen; remove it"]),
        ('a: !t "\\r"\n', ["f:1:4: tag !t is not used here; write the plain value"]),
    ],
)
def test_text_that_cannot_be_seen_is_named_by_its_code_point(text: str, said: list[str]) -> None:
    assert problems(text) == said


def test_number_of_five_thousand_digits_is_too_large_and_not_a_crash() -> None:
    assert problems("a: " + "9" * 5000) == [
        "f:1:4: 99999999999999999999 is too large a number; write a smaller one, or null for no limit"
    ]


def test_aliases_of_aliases_do_not_eat_the_machine() -> None:
    laughs = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    laughs += [f"{key}: &{key} [{', '.join([f'*{chr(ord(key) - 1)}'] * 10)}]" for key in "bcdefghi"]
    assert problems("\n".join(laughs)) == ["f:1:26: aliases of aliases make this file grow without end; write it out"]


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 100_000, "{a: " * 100_000, "? " * 100_000])
def test_nesting_without_end_is_a_problem_and_not_the_end_of_the_process(text: str) -> None:
    assert len(problems(text)) == 1


@given(YAMLISH | st.text(max_size=60))
def test_any_text_is_a_document_or_problems(text: str) -> None:
    document, found = read_yaml(text, "f")
    assert (document.data is None or plain(document.data), all(each.fix for each in found)) == (True, True)


def plain(value: Any) -> bool:
    match value:
        case dict():
            return all(isinstance(key, str) and plain(each) for key, each in value.items())
        case list():
            return all(map(plain, value))
        case _:
            return value is None or isinstance(value, (str, int, float, bool))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text("ab:#-'\" é\n0o", max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab:#- ", max_size=4), inner, max_size=4),
        max_leaves=10,
    )
)
def test_what_pyyaml_writes_is_read_back(value: Any) -> None:
    assert data(yaml.safe_dump(value, allow_unicode=True)) == value


def test_reader_without_libyaml_reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a:\n  - x\n  - {b: 1, c: off}\nd: &e zoë\nf: *e\na: 2\n"
    fast = read_yaml(text, "f")
    monkeypatch.setattr(sys.modules["yaml"], "__with_libyaml__", False)
    monkeypatch.setattr(yamltext, "_PARSER", yamltext._parser())
    assert (yamltext._PARSER.__name__, read_yaml(text, "f")) == ("_PlainParser", fast)
