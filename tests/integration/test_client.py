"""The real docker client as the judge: a line that was read and written anew has to mean the same to it.

All clients there are judge: the installed one, those in the folder that DS01_DOCKER_CLIENTS names, and that of the
tests' own engine.
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
from ds01.runtime.client.verbs import ENDS_AT_OPERAND

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

# Verbs that end at once before a daemon that only listens, with operands that each accepts.
OPERANDS = {
    "create": ("ubuntu", "sh", "-c", "--rm"),
    "restart": ("a", "b"),
    "stop": ("a", "b"),
    "kill": ("a", "b"),
    "rm": ("a", "b"),
    "exec": ("a", "ls", "-la", "--", "-m"),
    "cp": ("a:/x", "."),
    "commit": ("a", "b"),
    "update": ("a", "b"),
    "top": ("a", "-ef", "--", "-x"),
    "inspect": ("a", "b"),
    "ps": (),
}
# What is as good a value as any other where the client takes any text.
ODD = ("", "-", "--", "-it", "--rm", "=", "a=b", "x y", "é", "true", "--memory=1g", "c:/x")
JUNK = (
    "--no-such",
    "-x",
    "--=x",
    "---",
    "-t=",
    "-it=maybe",
    "--help",
    "--help=false",
    "-h",
    "--",
    "-",
    "-fv",
    "-é",
    "",
)
BY_KIND = {"int": "3", "uint": "3", "uint16": "30", "bytes": "1g", "decimal": "1.5", "duration": "30s"}
GLOBALS = ([], ["-D"], ["-lerror"], ["--context", "default"], ["--help"], ["container"], ["container", "--help=0"])
# On their own: the client refuses Windows' options, and asks for help alone.
ALONE = ("cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops", "help")


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


@st.composite
def words_of(draw: st.DrawFn, option: Option) -> list[str]:
    """Return one option in any of its forms."""
    long, short = f"--{option.name}", f"-{option.short}"
    if not option.takes_value:
        ways = [[long], [f"{long}=true"], [f"{long}=false"]]
        return draw(st.sampled_from(ways + ([[short], [f"{short}=0"], [f"{short}{short[1]}"]] if option.short else [])))
    value = KNOWN.get(option.same_as or option.name, BY_KIND.get(option.kind or "", "x"))
    if option.kind == "string" and draw(st.integers(0, 4)) == 4:
        value = draw(st.sampled_from(ODD))
    ways = [[f"{long}={value}"], [long, value]]
    letters = [[f"{short}{value}"], [f"{short}={value}"], [short, value]] if option.short else []
    return draw(st.sampled_from(ways + letters))


@st.composite
def cluster(draw: st.DrawFn, options: Sequence[Option]) -> list[str]:
    """Return switches in one word, perhaps with a letter behind them that takes a value."""
    switches = [option.short for option in options if option.short and not option.takes_value] or [""]
    first, *more = draw(st.sampled_from([option for option in options if option.short]).flatmap(words_of))
    letters = "".join(draw(st.lists(st.sampled_from(switches), max_size=3)))
    return [f"-{letters}{first[1:]}", *more] if not first.startswith("--") else [first, *more]


@st.composite
def lines(draw: st.DrawFn, table: Table) -> list[str]:
    """Return a line: options in any form, operands of its verb, now and then what makes the client stumble."""
    verb = draw(st.sampled_from(["create"] * len(OPERANDS) + list(OPERANDS)))
    options = [option for option in table.options(verb) if option.name not in ALONE]
    some = st.lists(st.sampled_from(options), min_size=1, max_size=6, unique=True) if options else st.just([])
    pieces = [draw(words_of(each)) for each in draw(some)]
    if any(option.short for option in options):
        pieces += draw(st.lists(cluster(options), max_size=2))
    if draw(st.integers(0, 9)) == 9:
        pieces.insert(draw(st.integers(0, len(pieces))), [draw(st.sampled_from(JUNK))])
    if verb not in ENDS_AT_OPERAND:
        # Options may follow operands.
        pieces += [[word] for word in OPERANDS[verb]]
        pieces = draw(st.permutations(pieces))
    else:
        pieces.append(list(OPERANDS[verb]))
    return [*draw(st.sampled_from(GLOBALS)), verb, *(word for piece in pieces for word in piece)]


def test_lines_made_at_random_are_read_as_the_client_reads_them(client: Client, table: Table) -> None:
    @settings(max_examples=100)
    @given(line=lines(table))
    def holds(line: list[str]) -> None:
        assert disagreement(line, table, client) is None

    holds()
