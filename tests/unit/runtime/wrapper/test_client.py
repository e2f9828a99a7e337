"""The installed client is asked for its version once, and again when it is another file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ds01.core.paths import HostPaths
from ds01.runtime.client.realclient import ClientError
from ds01.runtime.wrapper.client import installed_table

CLIENT = "#!/bin/sh\necho asked >>{log}\necho 'Docker version {version}, build abc'\n"


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    paths = HostPaths(tmp_path)
    for path in (paths.docker_client, paths.docker_client_seen):
        path.parent.mkdir(parents=True, exist_ok=True)
    return paths


def install(paths: HostPaths, version: str) -> None:
    new = paths.docker_client.with_name("new")
    new.write_text(CLIENT.format(log=paths.root / "log", version=version))
    new.chmod(0o755)
    new.replace(paths.docker_client)


def asked(paths: HostPaths) -> int:
    return len((paths.root / "log").read_text().splitlines())


def test_it_is_asked_once_for_each_file(paths: HostPaths):
    install(paths, "20.10.24+dfsg1")
    assert [installed_table(paths).version for _ in range(3)] == ["20.10"] * 3
    assert asked(paths) == 1
    install(paths, "28.2.2")
    assert [installed_table(paths).version for _ in range(2)] == ["28.2"] * 2
    assert asked(paths) == 2
    assert os.stat(paths.docker_client_seen).st_mode & 0o777 == 0o644  # noqa: PTH116


def test_an_unknown_version_is_read_by_the_nearest_table(paths: HostPaths):
    install(paths, "27.5.1")
    assert installed_table(paths).version == "26.1"


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 1}', '{"version": 2, "client": "20.10"}'])
def test_a_cache_that_is_of_no_use_is_made_anew(paths: HostPaths, text: str):
    install(paths, "28.2.2")
    paths.docker_client_seen.write_text(text)
    assert installed_table(paths).version == "28.2"
    assert json.loads(paths.docker_client_seen.read_text())["client"] == "28.2.2"


def test_without_a_folder_for_the_cache_it_is_asked_each_time(paths: HostPaths):
    install(paths, "28.2.2")
    paths.docker_client_seen.parent.rmdir()
    assert [installed_table(paths).version for _ in range(2)] == ["28.2"] * 2
    assert asked(paths) == 2


def test_what_is_no_client_is_told(paths: HostPaths):
    paths.docker_client.write_text("#!/bin/sh\nexit 1\n")
    paths.docker_client.chmod(0o755)
    with pytest.raises(ClientError):
        installed_table(paths)


def test_where_there_is_none_it_is_told(paths: HostPaths):
    with pytest.raises(ClientError) as caught:
        installed_table(paths)
    assert caught.value.render() == (
        f"there is no docker client at {paths.docker_client}\nNo such file or directory\n"
        "To fix: an administrator installs it: sudo apt install docker-cli"
    )
