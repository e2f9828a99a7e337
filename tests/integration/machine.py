"""A whole machine to deploy to: a scratch root that really is `/` for the programs in it, seen by nobody else.

`./inv` and all it starts run under chroot, in a mount namespace of their own that ends with them. Real are the
kernel, Python, systemd-analyze, systemd-tmpfiles, bash and what the docker client tells of itself; systemctl and all
else of docker are FAKE below, because a second systemd cannot run here. The fake systemctl reads unit files as systemd
does: what is in effect is what was there at the last daemon-reload.
"""

from __future__ import annotations

import io
import os
import pty
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from ds01.program import main

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PYTHON: Final = Path(sys.executable).resolve()
# The venv's interpreter by its name in the checkout, as ./inv starts it.
VENV_PYTHON: Final = CHECKOUT / ".venv" / "bin" / "python"
needs_venv = pytest.mark.skipif(
    not os.access(VENV_PYTHON, os.X_OK), reason="there is no .venv to run (run ./inv --list once)"
)
WANTS: Final = "etc/systemd/system/multi-user.target.wants/ds01-recover.service"
FAKED: Final = frozenset({"docker", "dockerd", "systemctl", "systemd-tmpfiles"})

FAKE: Final = r"""
import json, os, shutil, signal, sys
from pathlib import Path

name, words = Path(sys.argv[0]).name, sys.argv[1:]
state = Path("/fake")
line = " ".join([name, *words])
if not {"show", "list-units"} & set(words) and words[:2] != ["is-active", "--"] and name != "docker":
    with (state / "log").open("a") as log:
        log.write(line + "\n")
for trap in sorted(state.glob("trap.*")):
    word, what, count = trap.read_text().split()
    if word in words and int(count):
        trap.write_text(f"{word} {what} {int(count) - 1}")
        if what == "kill":
            os.kill(os.getppid(), signal.SIGKILL)
        sys.exit(f"{name} is told to fail")

def spans(usec):
    parts = []
    for unit, size in (("d", 86400 * 10**6), ("h", 3600 * 10**6), ("min", 60 * 10**6), ("s", 10**6), ("ms", 1000)):
        if usec >= size:
            parts.append(f"{usec // size}{unit}")
            usec %= size
    return " ".join(parts) or "0"

def directives(file):
    rows = (row.split("=", 1) for row in file.read_text().splitlines() if "=" in row and row[0] not in "#;")
    return {key: value for key, value in rows}

def size(text):
    if text[-1] in "KMGT":
        return str(int(text[:-1]) * 1024 ** ("KMGT".index(text[-1]) + 1))
    return text

def show(unit):
    loaded = state / "loaded"
    stem = unit.removesuffix(".slice").split("-")
    prefixes = ["-".join(stem[:n]) + "-" for n in range(1, len(stem))]
    drop_ins = {}
    for folder in [*prefixes, unit.removesuffix(".slice")]:
        for file in sorted((loaded / f"{folder}.slice.d").glob("*.conf")):
            drop_ins[file.name] = file
    files = [loaded / unit, *(drop_ins[key] for key in sorted(drop_ins))]
    found = {}
    for file in files:
        if file.is_file():
            found |= directives(file)
    quota = found.get("CPUQuota", "")
    values = {
        "Id": unit,
        "CPUQuotaPerSecUSec": spans(int(quota[:-1]) * 10_000) if quota else "infinity",
        "CPUWeight": found.get("CPUWeight", "[not set]"),
        "IOWeight": found.get("IOWeight", "[not set]"),
        "TasksMax": found.get("TasksMax", "infinity"),
        "NeedDaemonReload": "no",
    }
    values |= {key: size(found.get(key, "infinity")) for key in ("MemoryMax", "MemoryHigh", "MemorySwapMax")}
    for file in files:
        now = Path("/etc/systemd/system") / file.relative_to(loaded)
        if not now.is_file() or not file.is_file() or now.stat().st_mtime_ns != file.stat().st_mtime_ns:
            values["NeedDaemonReload"] = "yes" if now.exists() or file.exists() else "no"
    forced = state / "forced.json"
    if forced.exists():
        values |= json.loads(forced.read_text()).get(unit, {})
    print("\n".join(f"{key}={value}" for key, value in values.items()), end="\n\n")

if name == "systemctl" and words[:2] == ["is-active", "--"]:
    active = (state / "active").read_text().split() if (state / "active").exists() else []
    print(*("active" if unit in active else "inactive" for unit in words[2:]), sep="\n")
elif name == "systemctl" and words[0] in {"restart", "stop"} and words[1].endswith(".service"):
    path = state / "active"
    others = [unit for unit in (path.read_text().split() if path.exists() else []) if unit != words[1]]
    path.write_text("\n".join([*others, *([words[1]] if words[0] == "restart" else [])]))
elif name == "systemctl" and words[0] == "show":
    for unit in words[words.index("--") + 1:]:
        show(unit)
elif name == "systemctl" and words == ["daemon-reload"]:
    shutil.rmtree(state / "loaded", ignore_errors=True)
    shutil.copytree("/etc/systemd/system", state / "loaded", symlinks=True)
elif name == "systemd-tmpfiles":
    real = Path("/real/bin/systemd-tmpfiles")
    if real.exists():
        os.execv(real, [name, *words])
elif name == "docker" and {"--version", "--help"} & set(words):
    # Of itself the real client tells, wherever this machine has it.
    real = next(path for path in map(Path, ("/real/local/bin/docker", "/real/bin/docker")) if path.exists())
    os.execv(real, [name, *words])
elif name == "docker":
    answer = state / f"docker-{words[0]}"
    if not answer.exists():
        sys.exit("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")
    print(answer.read_text(), end="")
"""

# Where deploys put commands: never the real machine's.
OWN_FOLDERS: Final = ("usr/local/bin", "usr/local/sbin")

# Run by sh in a mount namespace of its own: $1 is the root, then SOURCE TARGET pairs up to --, then the command.
ENTER: Final = """
root=$1; shift
while [ "$1" != -- ]; do mount --rbind "$1" "$root$2"; shift 2; done
shift
exec chroot "$root" "$@"
"""

LIMITS: Final = """\
defaults:
  max_cpus: 1
  memory: {memory}
  shm_size: 1g
  pids_limit: 512
  max_containers: 2
default_group: student
groups:
  student:
    description: Students
    members: [{members}]
  admin:
    description: Admins
    members: [operator]
    max_containers: null
    aggregate: null
"""
HOST: Final = """\
cpus: 8
memory: 64G
reserve_cpus: 1
reserve_memory: 4G
engine_version: "20.10"
contact: help@example.org
gpus: []
"""


@dataclass(frozen=True)
class Ended:
    """How a run ended; on a terminal `out` has what went to stderr too."""

    code: int
    out: str
    err: str = ""


def write_inventory(folder: Path, *, members: str = "alice, bob", memory: str = "4g", host: str = "ds01") -> Path:
    """Write a small inventory and return its folder."""
    (folder / "hosts").mkdir(parents=True, exist_ok=True)
    (folder / "resource-limits.yaml").write_text(LIMITS.format(members=members, memory=memory))
    (folder / "hosts" / f"{host}.yaml").write_text(HOST)
    return folder


# The runtime takes seconds to build and has tests of its own.
WITH_RUNTIME: Final = frozenset({"plan", "deploy", "rollback"})


def without_runtime(words: Sequence[str]) -> list[str]:
    """Return the words of a task with --no-runtime where it is an option."""
    return [*words, *(["--no-runtime"] if WITH_RUNTIME.intersection(words[:1]) else [])]


def inv(*words: str, stdin: str = "", runtime: bool = False) -> Ended:
    """Run a task as ./inv does, without a terminal; in this process, since starting one costs more than the task."""
    line = ["./inv", *(words if runtime else without_runtime(words))]
    out, err = io.StringIO(), io.StringIO()
    before, sys.stdin = sys.stdin, io.StringIO(stdin)
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = main(line)
    finally:
        sys.stdin = before
    return Ended(code, out.getvalue(), err.getvalue())


def on_terminal(command: list[str], *, stdin: str = "", **variables: str) -> Ended:
    """Run a command on a terminal of its own."""
    ours, theirs = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm", **variables}
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd="/")
    os.close(theirs)
    os.write(ours, stdin.encode())
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # EIO: the last writer has closed it
            break
        if not part:
            break
        shown += part
    os.close(ours)
    return Ended(child.wait(), shown.decode().replace("\r\n", "\n"))


@dataclass
class Machine:
    """A scratch root, how to run things in it, and (source, target) of what is mounted there."""

    root: Path
    binds: list[tuple[str, str]] = field(default_factory=list)

    def command(self, *words: str) -> list[str]:
        pairs = [word for pair in self.binds for word in pair]
        return [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-e",
            "-c",
            ENTER,
            "sh",
            os.fspath(self.root),
            *pairs,
            "--",
            *words,
        ]

    def run(self, *words: str, stdin: str = "", **variables: str) -> Ended:
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", **variables}
        done = subprocess.run(
            self.command(*words),
            input=stdin,
            capture_output=True,
            text=True,
            env=environment,
            cwd="/",
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def task(self, *words: str, runtime: bool = False) -> list[str]:
        with_inventory = [] if words[0] in {"rollback", "history", "verify"} else ["--inventory", "/inventory"]
        start = [os.fspath(VENV_PYTHON), "-I", "-B", "-X", "utf8", "-m", "ds01.program"]
        return [*start, *(words if runtime else without_runtime(words)), *with_inventory]

    def inv(self, *words: str, stdin: str = "", runtime: bool = False, **variables: str) -> Ended:
        return self.run(*self.task(*words, runtime=runtime), stdin=stdin, **variables)

    def log(self) -> list[str]:
        """Return the commands that changed something since the last call."""
        file = self.root / "fake/log"
        lines = file.read_text().splitlines() if file.exists() else []
        file.write_text("")
        return lines

    def trap(self, word: str, what: str = "fail", count: int = 1) -> None:
        """Make the next `count` fake commands with this word fail, or kill the deploy that runs them."""
        (self.root / f"fake/trap.{word}").write_text(f"{word} {what} {count}")

    def docker(self, **answers: str) -> None:
        for verb, text in answers.items():
            (self.root / f"fake/docker-{verb}").write_text(text)

    def policy(self, **changes: str) -> None:
        write_inventory(self.root / "inventory", **changes)

    def tree(self) -> dict[str, tuple[int, str]]:
        """Mode and content of every file of the host, without the deployer's lock and the fake's own files."""
        found = {}
        for top in ("etc", "usr/local/sbin", "var"):
            for path in sorted((self.root / top).rglob("*")):
                if path.is_file() and not path.is_symlink() and path.name != ".lock":
                    found[str(path.relative_to(self.root))] = (path.stat().st_mode & 0o7777, path.read_text())
        return found

    def runtime(self) -> dict[str, str]:
        """Where every link of the runtime leads."""
        places = ("opt/ds01/current", "usr/local/bin/ds01", "usr/local/sbin/ds01-generate-limits", WANTS)
        links = {name: self.root / name for name in places}
        return {name: os.fspath(link.readlink()) for name, link in links.items() if link.is_symlink()}


def build_farm(folder: Path) -> None:
    """Fill bin and sbin with links to the machine's own programs, save the faked ones."""
    for name in ("bin", "sbin"):
        (folder / name).mkdir(parents=True)
        for entry in os.scandir(f"/usr/{name}"):
            target = os.path.realpath(entry.path)
            if entry.name not in FAKED:
                (folder / name / entry.name).symlink_to(target.replace("/usr/", "/real/", 1))
    for name in FAKED - {"dockerd"}:
        script = folder / "bin" / name
        script.write_text(f"#!{PYTHON} -IS\n{FAKE}")
        script.chmod(0o755)


def build_machine(root: Path, farm: Path) -> Machine:
    """Make an empty machine with the small inventory in /inventory."""
    for name in ("tmp", "run/systemd/system", "fake/loaded", "etc/systemd/system", "sys/fs/cgroup", *OWN_FOLDERS):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "sys/fs/cgroup/cgroup.controllers").write_text("cpu io memory pids\n")
    (root / "fake/docker-events").write_text("daemon reload\n")
    for name in ("passwd", "group"):
        shutil.copy(f"/etc/{name}", root / "etc" / name)
    for entry in os.scandir("/usr/local/bin"):
        (root / "usr/local/bin" / entry.name).symlink_to(f"/real/local/bin/{entry.name}")
    machine = Machine(root, [*_programs(root, farm), ("/proc", "/proc"), ("/dev", "/dev")])
    for needed in (CHECKOUT, Path(sys.base_prefix)):
        if not needed.is_relative_to("/usr"):
            machine.binds.append((os.fspath(needed), os.fspath(needed)))
    for _, target in machine.binds:
        (root / target.lstrip("/")).mkdir(parents=True, exist_ok=True)
    machine.policy()
    return machine


def _programs(root: Path, farm: Path) -> list[tuple[str, str]]:
    """Return what to mount so that all programs are there, and the folders of commands are the scratch root's own."""
    folders = {f"/usr/{name}": f"/usr/{name}" for name in _folders("/usr") if name != "local"}
    local = {f"/usr/local/{name}" for name in _folders("/usr/local")} - {f"/{name}" for name in OWN_FOLDERS}
    folders |= {name: name for name in sorted(local)}
    folders |= {f"/usr/{name}": os.fspath(farm / name) for name in ("bin", "sbin")}
    for name in ("bin", "sbin", "lib", "lib64", "lib32"):
        top = Path("/", name)
        if top.is_symlink():
            (root / name).symlink_to(top.readlink())
        elif top.is_dir():
            folders[f"/{name}"] = f"/{name}"
    return [("/usr", "/real"), *((source, target) for target, source in folders.items())]


def _folders(above: str) -> list[str]:
    return sorted(each.name for each in os.scandir(above) if each.is_dir())
