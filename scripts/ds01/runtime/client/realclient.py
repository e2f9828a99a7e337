"""Asks a docker client for its version and its help, and writes its table. Never asks a daemon."""

from __future__ import annotations

from ds01.core.errors import Ds01Error
from ds01.core.process import NOT_FOUND, NOT_RUNNABLE, TIMED_OUT
from ds01.core.typed import Final
from ds01.core.visible import visible
from ds01.runtime.client.helptext import make_table, short_version, text_of
from ds01.runtime.client.verbs import topics_of_help

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from ds01.core.process import Run

# No plug-in, alias or context of anybody, and no daemon, whose version decides which options are printed.
_ALONE: Final = ("--config=/nonexistent", "--host=unix:///dev/null")
_ASK_SECONDS: Final = 20
_NOT_ASKED: Final = frozenset({NOT_FOUND, NOT_RUNNABLE, TIMED_OUT})


class ClientError(Ds01Error):
    """The docker client cannot be asked."""


def read_version(docker: Path, run: Run) -> str:
    """Return what a client says its version is, such as "20.10.24+dfsg1".

    Raises:
        ClientError: it cannot be run, or says something else.
    """
    done = run([str(docker), "--version"], timeout_seconds=_ASK_SECONDS)
    # Source: docker/cli, cli/command/cli.go: "Docker version %s, build %s".
    before, _, after = done.stdout.partition("Docker version ")
    version = after.partition(",")[0].strip()
    if not done.ok or before or not version:
        raise ClientError(
            f"{docker} does not say its version", visible(done.words), "name the docker client itself, not a wrapper"
        )
    return version


def read_texts(docker: Path, run: Run, only: Collection[str] | None = None) -> dict[str, str]:
    """Return the help texts that a table is made from; a verb that the client does not know has what it says to that.

    Args:
        only: what to ask of what can be asked; None is all.

    Raises:
        ClientError: it cannot be run.
    """
    texts = {}
    for asked in topics_of_help() if only is None else only:
        done = run([str(docker), *_ALONE, *asked.split(), "--help"], timeout_seconds=_ASK_SECONDS)
        if done.code in _NOT_ASKED:
            raise ClientError(f"{docker} cannot be asked for its help", visible(done.words))
        texts[asked] = done.stdout
    return texts


def write_table(docker: Path, run: Run, folder: Path) -> Path:
    """Make the table of a client, put it into the folder of tables and return where it lies.

    Raises:
        ClientError: the client cannot be asked.
        HelpTextError: what it prints is not understood.
    """
    version = read_version(docker, run)
    path = folder / f"{short_version(version)}.json"
    path.write_text(text_of(make_table(version, read_texts(docker, run))), encoding="utf-8")
    return path
