"""The root of every error DS01 raises on purpose, and the exit codes they carry.

An error is a value with a message for the person who reads it; it never prints and never exits by itself.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every task and command."""

    DONE = 0
    FAILED = 1
    BAD_INPUT = 2
    CHANGES_PENDING = 3
    REFUSED = 4
    BUSY = 5
    INTERRUPTED = 130


class Ds01Error(Exception):
    """A foreseen failure: what is wrong, why, and what to do about it.

    Attributes:
        brief: one line that names the thing.
        details: the cause, or None when the brief already says it.
        resolution: what the reader can do now, or None when nothing can be done.
        exit_code: what the process should exit with.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, brief: str, details: str | None = None, resolution: str | None = None) -> None:
        self.brief = brief
        self.details = details
        self.resolution = resolution
        super().__init__(brief)

    def render(self) -> str:
        """Return the whole message, one part a line, without a trailing newline."""
        parts = [self.brief]
        if self.details:
            parts.append(self.details)
        if self.resolution:
            parts.append(f"To fix: {self.resolution}")
        return "\n".join(parts)


class BadInputError(Ds01Error):
    """Something a person wrote cannot be used: a value, an option, a file."""

    exit_code = ExitCode.BAD_INPUT


class RefusedError(Ds01Error):
    """DS01 could go on but should not without an explicit word (drift, unsafe checkout)."""

    exit_code = ExitCode.REFUSED


class BusyError(Ds01Error):
    """Another DS01 process holds the lock; trying again later will do."""

    exit_code = ExitCode.BUSY
