"""Help texts become options and tables; a table becomes its file; a client that differs is told."""

from __future__ import annotations

import json

import pytest
from tests.unit.runtime.client.helptexts import texts_of

from ds01.runtime.client.helptext import (
    HelpTextError,
    difference,
    make_table,
    parse,
    parse_aliases,
    short_version,
    text_of,
)
from ds01.runtime.client.table import Option
from ds01.runtime.client.tables import FOLDER, known_versions, load

RUN = """\
Usage:  docker run [OPTIONS] IMAGE [COMMAND] [ARG...]

Create and run a new container from an image

Aliases:
  docker container run, docker run

Options:
      --annotation map                   Add an annotation to the
                                         container (passed through to the
                                         OCI runtime) (default map[])
  -a, --attach list                      Attach to STDIN, STDOUT or STDERR
      --cgroupns string                  Cgroup namespace to use
                                         (host|private)
                                         'host':    Run the container in
                                         the Docker host's cgroup
      --help                             Print usage
  -t, --tty                              Allocate a pseudo-TTY
      --widest-of-all-that-there-are x   Three spaces behind it
      --no-words-behind-it
      --color string[="always"]          Whether --color is used

Run 'docker run --help' for more --help than this.
"""


def test_a_help_text_becomes_its_options() -> None:
    assert parse(RUN) == (
        Option("annotation", None, "map"),
        Option("attach", "a", "list"),
        Option("cgroupns", None, "string"),
        Option("help", None, None),
        Option("tty", "t", None),
        Option("widest-of-all-that-there-are", None, "x"),
        Option("no-words-behind-it", None, None),
        Option("color", None, 'string[="always"]'),
    )


def test_other_text_has_no_options() -> None:
    assert parse("") == parse("docker: unknown command: docker runs\n\nRun 'docker --help'\n --help  x\n") == ()


@pytest.mark.parametrize(
    ("text", "aliases"),
    [
        ("Aliases:\n  docker container ls, docker ps\n", ("container ls", "ps")),
        (
            "\nUsage:  docker container ls\n\nAliases:\n  ls, ps, list\n",
            ("container ls", "container ps", "container list"),
        ),
        ("Options:\n", ()),
    ],
)
def test_names_of_a_verb_are_read_in_both_forms(text: str, aliases: tuple[str, ...]) -> None:
    assert parse_aliases(text) == aliases


@pytest.mark.parametrize(
    ("given", "version"), [("28.2.2", "28.2"), ("20.10.24+dfsg1", "20.10"), ("29.1", "29.1"), ("27.0-rc.1", "27.0")]
)
def test_major_and_minor_number_name_a_table(given: str, version: str) -> None:
    assert short_version(given) == version


@pytest.mark.parametrize("given", ["", "28", "v28.2", "dev", "28.x"])
def test_what_is_no_version_is_said(given: str) -> None:
    with pytest.raises(HelpTextError) as caught:
        short_version(given)
    assert caught.value.brief == f"{given!r} is no version of a docker client"


@pytest.mark.parametrize("version", known_versions())
def test_a_table_is_made_from_help_texts_and_what_is_known_beside_them(version: str) -> None:
    table = load(version)
    assert text_of(make_table(f"{version}.9", texts_of(table))) == text_of(table)


@pytest.mark.parametrize("version", known_versions())
def test_a_table_in_its_file_is_as_it_would_be_written(version: str) -> None:
    text = (FOLDER / f"{version}.json").read_text(encoding="utf-8")
    assert text == text_of(load(version))
    rows = [row for part in json.loads(text)["options"].values() for row in part]
    assert [row for row in rows if f"   {json.dumps(row)}" not in text.replace(",\n", "\n").splitlines()] == []


def test_a_table_needs_every_text() -> None:
    texts = texts_of(load("28.2"))
    wrong = {
        "gone": {name: text for name, text in texts.items() if name != "container stop"},
        "another": texts | {"container stop": "\nUsage:  docker container COMMAND\n\nManage containers\n"},
        "an error": texts | {"container stop": "Cannot connect\x1b[2J"},
    }
    said = {}
    for name, each in wrong.items():
        with pytest.raises(HelpTextError) as caught:
            make_table("28.2.2", each)
        said[name] = (caught.value.brief, caught.value.details)
    brief = "the client does not explain 'docker container stop'"
    assert said == {
        "gone": (brief, None),
        "another": (brief, "Usage:  docker container COMMAND\\n\\nManage containers"),
        "an error": (brief, "Cannot connect\\x1b[2J"),
    }


# --- difference ---------------------------------------------------------------------------------------------


def replaced(texts: dict[str, str], asked: str, before: str, after: str) -> dict[str, str]:
    assert texts[asked].count(before) == 1
    return texts | {asked: texts[asked].replace(before, after)}


@pytest.mark.parametrize("version", known_versions())
def test_a_client_that_is_as_its_table_differs_in_nothing(version: str) -> None:
    assert difference(load(version), texts_of(load(version))) == ""


def test_each_way_to_differ_is_a_line() -> None:
    table = load("28.2")
    texts = replaced(texts_of(table), "run", "      --gpus gpu-request ", "      --gpus list ")
    texts = replaced(texts, "stop", "  -s, --signal string ", "      --signal string ")
    texts = replaced(texts, "", "      --tls ", "      --new-one string ")
    texts = replaced(texts, "container cp", "  -q, --quiet ", "  -q, --quiet bool ")
    texts["container wait"] = "Usage:  docker container COMMAND\n"
    del texts["kill"]
    assert difference(table, texts).splitlines() == [
        "docker: --new-one string is not in the table",
        "docker: --tls is not in the client's help",
        "docker run: --gpus list is --gpus gpu-request in the table",
        "docker stop: --signal string is -s, --signal string in the table",
        "docker kill: the client does not explain it",
        "docker container cp: -q, --quiet bool is -q, --quiet in the table",
        "docker container wait: the client does not explain it",
    ]


def test_an_option_that_is_hidden_may_be_printed_or_not() -> None:
    table = load("28.2")
    texts, place = texts_of(table), "      --network network "
    assert difference(table, replaced(texts, "run", place, f"      --net network    x\n{place}")) == ""
    other = replaced(texts, "run", place, f"      --net    x\n{place}")
    assert difference(table, other) == "docker run: --net is --net network in the table"
