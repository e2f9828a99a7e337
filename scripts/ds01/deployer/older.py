"""Which files on a host are an older DS01's, though this one writes nothing there. Pure; remains.py looks.

A name in DS01's name space says it where nobody else puts such names. Elsewhere the content or the goal of a link must
speak of the older system too, so that what an admin made is never taken for its.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final

from ds01.core.tree import Form
from ds01.deployer import effects
from ds01.deployer.observed import Kind, Observed

UNITS: Final = PurePosixPath("/etc/systemd/system")
WRAPPER: Final = PurePosixPath("/usr/local/bin/docker")
# What the wrapper runs by sudo before each container, where it is there.
SLICE_MAKER: Final = PurePosixPath("/opt/ds01-infra/scripts/system/create-user-slice.sh")
# Where the older scripts themselves lie, and a second copy from which they are brought up to date.
_CHECKOUTS: Final = (PurePosixPath("/opt/ds01-infra"), PurePosixPath("/opt/ds01-staging"))
_CALLS: Final = re.compile(r"/opt/ds01-infra\b|pam-ensure-bashrc")
_SPEAKS: Final = re.compile(r"ds01-infra|\bDS01\b")
_DESCRIBED: Final = re.compile(r"^Description=DS01\b", re.MULTILINE)
# Units that go on when only their file is removed; a slice does not.
_RUNS: Final = frozenset({".service", ".timer", ".socket", ".path"})
# What the older scripts put into /usr/local/bin besides names that start with ds01: links, or copies.
_COMMANDS: Final = (
    "alias-create alias-list aliases audit-container audit-docker audit-system backup-logs bare-metal-access check"
    " check-idle-containers check-limits commands container container-attach container-create container-dashboard"
    " container-deploy container-exit container-list container-pause container-remove container-retire container-run"
    " container-start container-stats container-stop container-unpause dashboard deploy devcontainer devcontainer-check"
    " devcontainer-init dir-create get get-limits git-init gpu-dashboard gpu-queue gpu-utilization-monitor help image"
    " image-create image-delete image-install image-list image-update install-to-image mig-configure"
    " mig-utilization-monitor mlc-create mlc-stats monitoring-status new-project new-user pam-ensure-bashrc.sh project"
    " project-init project-launch readme-create resource-alert-checker shared-workspace shell-setup ssh-config"
    " ssh-setup user user-setup version vscode-setup"
)


class _Sign(Enum):
    """What says that a file with a fitting name is the older DS01's."""

    NAME = "its name alone"
    SPEAKS = "its text, or where it leads, too"
    DESCRIBED = "its description, as a unit, too"
    LEADS = "where it leads, whatever its name"


@dataclass(frozen=True, slots=True)
class _Row:
    """One kind of file.

    Attributes:
        folders: patterns of where it lies, blanks between them.
        names: patterns of what it is called, blanks between them.
        effect: says in words what a text does.
    """

    folders: str
    names: str
    sign: _Sign
    effect: Callable[[PurePosixPath, str], str]


def _words(text: str) -> Callable[[PurePosixPath, str], str]:
    return lambda _path, _text: text


_BINARIES: Final = "/usr/local/bin /usr/local/sbin"
_ROWS: Final = (
    _Row("/etc/cron.d", "ds01*", _Sign.NAME, effects.of_cron),
    _Row("/etc/sudoers.d", "ds01*", _Sign.NAME, effects.of_sudoers),
    _Row("/etc/profile.d", "ds01*", _Sign.NAME, effects.of_login),
    _Row("/etc/logrotate.d", "ds01*", _Sign.NAME, _words("rotates logs")),
    _Row("/etc/tmpfiles.d", "ds01*.conf", _Sign.NAME, _words("makes folders at boot")),
    _Row("/etc/udev/rules.d", "*ds01*.rules", _Sign.NAME, effects.of_devices),
    _Row("/etc/modprobe.d", "*ds01*.conf", _Sign.NAME, effects.of_devices),
    _Row("/etc/modprobe.d", "nvidia-permissions.conf", _Sign.SPEAKS, effects.of_devices),
    _Row("/etc", "ds01-motd", _Sign.NAME, _words("is the text that logins announce")),
    _Row(f"{UNITS}", "ds01*.service ds01*.timer ds01*.socket ds01*.path", _Sign.NAME, effects.of_unit),
    _Row(f"{UNITS}", "opa-docker-authz.service", _Sign.SPEAKS, effects.of_unit),
    _Row(f"{UNITS}", "ds01*.slice", _Sign.DESCRIBED, effects.of_unit),
    _Row(f"{UNITS}/ds01*.slice.d", "10-resource-limits.conf limits.conf", _Sign.NAME, effects.of_unit),
    _Row(f"{UNITS}/ds01*.service.d {UNITS}/ds01*.timer.d", "*.conf", _Sign.NAME, effects.of_unit),
    _Row(f"{UNITS}/docker.service.d {UNITS}/docker.socket.d", "ds01*.conf", _Sign.NAME, effects.of_unit),
    _Row(f"{UNITS}/*.wants {UNITS}/*.requires", "ds01* opa-docker-authz.service", _Sign.NAME, effects.of_unit),
    _Row(_BINARIES, "docker", _Sign.SPEAKS, effects.of_wrapper),
    _Row(_BINARIES, f"ds01* {_COMMANDS}", _Sign.SPEAKS, _words("is a command of the older scripts")),
    _Row(_BINARIES, "*", _Sign.LEADS, _words("is a command of the older scripts")),
    _Row("/usr/sbin", "ub-device-create", _Sign.SPEAKS, _words("stands before NVIDIA's maker of devices")),
)
# Where other files are read too, since one that calls the older scripts breaks when they go.
CALLERS: Final = tuple(
    map(PurePosixPath, ("/etc/cron.d", "/etc/sudoers.d", "/etc/profile.d", "/etc/pam.d", f"{UNITS}"))
)
LONE_CALLERS: Final = tuple(map(PurePosixPath, ("/etc/bash.bashrc", "/etc/crontab", "/etc/skel/.bashrc")))


@dataclass(frozen=True, slots=True)
class Older:
    """A file of an older DS01.

    Attributes:
        what: what it does on the host, in words.
    """

    path: PurePosixPath
    there: Observed
    what: str

    @property
    def text(self) -> str:
        """What is in it, or where it leads; empty when it cannot be read."""
        return (self.there.content or b"").decode(errors="surrogateescape")

    @property
    def runs(self) -> str | None:
        """The unit that goes on running without this file; None when there is none."""
        unit = unit_behind(self.path)
        return unit if unit is not None and PurePosixPath(unit).suffix in _RUNS else None


@dataclass(frozen=True, slots=True)
class Remains:
    """What was found on a host.

    Attributes:
        callers: files of others that call the older scripts.
        foreign: slices and drop-ins in DS01's name space that are nobody's known, with their text.
        running: units of `older` that run; None when systemd gives no answer.
        makes_slices: the script is there that the wrapper runs by sudo.
        unseen: what only root can look at, each a sentence.
        unsafe: folders that root does not trust, each a sentence.
    """

    older: tuple[Older, ...] = ()
    callers: tuple[PurePosixPath, ...] = ()
    foreign: tuple[tuple[PurePosixPath, str], ...] = ()
    running: frozenset[str] | None = frozenset()
    makes_slices: bool = False
    unseen: tuple[str, ...] = ()
    unsafe: tuple[str, ...] = ()


def folders() -> tuple[str, ...]:
    """Return the patterns of all folders in which an older DS01's files may lie."""
    return tuple(dict.fromkeys(pattern for row in _ROWS for pattern in row.folders.split()))


def is_candidate(path: PurePosixPath, *, is_link: bool) -> bool:
    """Whether a file may be one by its place, name and form, so that it is worth a look."""
    return any(is_link or row.sign is not _Sign.LEADS for row in _rows(path))


def recognise(path: PurePosixPath, there: Observed, ours: Collection[PurePosixPath]) -> Older | None:
    """Say what a file of an older DS01 does, or None when it is none.

    Args:
        ours: what this DS01 writes or wrote; neither it nor what belongs to its units is ever older.
    """
    if path in ours or there.kind in {Kind.ABSENT, Kind.FOLDER, Kind.OTHER}:
        return None
    unit = unit_behind(path)
    if unit is not None and PurePosixPath(unit).suffix in _RUNS and UNITS / unit in ours:
        return None
    for row in _rows(path):
        if _shows(row.sign, path, there):
            return Older(path, there, _effect(row, path, there))
    return None


def _rows(path: PurePosixPath) -> list[_Row]:
    """Return the rows a path fits, those that say more first."""
    return [row for row in _ROWS if _fits(row.folders, f"{path.parent}") and _fits(row.names, path.name)]


def _fits(patterns: str, name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns.split())


def _shows(sign: _Sign, path: PurePosixPath, there: Observed) -> bool:
    content = (there.content or b"").decode(errors="replace")
    match sign:
        case _Sign.NAME:
            # A unit that leads to /dev/null is masked: somebody keeps it from running, which is not the older DS01.
            return content != "/dev/null"
        case _Sign.LEADS:
            return there.form is Form.LINK and _leads_there(path, content)
        case _Sign.SPEAKS:
            return _leads_there(path, content) if there.form is Form.LINK else bool(_SPEAKS.search(content))
        case _Sign.DESCRIBED:
            return _leads_there(path, content) if there.form is Form.LINK else bool(_DESCRIBED.search(content))


def _leads_there(path: PurePosixPath, goal: str) -> bool:
    """Whether a link's goal lies below the older checkout; read as text, since links are not followed."""
    end = PurePosixPath(posixpath.normpath(path.parent / goal))
    return any(end.is_relative_to(checkout) for checkout in _CHECKOUTS)


def _effect(row: _Row, path: PurePosixPath, there: Observed) -> str:
    if there.content is None:
        return there.obstacle or "it cannot be read"
    text = there.content.decode(errors="surrogateescape")
    if path.parent.suffix in {".wants", ".requires"}:
        return f"starts {path.name} with {path.parent.stem}"
    if there.form is not Form.LINK:
        return row.effect(path, text) if "\0" not in text else "it is no text"
    words = "stands before docker for every account" if path == WRAPPER else row.effect(path, "")
    return f"{words}, a link to {text}"


def unit_behind(path: PurePosixPath) -> str | None:
    """Return the unit that a file is, changes or enables; None outside systemd's folder and for Docker's own."""
    if not path.is_relative_to(UNITS) or path == UNITS:
        return None
    if path.parent.suffix in {".wants", ".requires"}:
        return path.name
    unit = path.name if path.parent == UNITS else path.parent.stem
    return unit if not unit.startswith("docker.") else None


def calls_older(there: Observed) -> bool:
    """Whether a file that is not the older DS01's speaks of its scripts, so that it breaks when they go."""
    return there.form is Form.FILE and bool(_CALLS.search((there.content or b"").decode(errors="replace")))
