"""A host with GPUs below a folder, for `ds01 gpu` as whole processes.

Real are the programs, the driver's binding, the state file and the socket on which an engine answers; described are the
hardware and the containers.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.fake_nvml.fixture import FakeNvml
from tests.fake_nvml.samples import shipped_host
from tests.unit.runtime.gpu.engines import engine_of

import ds01
from ds01.core.paths import HostPaths
from ds01.runtime.gpu.ledger import Ledger
from ds01.runtime.gpu.record import parse_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CHECKOUT: Final = Path(__file__).resolve().parents[2]
SCRIPTS: Final = Path(ds01.__file__).parents[1]
SHIPPED: Final = CHECKOUT / "generated/ds01/root/etc/ds01/policy.json"

# Becomes an ordinary account once all that a command may import is there: the interpreter may lie where it cannot read.
AS_ACCOUNT: Final = """
import sys; sys.path.insert(0, sys.argv[1])
import encodings.ascii, encodings.latin_1, json, logging, os, pynvml, signal, socket, subprocess, threading
import ds01.cli, ds01.runtime.commands.gpu
import ds01.runtime.commands.bare_metal, ds01.runtime.commands.processes, ds01.runtime.commands.who
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
sys.exit(ds01.cli.main(sys.argv[3:]))
"""

# What the page's commands call: sudo as root calls it, and a client that knows four words.
SUDO: Final = '#!/bin/sh\nSUDO_UID=0 exec "$@"\n'
DS01: Final = """#!/bin/sh
exec {python} -P -m ds01.cli "$@" --root {root}
"""
DOCKER: Final = """#!{python} -I
import json, sys
from pathlib import Path
sys.path[:0] = [{checkout!r}, {scripts!r}]
from tests.unit.runtime.gpu.engines import inspected
verb, words = sys.argv[1], sys.argv[2:]
name = words[words.index("--name") + 1] if "--name" in words else words[-1]
path = Path({containers!r}) / (name + ".json")
if verb == "run":
    options = dict(word.split("=", 1) for word in words if word.startswith("--gpus="))
    labels = dict(word.split("=", 2)[1:] for word in words if word.startswith("--label="))
    devices = options["--gpus"].strip('"').removeprefix("device=").split(",")
    path.write_text(json.dumps(inspected(name, devices=devices, labels=labels)))
elif verb == "rm":
    path.unlink()
else:
    there = json.loads(path.read_text())
    devices = there["HostConfig"]["DeviceRequests"][0]["DeviceIDs"]
    status = {{"stop": "exited", "start": "running"}}[verb]
    path.write_text(json.dumps(inspected(name, labels=there["Config"]["Labels"], devices=devices, status=status)))
"""


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON object that it printed, and nothing else."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        assert found["version"] == 1
        return found


@dataclass(frozen=True)
class GpuHost:
    """The host, and its commands."""

    folder: Path
    nvml: FakeNvml

    @property
    def paths(self) -> HostPaths:
        return HostPaths(self.folder / "root")

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": os.fspath(SCRIPTS),
            "LANG": "C.UTF-8",
            **self.nvml.environment,
        }

    def argv(self, *words: str, uid: int | None = None) -> list[str]:
        return self.line("gpu", *words, uid=uid)

    def line(self, *words: str, uid: int | None = None) -> list[str]:
        """Return `ds01` with words, as root or as an account."""
        tail = [*words, "--root", os.fspath(self.paths.root)]
        if uid is None:
            return [sys.executable, "-P", "-m", "ds01.cli", *tail]
        return [sys.executable, "-P", "-c", AS_ACCOUNT, os.fspath(SCRIPTS), str(uid), *tail]

    def gpu(self, *words: str, uid: int | None = None, sudo: str | None = None) -> Said:
        """Run `ds01 gpu` as root, as an account, or as root behind sudo of an account."""
        return self.ds01("gpu", *words, uid=uid, sudo=sudo)

    def ds01(self, *words: str, uid: int | None = None, sudo: str | None = None) -> Said:
        """Run any sub-command of `ds01` so."""
        environment = self.environment | ({} if sudo is None else {"SUDO_UID": sudo})
        done = subprocess.run(
            self.line(*words, uid=uid), env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Said(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def start(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Run `ds01 gpu` beside the block, and no longer."""
        pipe = subprocess.PIPE
        with subprocess.Popen(self.argv(*words), env=self.environment, stdout=pipe, stderr=pipe, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def shell(self, name: str, script: str) -> Said:
        done = subprocess.run(
            [name, "-ec", script], env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )
        return Said(done.returncode, done.stdout, done.stderr)

    @property
    def ledger(self) -> Ledger:
        return parse_ledger(self.paths.gpu_state.read_bytes()) if self.paths.gpu_state.exists() else Ledger()

    @property
    def held(self) -> dict[str, tuple[str | None, tuple[str, ...]]]:
        return {name: (each.user, each.slots) for name, each in self.ledger.allocations.items()}

    def events(self) -> list[dict[str, Any]]:
        if not self.paths.events.exists():
            return []
        return [json.loads(line) for line in self.paths.events.read_text().splitlines()]

    @property
    def types(self) -> list[str]:
        return [each["event_type"] for each in self.events()]

    def container(self, description: Mapping[str, object]) -> None:
        """Put a container into the engine, or in the place of the one with its name."""
        self._container(str(description["Name"]).removeprefix("/")).write_text(json.dumps(description))

    def remove(self, name: str) -> None:
        """Take a container away."""
        self._container(name).unlink()

    def _container(self, name: str) -> Path:
        return self.folder / "containers" / f"{name}.json"

    def containers(self) -> list[dict[str, object]]:
        found = sorted((self.folder / "containers").glob("*.json"))
        return [json.loads(path.read_text()) for path in found]


@contextmanager
def gpu_host(folder: Path, library: Path) -> Iterator[GpuHost]:
    """Make the host the shipped inventory describes, with an engine that has no container yet.

    Args:
        folder: that everybody may enter, as everybody may look at GPUs.
        library: the fake driver's.
    """
    for name in (
        "root/etc/ds01",
        "root/run/ds01",
        "root/var/lib/ds01",
        "root/var/log/ds01",
        "bin",
        "containers",
        "lib",
    ):
        (folder / name).mkdir(parents=True)
    host = GpuHost(folder, FakeNvml(Path(shutil.copy(library, folder / "lib")), folder / "hardware.txt"))
    host.nvml.write(shipped_host())
    host.paths.policy.write_bytes(SHIPPED.read_bytes())
    values = {
        "python": sys.executable,
        "root": host.paths.root,
        "checkout": os.fspath(CHECKOUT),
        "scripts": os.fspath(SCRIPTS),
        "containers": os.fspath(folder / "containers"),
    }
    for name, text in (("sudo", SUDO), ("ds01", DS01.format(**values)), ("docker", DOCKER.format(**values))):
        (host.bin / name).write_text(text)
        (host.bin / name).chmod(0o755)
    with engine_of(host.paths.engine, host.containers):
        yield host
