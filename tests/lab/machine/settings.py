"""What a machine is made of and where its parts lie. Values only; reads nothing and makes nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Final

from ds01.core.errors import BadInputError

DEFAULT_CACHE: Final = Path("/var/tmp/ds01-lab")
# The kernel puts a socket below the machine's folder, and a socket's address has 108 bytes (man 7 unix).
_LONGEST_FOLDER: Final = 80
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_MEMORY: Final = re.compile(r"[1-9][0-9]*[MG]")
_MOST_CPUS: Final = 8  # CONFIG_NR_CPUS


class Suite(StrEnum):
    """The Debian release inside: the engine and the systemd to test against."""

    BOOKWORM = "bookworm"  # systemd 252, Docker 20.10, Python 3.11
    TRIXIE = "trixie"  # systemd 257, Docker 26.1 with compose v2 and buildx, Python 3.13

    @property
    def engine(self) -> str:
        """The version of its Docker engine."""
        return {"bookworm": "20.10", "trixie": "26.1"}[self]

    @property
    def python(self) -> str:
        """The version of its Python."""
        return {"bookworm": "3.11", "trixie": "3.13"}[self]


@dataclass(frozen=True, slots=True)
class Cache:
    """The folder in which everything of the lab lies: what was built, what is being built, what runs.

    Attributes:
        folder: absolute; the only place on this machine where the lab writes.
    """

    folder: Path = DEFAULT_CACHE

    @property
    def lock(self) -> Path:
        """Held by the one build that runs."""
        return self.folder / "build.lock"

    @property
    def machines(self) -> Path:
        """One folder for each machine."""
        return self.folder / "run"

    def work(self, what: str) -> Path:
        """Where an unfinished artefact is; removed when its build ends, however it ends."""
        return self.folder / "work" / what

    def log(self, what: str) -> Path:
        """All that the tools of the last build said."""
        return self.folder / "log" / f"{what}.log"


@dataclass(frozen=True, slots=True)
class Bootable:
    """The two files a machine starts from; never written to by a machine."""

    kernel: Path
    image: Path


@dataclass(frozen=True, slots=True)
class Share:
    """A folder of this machine that the guest sees live.

    Prefer `Machine.push` for files that change: the guest may serve what it read before.

    Attributes:
        writable: then root inside writes with this machine's root's rights.
    """

    source: Path
    target: PurePosixPath
    writable: bool = False

    @classmethod
    def parse(cls, text: str) -> Share:
        """Read `FOLDER:GUESTFOLDER[:rw]`.

        Raises:
            BadInputError: it is not of that form.
        """
        parts = text.split(":")
        if len(parts) not in {2, 3} or not all(parts) or parts[2:] not in ([], ["rw"], ["ro"]):
            raise BadInputError(f"{text!r} is not FOLDER:GUESTFOLDER or FOLDER:GUESTFOLDER:rw")
        return cls(Path(parts[0]).resolve(), PurePosixPath(parts[1]), writable=parts[2:] == ["rw"])


@dataclass(frozen=True, slots=True)
class Hardware:
    """What one machine has.

    Attributes:
        memory: as the kernel takes it, such as `2G` or `512M`.
        cpus: 1 is the fastest; more only for tests of cpusets and of quotas above one CPU.
        keeps_disk: whether the disk outlives `down`; it outlives a power cut and a reboot in any case.
        tied: whether the machine ends with the process that started it, even when that one is killed.
        writes_image: no copy-on-write file in between; only for making the image.
    """

    memory: str = "2G"
    cpus: int = 1
    shares: tuple[Share, ...] = ()
    keeps_disk: bool = False
    tied: bool = True
    writes_image: bool = False

    def __post_init__(self) -> None:
        if not _MEMORY.fullmatch(self.memory):
            raise BadInputError(f"memory {self.memory!r} is not a number with M or G")
        if not 1 <= self.cpus <= _MOST_CPUS:
            raise BadInputError(f"{self.cpus} CPUs: the lab's kernel takes 1 to {_MOST_CPUS}")

    @property
    def memory_bytes(self) -> int:
        """The same as a number."""
        return int(self.memory[:-1]) << {"M": 20, "G": 30}[self.memory[-1]]


@dataclass(frozen=True, slots=True)
class Folder:
    """Where one machine's disk, console and control line are."""

    path: Path

    @classmethod
    def of(cls, cache: Cache, name: str) -> Folder:
        """Return the folder of the machine called name.

        Raises:
            BadInputError: the name has other characters than a-z, 0-9 and -, or the path is too long.
        """
        if not _NAME.fullmatch(name):
            raise BadInputError(f"machine name {name!r}: use a-z, 0-9 and -, at most 31")
        path = cache.machines / name
        if len(str(path)) > _LONGEST_FOLDER:
            raise BadInputError(f"{path} is longer than {_LONGEST_FOLDER} characters; choose a shorter cache folder")
        return cls(path)

    @property
    def share(self) -> Path:
        """Seen inside as /lab: jobs, the agent."""
        return self.path / "share"

    @property
    def ready(self) -> Path:
        """There once the agent listens."""
        return self.share / "ready"

    @property
    def control(self) -> Path:
        """The named pipe behind the guest's second serial line."""
        return self.path / "ctl"

    @property
    def console(self) -> Path:
        """What the kernel and systemd say."""
        return self.path / "console.log"

    @property
    def pid(self) -> Path:
        """Holds the number of the kernel's process and process group."""
        return self.path / "pid"

    @property
    def scratch(self) -> Path:
        """For files on their way in or out."""
        return self.path / "tmp"

    @property
    def disk(self) -> Path:
        """The copy-on-write file over the image."""
        return self.path / "disk.cow"

    @property
    def sockets(self) -> Path:
        """The kernel's own folder; also the mark by which its process is known."""
        return self.path / "uml"
