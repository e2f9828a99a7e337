"""Real docker clients, and what one of them makes of a command line, seen by a daemon that only listens."""

from __future__ import annotations

import os
import pty
import shutil
import stat
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engine.packages import cache_folder
from tests.integration.recorder import Recorder, Request, recording

from ds01.core.process import run
from ds01.runtime.client.realclient import read_version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# Names a folder with more clients (docker-20.10, docker-26.1), as `dpkg -x` takes them out of Debian's packages.
MORE_CLIENTS = "DS01_DOCKER_CLIENTS"
# Go gives out a map's keys in any order, and the client collects these in maps.
_IN_NO_ORDER = ("Env", "Binds")
# Sent beside the others, so before or after the client ends.
_AT_ANY_TIME = ("/wait", "/attach", "/resize")


def installed() -> Path | None:
    found = shutil.which("docker")
    return Path(found) if found else None


def found_clients() -> dict[str, Path]:
    """Return version and path of every client there is; fetches none."""
    folder = os.environ.get(MORE_CLIENTS)
    paths = [*([one] if (one := installed()) else []), *(sorted(Path(folder).glob("docker*")) if folder else [])]
    paths += sorted(cache.glob("packages-*/usr/bin/docker")) if _is_ours(cache := cache_folder()) else []
    return {read_version(path, run): path for path in reversed(paths)}


def _is_ours(folder: Path) -> bool:
    """Tell whether nobody else could have laid a program there."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


@dataclass(frozen=True)
class Outcome:
    """What became of a line.

    Attributes:
        refused: whether the client ended with an error.
        requests: what it asked the daemon for, in no order.
    """

    refused: bool
    requests: tuple[Request, ...]
    stdout: str = field(compare=False)
    stderr: str = field(compare=False)

    @property
    def created(self) -> dict[str, object] | None:
        """The container that was asked for."""
        bodies = [request.body for request in self.requests if request.target.startswith("/containers/create")]
        assert len(bodies) < 2
        return bodies[0] if bodies else None


class Client:
    """One client, in a folder of its own with the files that lines name."""

    def __init__(
        self, docker: Path, recorder: Recorder, folder: Path, terminal: int, more: Mapping[str, str] | None = None
    ) -> None:
        self._more = more or {}
        self.docker = docker
        self._recorder = recorder
        self._folder = folder
        self._terminal = terminal
        self._seen: dict[tuple[str, ...], Outcome] = {}

    def outcome(self, line: Sequence[str]) -> Outcome:
        """Run a line, once only; every run finds the same files."""
        words = tuple(line)
        if words not in self._seen:
            self._seen[words] = self._run(words)
        return self._seen[words]

    def _run(self, words: tuple[str, ...]) -> Outcome:
        shutil.rmtree(self._folder, ignore_errors=True)
        (self._folder / "config").mkdir(parents=True)
        (self._folder / "vars.env").write_text("A=1\nB=two words\nFOO\n")
        (self._folder / "labels").write_text("team=vision\n")
        (self._folder / "nv.env").write_text("NVIDIA_VISIBLE_DEVICES=all\nCUDA_VISIBLE_DEVICES=0\n")
        (self._folder / "our.labels").write_text("ds01.user=bob\nds01.gpu.uuids=GPU-1\nds01.gpu.slots=0\nds01.x=1\n")
        (self._folder / "seccomp.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}\n')
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": os.fspath(self._folder),
            "FOO": "from outside",
            "DOCKER_HOST": f"unix://{self._recorder.socket_path}",
            **self._more,
        }
        done = subprocess.run(
            [self.docker, *words],
            stdin=self._terminal,
            capture_output=True,
            cwd=self._folder,
            env=environment,
            timeout=30,
            check=False,
        )
        taken = [each for each in self._recorder.take() if not each.target.partition("?")[0].endswith(_AT_ANY_TIME)]
        requests = tuple(sorted((each._replace(body=_comparable(each.body)) for each in taken), key=repr))
        return Outcome(done.returncode != 0, requests, *(text.decode() for text in (done.stdout, done.stderr)))


def _comparable(body: object, name: str = "") -> object:
    """Return what of a body is the same whenever a line is run; an archive has times in it."""
    if isinstance(body, bytes):
        return bool(body)
    if isinstance(body, dict):
        return {name: _comparable(value, name) for name, value in body.items()}
    return sorted(body) if name in _IN_NO_ORDER and isinstance(body, list) else body


@contextmanager
def watched(docker: Path, folder: Path, os_type: str = "linux") -> Iterator[Client]:
    """Give a client to be watched; its standard input is a terminal."""
    above, below = pty.openpty()
    try:
        with recording(folder / f"{os_type}.sock", os_type) as recorder:
            yield Client(docker, recorder, folder / os_type, below)
    finally:
        os.close(above)
        os.close(below)
