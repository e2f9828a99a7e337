"""What the docker command and its helper say to each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.runtime.wrapper.protocol import MOST_BYTES, Asked, RequestError, read_request, refuse, run_line


def request(*fields: str) -> bytes:
    return "".join(f"{field}\0" for field in fields).encode(errors="surrogateescape")


@pytest.mark.parametrize(
    ("locale", "no_colour", "terminal", "unicode", "colour"),
    [
        ("C.UTF-8", "", "1", True, True),
        ("de_DE.utf8", "", "1", True, True),
        ("C.UTF-8", "1", "1", True, False),
        ("C.UTF-8", "", "", False, False),
        ("C.UTF-8", "", "0", False, False),
        ("C", "", "1", False, True),
        ("", "", "", False, False),
    ],
)
def test_a_request_says_who_asks_how_it_looks_and_what_is_wanted(
    locale: str, no_colour: str, terminal: str, *, unicode: bool, colour: bool
):
    data = request("1", "4711", locale, no_colour, "all", terminal, "run", "", "a b\n", "-x")
    assert read_request(data) == Asked(4711, unicode, colour, "all", ("run", "", "a b\n", "-x"))


@given(st.lists(st.binary().filter(lambda word: b"\0" not in word), min_size=1))
def test_words_come_through_whatever_bytes_they_are(words: list[bytes]):
    data = request("1", "1", "", "", "", "") + b"".join(word + b"\0" for word in words)
    assert run_line(read_request(data).words) == b"run\0" + b"".join(word + b"\0" for word in words)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"x",
        request("2", "1", "", "", "", "", "run"),
        request("1", "one", "", "", "", "", "run"),
        request("1", "-1", "", "", "", "", "run"),
        request("1", "1" * 9, "", "", "", "", "run"),
        request("1", "١", "", "", "", "", "run"),
        request("1", "1", "", "", "", "", "run")[:-1],
        request("1", "1", "", "", "", "", "x" * MOST_BYTES)[:MOST_BYTES],
    ],
)
def test_what_is_no_request_is_refused(data: bytes):
    with pytest.raises(RequestError):
        read_request(data)


def test_a_refusal_is_an_exit_code():
    assert refuse(125) == b"refuse\x00125\x00"
