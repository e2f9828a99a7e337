"""The only place that starts another program: argument lists, a time limit, a fixed environment, no shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from ds01.core.typed import BinaryIO, Final, Protocol
from ds01.core.value import dataclass

# Fixed, so that nobody's PATH decides what root runs; /usr/local comes last because DS01's docker wrapper is there.
SYSTEM_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
NOT_RUNNABLE: Final = 126
NOT_FOUND: Final = 127
TIMED_OUT: Final = 124


@dataclass(frozen=True, slots=True)
class Completed:
    """How a program ended.

    Attributes:
        code: its exit status; 127 when it is not installed, 126 when it cannot be run, 124 when it took too long.
    """

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.code == 0

    @property
    def missing(self) -> bool:
        """Whether the program is not installed."""
        return self.code == NOT_FOUND

    @property
    def words(self) -> str:
        """What it said about its failure, in one piece."""
        return (self.stderr.strip() or self.stdout.strip()) or f"exit code {self.code}"


class Run(Protocol):
    """Something that runs a program to its end; injected so that callers say what they need."""

    def __call__(
        self,
        argv: Sequence[str],
        *,
        timeout_seconds: float = ...,
        environment: Mapping[str, str] | None = ...,
    ) -> Completed:
        """Run argv and return how it ended; never raises for the program's own failure."""


def run(argv: Sequence[str], *, timeout_seconds: float = 60, environment: Mapping[str, str] | None = None) -> Completed:
    """Run a program to its end without a shell and without the caller's environment.

    Args:
        environment: added to PATH, LC_ALL=C.
    """
    base = {"PATH": SYSTEM_PATH, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            list(argv),
            env=base | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=False,
        )
    except FileNotFoundError:
        return Completed(tuple(argv), NOT_FOUND, "", f"{argv[0]} is not installed")
    except OSError as error:
        return Completed(tuple(argv), NOT_RUNNABLE, "", f"{argv[0]} cannot be run: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Completed(tuple(argv), TIMED_OUT, "", f"{argv[0]} gave no answer within {timeout_seconds:g} s")
    return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)


def stream(
    argv: Sequence[str], *, folder: str, environment: Mapping[str, str] | None = None, log: BinaryIO | None = None
) -> int:
    """Run a program on our own terminal and in the caller's environment, for the tools of the checkout.

    Args:
        log: a file for all that it says, instead of the terminal.

    Returns:
        Its exit status; 127 when it is not installed.
    """
    settings = {**os.environ, **(environment or {})}
    try:
        return subprocess.run(list(argv), cwd=folder, env=settings, stdout=log, stderr=log, check=False).returncode
    except FileNotFoundError:
        return NOT_FOUND
