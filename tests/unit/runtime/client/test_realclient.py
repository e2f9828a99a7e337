"""Asking a client: what is run, what is believed, and what is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.runtime.client.helptexts import texts_of

from ds01.core.process import run
from ds01.runtime.client.helptext import text_of
from ds01.runtime.client.realclient import ClientError, read_texts, read_version, write_table
from ds01.runtime.client.tables import load

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "Docker version 28.2.7+dfsg1, build e6534b4"
# A client that knows no daemon: what it prints lies in files, and it refuses what it was not to be asked.
SCRIPT = """#!/bin/sh
[ "$*" = --version ] && exec cat {folder}/version
[ "$1 $2" = "--config=/nonexistent --host=unix:///dev/null" ] || exit 3
[ -z "$DOCKER_HOST$DOCKER_CONTEXT" ] || exit 4
shift 2
exec cat "{folder}/$*"
"""


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    return client(tmp_path, VERSION)


def client(folder: Path, version: str) -> Path:
    (folder / "version").write_text(f"{version}\n")
    for asked, text in texts_of(load("28.2")).items():
        (folder / f"{asked} --help".lstrip()).write_text(text)
    path = folder / "docker"
    path.write_text(SCRIPT.format(folder=folder))
    path.chmod(0o755)
    return path


def test_a_client_says_its_version_and_its_help(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://somewhere")
    assert read_version(docker, run) == "28.2.7+dfsg1"
    assert read_texts(docker, run) == texts_of(load("28.2"))


def test_its_table_is_written(docker: Path, tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    assert write_table(docker, run, tables) == tables / "28.2.json"
    assert (tables / "28.2.json").read_text() == text_of(load("28.2"))


@pytest.mark.parametrize("said", ["podman version 4.3.1", "", "x Docker version 28.2.2, build y", "Docker version "])
def test_what_is_no_docker_client_is_said(tmp_path: Path, said: str) -> None:
    path = client(tmp_path, said)
    with pytest.raises(ClientError) as caught:
        read_version(path, run)
    assert (caught.value.brief, caught.value.resolution) == (
        f"{path} does not say its version",
        "name the docker client itself, not a wrapper",
    )


def test_a_client_that_cannot_be_run_is_said(tmp_path: Path) -> None:
    path = tmp_path / "docker"
    for ask, brief in ((read_version, "does not say its version"), (read_texts, "cannot be asked for its help")):
        with pytest.raises(ClientError) as caught:
            ask(path, run)
        assert (caught.value.brief, caught.value.details) == (f"{path} {brief}", f"{path} is not installed")


def test_a_verb_that_the_client_does_not_know_is_for_the_reader_to_find(docker: Path, tmp_path: Path) -> None:
    (tmp_path / "container wait --help").unlink()
    assert read_texts(docker, run) == texts_of(load("28.2")) | {"container wait": ""}
