"""Rows of a table become options, and which part of it holds for a verb."""

from __future__ import annotations

import pytest

from ds01.runtime.client.table import Option, Part, Table, row_of

MEMORY = Option("memory", "m", "bytes")
TTY = Option("tty", "t", None)
NET = Option("net", None, "network", hidden=True, same_as="network")
SECRET = Option("checkpoint", None, "string", hidden=True)
TABLE = Table(
    "28.2",
    {"container ls": "ps", "container remove": "rm", "remove": "rm"},
    {"run": [row_of(each) for each in (MEMORY, TTY, NET, SECRET)], "rm": []},
)


def test_a_row_says_all_of_an_option() -> None:
    assert TABLE.rows["run"] == [
        ("memory", "m", "bytes"),
        ("tty", "t", ""),
        ("net", "", "network", "=network"),
        ("checkpoint", "", "string", "hidden"),
    ]
    assert TABLE.options("run") == (MEMORY, TTY, NET, SECRET)


def test_a_part_finds_options_by_name_and_by_letter() -> None:
    assert TABLE.part("run") == Part(
        {"memory": MEMORY, "tty": TTY, "net": NET, "checkpoint": SECRET}, {"m": MEMORY, "t": TTY}
    )
    assert TABLE.part("rm") == Part({}, {})


@pytest.mark.parametrize(
    ("kind", "takes"), [(None, False), ("bytes", True), ("list", True), ('string[="always"]', False)]
)
def test_a_switch_and_an_optional_value_never_take_the_next_word(kind: str | None, *, takes: bool) -> None:
    assert Option("x", None, kind).takes_value == takes


def test_an_option_is_shown_as_in_a_help_text() -> None:
    assert [each.shown for each in (MEMORY, TTY, NET)] == ["-m, --memory bytes", "-t, --tty", "--net network"]


@pytest.mark.parametrize(
    ("verb", "topic"),
    [
        (("run",), "run"),
        (("container", "run"), "run"),
        (("container", "ls"), "ps"),
        (("container", "ps"), "ps"),
        (("container", "remove"), "rm"),
        (("remove",), "rm"),
        (("inspect",), "inspect"),
        (("container", "inspect"), "container inspect"),
        (("ls",), None),
        (("container",), None),
        (("container", "prune"), None),
        (("image", "rm"), None),
        (("Run",), None),
        (("",), None),
        ((), None),
    ],
)
def test_a_verb_has_its_part(verb: tuple[str, ...], topic: str | None) -> None:
    assert TABLE.topic(verb) == topic
