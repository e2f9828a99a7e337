"""Debian's packages of the engine, unpacked in a cache folder and not installed: one download for all runs.

No archive is named here: what this machine's apt uses is what the tests use, with package lists of their own.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ds01.core.jsonstate import exclusive
from ds01.core.process import SYSTEM_PATH

DEFAULT_CACHE: Final = Path("/var/tmp/ds01-engine")
# The engine, what it starts, and the libraries of these that a small Debian lacks; runc's place is taken by crun.
PACKAGES: Final = (
    "docker.io",
    "containerd",
    "tini",
    "crun",
    "busybox-static",
    "libyajl2",
    "libdevmapper1.02.1",
    "libseccomp2",
    "libcap2",
)
_FETCH_SECONDS: Final = 300
_RELEASE: Final = Path("/etc/os-release")

# What the shim takes for runc. crun, because it can leave the control groups alone; the option that the engine adds
# for systemd's would override that, and an update would all the same go to them.
_RUNC: Final = """#!/bin/sh
for word do
    shift
    [ "$word" != update ] || exec cat >/dev/null
    [ "$word" = --systemd-cgroup ] || set -- "$@" "$word"
done
LD_LIBRARY_PATH={libraries} exec {crun} --cgroup-manager=disabled "$@"
"""
# The engine knows --gpus where it finds this program, and has it run before a container starts. The container's state
# has to be read: crun does not start a container whose hook ends too early for that.
# Source: moby's daemon/nvidia_linux.go; OCI runtime specification, "POSIX-platform Hooks".
_HOOK: Final = "#!/bin/sh\nexec cat >/dev/null\n"


class EngineMissingError(Exception):
    """No engine can be had here; the message says what is missing, in one line."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The packages, in a folder that holds nothing else.

    Attributes:
        root: what would be `/`, were they installed.
    """

    root: Path

    @property
    def programs(self) -> str:
        """A PATH on which the engine finds its own programs before the machine's."""
        own = ("usr/local/bin", "usr/bin", "usr/sbin", "bin")
        return os.pathsep.join([*(os.fspath(self.root / folder) for folder in own), SYSTEM_PATH])

    @property
    def libraries(self) -> str:
        """An LD_LIBRARY_PATH for them."""
        return os.pathsep.join(sorted({os.fspath(path.parent) for path in self.root.glob("**/lib/**/*.so.*")}))

    @property
    def dockerd(self) -> Path:
        """The engine."""
        return self.root / "usr/sbin/dockerd"

    @property
    def runc(self) -> Path:
        """What the engine runs for runc."""
        return self.root / "usr/local/bin/runc"

    @property
    def client(self) -> Path:
        """The client."""
        return self.root / "usr/bin/docker"

    @property
    def busybox(self) -> Path:
        """A program that needs no library."""
        return self.root / "bin/busybox"


def cache_folder() -> Path:
    """Return the cache folder: DS01_TEST_CACHE, or the usual one."""
    return Path(os.environ.get("DS01_TEST_CACHE", DEFAULT_CACHE)).absolute()


def unpacked(cache: Path) -> Unpacked:
    """Return the packages, fetching them if this cache folder has none for this release of Debian.

    Raises:
        EngineMissingError: we are not root, apt cannot fetch them, or somebody else may write to the folder.
    """
    if os.geteuid() != 0:
        raise EngineMissingError("it takes root")
    if shutil.which("apt-get", path=SYSTEM_PATH) is None:
        raise EngineMissingError("there is no apt-get to fetch its packages with")
    cache.mkdir(parents=True, exist_ok=True)
    _check_own(cache)
    recipe = "\0".join([*PACKAGES, _RUNC, _HOOK, _RELEASE.read_text()])
    place = cache / f"packages-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if not place.exists():
        with exclusive(cache / "lock", wait_seconds=2 * _FETCH_SECONDS, work="fetching of the engine"):
            if not place.exists():
                _fetch(cache, place)
    return Unpacked(place)


def _check_own(cache: Path) -> None:
    """Refuse a folder in which others could lay programs that we run as root."""
    found = cache.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise EngineMissingError(f"{cache} is not a folder that only we can write to; set DS01_TEST_CACHE to another")


def _fetch(cache: Path, place: Path) -> None:
    """Make the folder whole beside its place, then move it there."""
    for left in cache.glob("work-*"):  # by a run that was killed; the lock is ours
        shutil.rmtree(left)
    work = Path(tempfile.mkdtemp(prefix="work-", dir=cache))
    try:
        for folder in ("lists/partial", "cache/archives/partial", "packages", "root"):
            (work / folder).mkdir(parents=True)
        apt = [
            "apt-get", "--quiet", "--quiet", "-o", f"Dir::State::lists={work}/lists", "-o", f"Dir::Cache={work}/cache",
            "-o", "APT::Sandbox::User=root", "-o", "Acquire::Languages=none", "-o", "Acquire::Retries=3",
        ]  # fmt: skip
        _run([*apt, "update"], work)
        _run([*apt, "download", *PACKAGES], work / "packages")
        for package in sorted((work / "packages").iterdir()):
            _run(["dpkg", "--extract", os.fspath(package), "root"], work)
        root = work / "root"
        root.chmod(0o755)
        _write_programs(root, place)
        root.rename(place)
    finally:
        shutil.rmtree(work)


def _write_programs(root: Path, place: Path) -> None:
    libraries = Unpacked(root).libraries.replace(os.fspath(root), os.fspath(place))
    crun = os.fspath(place / "usr/bin/crun")
    programs = {
        "runc": _RUNC.format(libraries=shlex.quote(libraries), crun=shlex.quote(crun)),
        "nvidia-container-runtime-hook": _HOOK,
    }
    for name, text in programs.items():
        program = root / "usr/local/bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text)
        program.chmod(0o755)


def _run(argv: Sequence[str], folder: Path) -> None:
    """Run a program of this machine, in the caller's environment (proxies) but with the system's PATH."""
    environment = os.environ | {"PATH": SYSTEM_PATH, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EngineMissingError(f"{argv[0]} took longer than {_FETCH_SECONDS} s") from error
    if done.returncode != 0:
        cause = next((line for line in done.stderr.splitlines() if line.startswith("E: ")), done.stderr.strip())
        raise EngineMissingError(f"its packages cannot be fetched: {cause}")
