"""A built file that is either whole or not there, named by a hash of how it is made.

Another recipe is another name, so a machine never runs on something older than its recipe, and two checkouts
can share one cache folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.machine.errors import LabError
from tests.lab.machine.settings import Cache
from tests.lab.machine.steps import say


def recipe_hash(*parts: str) -> str:
    """Return a short name for all that decides how something is made."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Artefact:
    """One built file.

    Attributes:
        what: for people.
        path: its name carries the hash of its recipe.
        build_bytes: disk space that making it takes.
    """

    what: str
    path: Path
    build_bytes: int

    @property
    def ready(self) -> bool:
        """Whether it is there, and then it is whole."""
        return self.path.exists()

    @contextmanager
    def workshop(self, cache: Cache) -> Iterator[Path]:
        """Give an empty folder to build in, and remove it however the build ends.

        Raises:
            LabError: the disk has too little space.
        """
        work = cache.work(self.what)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            free = shutil.disk_usage(work).free
            if free < self.build_bytes:
                raise LabError(
                    f"{cache.folder} has too little space to build the lab's {self.what}",
                    f"It takes {self.build_bytes >> 30} GiB for a while; {free >> 30} GiB are free.",
                    "make room, or set DS01_LAB_CACHE to a folder on another disk",
                )
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def publish(self, finished: Path, *, mode: int) -> None:
        """Put a finished file in its place, safely on disk, in one step."""
        finished.chmod(mode)
        with finished.open("rb") as file:
            os.fsync(file.fileno())
        finished.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def one_build(cache: Cache) -> Iterator[None]:
    """Wait until no other build runs in this cache folder, and hold the others off."""
    cache.folder.mkdir(parents=True, exist_ok=True)
    with cache.lock.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another build holds {cache.lock}: waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
