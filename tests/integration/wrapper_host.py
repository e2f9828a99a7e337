"""A host below a folder for the docker command's wrapper: real are bash, the helper, the client and the engine.

The caller is whom SUDO_UID names, as behind sudo; the control groups are files that a test lays down.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.integration.dockers import docker, engine_socket

import ds01
from ds01.core.events import Event, read_events
from ds01.core.paths import HostPaths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

CHECKOUT: Final = Path(__file__).resolve().parents[2]
SCRIPTS: Final = Path(ds01.__file__).parents[1]
SHIPPED: Final = CHECKOUT / "generated/ds01/root"
# Accounts that every Debian has, as students.
ALICE, BOB, ADMIN = "games", "www-data", "daemon"
HELPER: Final = """#!{python} -I
import sys
from pathlib import Path
sys.path.insert(0, {scripts!r})
from ds01.runtime.commands.docker_helper import main
sys.exit(main(Path({root!r})))
"""


def uid_of(account: str) -> int:
    return pwd.getpwnam(account).pw_uid


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class WrapperHost:
    """The host, and docker as its users call it."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def paths(self) -> HostPaths:
        return HostPaths(self.folder / "root")

    @property
    def wrapper(self) -> Path:
        return self.folder / "docker"

    @property
    def helper(self) -> Path:
        return self.folder / "helper"

    def argv(self, *words: str) -> list[str]:
        return [os.fspath(self.wrapper), *words]

    def env(self, account: str = ALICE, **more: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "DOCKER_HOST": f"unix://{self.paths.engine.readlink()}",
            "HOME": os.fspath(self.folder),
            "LANG": "C.UTF-8",
            "SUDO_UID": str(uid_of(account)),
            **self.environment,
            **more,
        }

    def docker(self, *words: str, account: str = ALICE, data: str | None = None, **more: str) -> Said:
        """Run docker through the wrapper, as an account."""
        done = subprocess.run(
            self.argv(*words),
            env=self.env(account, **more),
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def must(self, *words: str, account: str = ALICE, **more: str) -> str:
        said = self.docker(*words, account=account, **more)
        assert said.code == 0, said.err
        return said.out.strip()

    def gpu(self, *words: str, account: str = ADMIN) -> str:
        """Run `ds01 gpu` as an account behind sudo."""
        argv = [sys.executable, "-P", "-m", "ds01.cli", "gpu", *words, "--root", os.fspath(self.paths.root)]
        environment = self.env(account, PYTHONPATH=os.fspath(SCRIPTS))
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def forget_root(self) -> None:
        """Let the docker command take root, who runs these tests, for anybody: root's own lists show all."""
        text = self.wrapper.read_text()
        assert text.count("((EUID != 0)) || return 0") == 1
        self.wrapper.write_text(text.replace("((EUID != 0)) || return 0", ""))

    def change_policy(self, **sections: Mapping[str, Any]) -> None:
        """Give parts of the policy other values: of a section, those named."""
        document = json.loads(self.paths.policy.read_text())
        for name, values in sections.items():
            document[name].update(values)
        self.paths.policy.write_text(json.dumps(document))

    def override(self, account: str = ALICE, **limits: Any) -> None:
        """Give an account limits of its own."""
        document = json.loads(self.paths.policy.read_text())
        document["user_overrides"][account] = limits
        self.paths.policy.write_text(json.dumps(document))

    def rule(self, name: str, mode: str) -> None:
        """Give a rule another mode."""
        document = json.loads(self.paths.policy.read_text())
        document["enforcement"]["rules"][name] = mode
        self.paths.policy.write_text(json.dumps(document))

    def events(self) -> list[Event]:
        if not self.paths.events.exists():
            return []
        return [each for each in read_events(self.paths.events) if isinstance(each, Event)]


def make_host(folder: Path, engine: Path | None = None) -> WrapperHost:
    """Lay a host down.

    Args:
        engine: its socket; None for the one that every client asks.
    """
    host = WrapperHost(folder)
    paths = host.paths
    for path in (paths.policy, paths.events, paths.gpu_state, paths.docker_client, paths.docker_client_seen):
        path.parent.mkdir(parents=True, exist_ok=True)
    document = json.loads((SHIPPED / "etc/ds01/policy.json").read_text())
    document["users"] = {ALICE: {"group": "student"}, BOB: {"group": "student"}}
    document["access_control"]["admin_users"] = [ADMIN]
    document["user_overrides"] = {}
    document["host"]["cpus"] = os.cpu_count()
    paths.policy.write_text(json.dumps(document))
    client = shutil.which("docker")
    assert client is not None
    paths.docker_client.symlink_to(client)
    paths.engine.symlink_to(engine or engine_socket())
    host.helper.write_text(HELPER.format(python=sys.executable, scripts=os.fspath(SCRIPTS), root=os.fspath(paths.root)))
    text = (SHIPPED / "usr/local/bin/docker").read_text()
    for old, new in (
        ("/usr/bin/docker", paths.docker_client),
        ("/run/docker.sock", paths.engine),
        ("/usr/local/sbin/ds01-docker-helper", host.helper),
        ("/run/ds01/lists", paths.lists),
    ):
        assert text.count(old) == 1
        text = text.replace(old, os.fspath(new))
    host.wrapper.write_text(text)
    for program in (host.helper, host.wrapper):
        program.chmod(0o755)
    return host


def inspected(name: str) -> dict[str, Any]:
    """Return what the engine says of a container."""
    found = json.loads(docker("inspect", name))
    assert isinstance(found[0], dict)
    return found[0]


def remove(names: Iterable[str]) -> None:
    for name in names:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True, check=False, timeout=60)


def until(true: Callable[[], bool], *, seconds: float = 60) -> None:
    """Wait for something that happens by itself."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
