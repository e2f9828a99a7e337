"""What the docker command and its helper say to each other: texts, each ended by a NUL, which no argument has. Pure.

The request comes from a user and is believed in nothing but what the user wants and how the terminal looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ds01.core.errors import BadInputError
from ds01.core.typed import Final
from ds01.core.value import dataclass

VERSION: Final = "1"
# More than the kernel takes for a command line. Source: execve(2), "Limits on size of arguments and environment".
MOST_BYTES: Final = 4 * 1024**2
_FIELDS: Final = 6
_UNICODE: Final = ("utf-8", "utf8")


class RequestError(BadInputError):
    """What came is no request of this version."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        pid: of the docker command, as it says; to be checked.
        unicode: whether its stderr is a terminal that shows more than ASCII.
        colour: whether that wants colours.
        visible_devices: NVIDIA_VISIBLE_DEVICES of its environment.
        words: all that follows `docker`.
    """

    pid: int
    unicode: bool
    colour: bool
    visible_devices: str
    words: tuple[str, ...]


def read_request(data: bytes) -> Asked:
    """Read a request.

    Raises:
        RequestError: it is none.
    """
    fields = data.decode(errors="surrogateescape").split("\0")
    if len(data) >= MOST_BYTES or len(fields) <= _FIELDS or fields[-1] or fields[0] != VERSION:
        raise RequestError(
            "what came is no request of the docker command",
            f"{len(data)} bytes, {len(fields) - 1} texts",
            "this program is called by /usr/local/bin/docker alone; after an update of DS01: sudo ./inv deploy",
        )
    _, pid, locale, no_colour, devices, on_terminal, *words = fields[:-1]
    if not (pid.isascii() and pid.isdigit() and len(pid) <= len(str(2**22))):
        raise RequestError(f"{pid[:20]!r} is no number of a process", None, "call docker, not this program")
    return Asked(
        pid=int(pid),
        # Into files and pipes too go plain letters alone: who reads them may have another locale.
        unicode=on_terminal == "1" and any(each in locale.lower() for each in _UNICODE),
        colour=on_terminal == "1" and not no_colour,
        visible_devices=devices,
        words=tuple(words),
    )


def run_line(words: Iterable[str]) -> bytes:
    """Return the answer that lets the client run with these arguments."""
    return _written(["run", *words])


def refuse(code: int) -> bytes:
    """Return the answer that ends the command with an exit code; why has been said on stderr."""
    return _written(["refuse", str(code)])


def _written(texts: Sequence[str]) -> bytes:
    return b"".join(text.encode(errors="surrogateescape") + b"\0" for text in texts)
