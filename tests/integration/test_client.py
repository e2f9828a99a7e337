"""The real docker client as the judge: a line that was read and written anew has to mean the same to it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from tests.integration.clients import MORE_CLIENTS, Client, found_clients, installed, watched

from ds01.core.errors import BadInputError
from ds01.core.process import run
from ds01.runtime.client.arguments import parse, write
from ds01.runtime.client.helptext import difference, short_version
from ds01.runtime.client.realclient import read_texts, read_version
from ds01.runtime.client.tables import Table, load, known_versions, pick

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CLIENTS = found_clients()
DATA = yaml.safe_load((Path(__file__).parents[1] / "data/client/run_lines.yaml").read_text(encoding="utf-8"))
LINES = [*DATA["options"], *DATA["lines"]]
WINDOWS = ("--cpu-count", "--cpu-percent", "--io-max")

pytestmark = pytest.mark.skipif(not CLIENTS, reason=f"no docker client here, nor in {MORE_CLIENTS}")


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
    if parsed.asks_help and (meant.requests or "Usage:" not in meant.stdout + meant.stderr):
        return f"asks for no help: {meant}"
    if (created := meant.created) is not None:
        image, *command = parsed.operands
        if (created["Image"], created["Cmd"] or []) != (image, command):
            return f"another image or command: {created}"
    return None


def test_reading_a_line_and_writing_it_anew_changes_nothing(
    client: Client, windows: Client, table: Table
) -> None:
    found = {}
    for text in LINES:
        judge = windows if any(option in text for option in WINDOWS) else client
        if (why := disagreement(shlex.split(text), table, judge)) is not None:
            found[text] = why
    assert found == {}


def test_every_client_here_is_as_its_table_says(version: str) -> None:
    assert difference(pick(version), read_texts(CLIENTS[version], run)) == ""
