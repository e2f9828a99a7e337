"""A client whose options DS01 does not know is told with every difference; the installed one is known."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ds01.core.process import run
from ds01.runtime.client.fits import OtherOptionsError, check_client
from ds01.runtime.client.realclient import ClientError
from ds01.runtime.client.tables import UnknownClientError, known_versions

CLIENT = shutil.which("docker")
# The real client with another version, or with an option more or less.
STAND_IN = """#!/bin/sh
[ "$1" != --version ] || {{ echo 'Docker version {version}, build abc'; exit; }}
{client} "$@" | sed '{edit}'
"""


def stand_in(folder: Path, version: str, edit: str = "") -> Path:
    path = folder / "docker"
    path.write_text(STAND_IN.format(client=CLIENT, version=version, edit=edit))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module")
def version() -> str:
    assert CLIENT is not None, "these tests need the docker client"
    return run([CLIENT, "version", "--format", "{{.Client.Version}}"]).stdout.strip()


def test_the_installed_client_is_one_that_is_known(version: str):
    assert CLIENT is not None
    assert check_client(Path(CLIENT), run) == version


def test_a_version_without_a_table_is_told_with_how_it_differs(version: str, tmp_path: Path):
    docker = stand_in(tmp_path, "99.1.0", "s/--memory bytes /--remember bytes /")
    with pytest.raises(UnknownClientError) as caught:
        check_client(docker, run)
    words = caught.value.render()
    assert words.startswith("DS01 has no table of options for docker 99.1.0\n")
    assert f"compared with {known_versions()[-1]}:" in words
    assert "--remember bytes is not in the table" in words
    assert "./inv client-table" in words


def test_a_client_that_takes_other_options_than_its_table_says_is_told(version: str, tmp_path: Path):
    docker = stand_in(tmp_path, version, "s/--memory bytes /--remember bytes /")
    with pytest.raises(OtherOptionsError) as caught:
        check_client(docker, run)
    assert caught.value.brief.startswith(f"{docker} {version} takes other options than DS01's table for docker ")
    assert caught.value.details is not None
    assert "  docker run: -m, --memory bytes is not in the client's help" in caught.value.details.splitlines()


def test_hundreds_of_differences_are_not_all_listed(version: str, tmp_path: Path):
    with pytest.raises(OtherOptionsError, match="takes other options") as caught:
        check_client(stand_in(tmp_path, version, "s/^  *-.*//"), run)
    assert caught.value.details is not None
    assert len(caught.value.details.splitlines()) == 31
    assert caught.value.details.splitlines()[-1].endswith(" more")


def test_what_is_no_docker_client_is_told(tmp_path: Path):
    with pytest.raises(ClientError):
        check_client(tmp_path / "none", run)
