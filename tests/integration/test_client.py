"""The real docker client as the judge: a line that was read and written anew has to mean the same to it.

All clients there are judge: the installed one, and those in the folder that DS01_DOCKER_CLIENTS names.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.clients import MORE_CLIENTS, Client, found_clients, watched

from ds01.core.errors import BadInputError
from ds01.core.process import run
from ds01.runtime.client.arguments import Given, parse, write
from ds01.runtime.client.helptext import difference, short_version
from ds01.runtime.client.realclient import read_texts
from ds01.runtime.client.tables import known_versions, load, pick

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ds01.runtime.client.table import Option, Table

CLIENTS = found_clients()
DATA = yaml.safe_load((Path(__file__).parents[1] / "data/client/run_lines.yaml").read_text(encoding="utf-8"))
WINDOWS = ("--cpu-count", "--cpu-percent", "--io-max")

needs_client = pytest.mark.skipif(not CLIENTS, reason=f"no docker client here, nor in {MORE_CLIENTS}")


@pytest.fixture(scope="module", params=sorted(CLIENTS))
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def table(version: str) -> Table:
    return pick(version)


@pytest.fixture(scope="module")
def client(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with watched(CLIENTS[version], tmp_path_factory.mktemp("client")) as client:
        yield client


@pytest.fixture(scope="module")
def windows(version: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The same client, which believes that its daemon runs on Windows."""
    with watched(CLIENTS[version], tmp_path_factory.mktemp("client"), "windows") as client:
        yield client


def disagreement(line: Sequence[str], table: Table, client: Client) -> str | None:
    """Return how a reading of a line differs from the client's own."""
    meant = client.outcome(line)
    try:
        parsed = parse(line, table)
    except BadInputError as error:
        return f"not understood ({error.brief}), but: {meant}" if meant.requests else None
    written = write(parsed)
    if (again := client.outcome(written)) != meant:
        return f"written as {shlex.join(written)}: {meant} became {again}"
    if parsed.asks_help and not meant.refused and (meant.requests or "Usage:" not in meant.stdout):
        return f"asks for no help: {meant}"
    if (created := meant.created) is not None:
        image, *command = parsed.operands
        if (created["Image"], created["Cmd"] or []) != (image, command):
            return f"another image or command: {created}"
    return None


def test_reading_a_line_and_writing_it_anew_changes_nothing(client: Client, windows: Client, table: Table) -> None:
    found = {}
    for text in [*DATA["options"], *DATA["lines"], *DATA["verbs"]]:
        judge = windows if any(option in text for option in WINDOWS) else client
        if (why := disagreement(shlex.split(text), table, judge)) is not None:
            found[text] = why
    assert found == {}


def test_every_client_here_is_as_its_table_says(version: str) -> None:
    assert difference(pick(version), read_texts(CLIENTS[version], run)) == ""


@needs_client
def test_all_clients_here_have_a_table() -> None:
    assert {short_version(version) for version in CLIENTS} <= set(known_versions())


# --- Every option in every form -----------------------------------------------------------------------------


def forms(option: Option) -> set[str]:
    """Return all forms that the client takes an option in; `…` is its value."""
    long, short = f"--{option.name}", f"-{option.short}"
    if not option.takes_value:
        return {long, f"{long}=…", *((short, f"{short}=…") if option.short else ())}
    return {f"{long}=…", f"{long} …", *((f"{short}…", f"{short}=…", f"{short} …") if option.short else ())}


def form(given: Given) -> str:
    return given.text if given.value is None else f"{given.text.removesuffix(given.value)}…"


@pytest.mark.parametrize("version", known_versions())
def test_the_lines_have_every_option_of_docker_run_in_every_form(version: str) -> None:
    table = load(version)
    wanted = {(option.same_as or option.name, each) for option in table.options("run") for each in forms(option)}
    seen = set()
    for text in DATA["options"]:
        try:
            parsed = parse(shlex.split(text), table)
        except BadInputError:
            continue  # an option of another version
        seen |= {(given.name, form(given)) for given in parsed.options}
    assert wanted - seen == set()


# --- Lines that nobody thought of ---------------------------------------------------------------------------

# These end at once before a daemon that only listens; `stats` would wait for more.
VERBS = ("create", "start", "restart", "stop", "kill", "rm", "exec", "cp", "commit", "rename", "update", "top", "wait")
ODD = ("", "-", "--", "-it", "--rm", "=", "a=b", "x y", "é", "true", "false", "--memory=1g", "ubuntu", "c:/x")
JUNK = ("--no-such", "-x", "--=x", "---", "-t=", "-it=maybe", "--help", "--help=false", "-h", "--", "-", "-fv", "-é")
BY_KIND = {"int": "3", "uint": "3", "uint16": "30", "bytes": "1g", "decimal": "1.5", "duration": "30s"}


def known_values() -> dict[str, str]:
    """Return a value that the client accepts for each option of docker run."""
    found: dict[str, str] = {}
    for version in known_versions():
        for text in DATA["options"]:
            line = shlex.split(text)
            if set(line) & {"--help"} or "--config" in line:
                continue
            try:
                options = parse(line, load(version)).options
            except BadInputError:
                continue
            found |= {given.name: given.value for given in options if given.value is not None}
    return found


KNOWN = known_values()


def words_of(option: Option) -> st.SearchStrategy[list[str]]:
    """Return all ways to write an option, with values that fit and others."""
    long, short = f"--{option.name}", f"-{option.short}"
    if not option.takes_value:
        ways = [[long], [f"{long}=true"], [f"{long}=false"], [f"{long}=x"]]
        return st.sampled_from(ways + ([[short], [f"{short}=0"], [f"{short}{short[1]}"]] if option.short else []))
    fitting = KNOWN.get(option.same_as or option.name, BY_KIND.get(option.kind or "", "x"))
    values = st.sampled_from([fitting] * 4 + list(ODD))
    letters = [lambda v: [f"{short}{v}"], lambda v: [f"{short}={v}"], lambda v: [short, v]] if option.short else []
    ways = [lambda v: [f"{long}={v}"], lambda v: [long, v], *letters]
    return st.tuples(st.sampled_from(ways), values).map(lambda both: both[0](both[1]))


def clusters(options: Sequence[Option]) -> st.SearchStrategy[list[str]]:
    """Return switches in one word, perhaps with a letter behind them that takes a value."""
    switches = sorted(option.short for option in options if option.short and not option.takes_value)
    valued = sorted(option.short for option in options if option.short and option.takes_value)
    ends = [[""], *([f"{letter}3"] for letter in valued), *([letter, "3"] for letter in valued)]
    ends += [[f"{letter}=3"] for letter in valued]
    many = st.lists(st.sampled_from(switches or ["x"]), min_size=1, max_size=4).map("".join)
    return st.tuples(many, st.sampled_from(ends)).map(lambda both: [f"-{both[0]}{both[1][0]}", *both[1][1:]])


def lines(table: Table) -> st.SearchStrategy[list[str]]:
    """Return lines of all verbs: options in any form, operands, and words that make the client stumble."""
    return st.sampled_from(["create"] * len(VERBS) + list(VERBS)).flatmap(lambda verb: lines_of(verb, table))


def lines_of(verb: str, table: Table) -> st.SearchStrategy[list[str]]:
    options = [option for option in table.options(verb) if option.name not in {"cpu-count", "help"}]
    one = st.sampled_from(options).flatmap(words_of) if options else st.just(["-x"])
    operand = st.sampled_from(["ubuntu", "a", "b:/x", "-"]).map(lambda word: [word])
    junk = st.sampled_from(JUNK).map(lambda word: [word])
    piece = st.one_of(one, one, one, one, clusters(options), operand, junk)
    globals_ = [
        [],
        [],
        ["-D"],
        ["-lerror"],
        ["--context", "default"],
        ["--help"],
        ["container"],
        ["container", "--help"],
    ]
    before = st.sampled_from(globals_)
    pieces = st.tuples(st.lists(one, max_size=6), st.lists(piece, max_size=3), st.lists(operand, max_size=3))
    words = pieces.map(lambda three: [word for part in three for each in part for word in each])
    return st.tuples(before, words).map(lambda both: [*both[0], verb, *both[1]])


def test_lines_made_at_random_are_read_as_the_client_reads_them(client: Client, table: Table) -> None:
    @settings(max_examples=80)
    @given(line=lines(table))
    def holds(line: list[str]) -> None:
        assert disagreement(line, table, client) is None

    holds()
