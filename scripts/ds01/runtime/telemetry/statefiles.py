"""Looks at DS01's own files, and at the room there is for them, for `ds01 health`, as any account. Changes nothing."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from ds01.core.errors import Ds01Error
from ds01.core.jsonstate import read_bytes
from ds01.core.paths import HostPaths
from ds01.core.typed import Final
from ds01.core.value import replace
from ds01.runtime.containers.claims import read_claims
from ds01.runtime.containers.look import read_record
from ds01.runtime.gpu.grantbook import read_grants
from ds01.runtime.gpu.record import DamagedError, parse_ledger
from ds01.runtime.telemetry.health import (
    LOOK_AT_DISKS,
    CannotSee,
    Check,
    DiskSeen,
    FileSeen,
    StateFile,
    Status,
    judge_disk,
    judge_file,
)

AS_ROOT: Final = "this account may not read it; sudo ds01 health can"


def _aside(path: str, then: str) -> str:
    return f"sudo mv {path} {path}.bad; {then}"


def files_of(paths: HostPaths) -> Mapping[str, tuple[StateFile, Callable[[], object]]]:
    """Return DS01's files by their path: what each must be, and what reads it, which raises when it cannot be used.

    Looks at none of them: whoever asks for the list must not wait for a disk.
    """
    again = "the service writes it anew: sudo systemctl restart"
    rows: tuple[tuple[Path, int, str, Callable[[], object]], ...] = (
        (paths.gpu_state, 0o644, "sudo ds01 gpu reconcile", lambda: parse_ledger(read_bytes(paths.gpu_state))),
        (paths.containers, 0o640, f"{again} ds01-eventsd", lambda: read_record(paths)),
        (paths.container_owners, 0o640, f"{again} ds01-eventsd", lambda: _plain(paths.container_owners)),
        (paths.event_cursor, 0o640, f"{again} ds01-eventsd", lambda: _plain(paths.event_cursor)),
        (paths.host_processes, 0o644, f"{again} ds01-gpuwatch", lambda: _plain(paths.host_processes)),
        (paths.bare_metal_grants, 0o644, "grant again what it names", lambda: read_grants(paths)),
        (paths.claims, 0o640, "claim again what it names (ds01 claim)", lambda: read_claims(paths)),
    )
    files = {
        os.fspath(path): (StateFile(os.fspath(path), mode, _aside(os.fspath(path), then)), read)
        for path, mode, then, read in rows
    }
    log = os.fspath(paths.events)
    fix = "sudo systemd-tmpfiles --create /etc/tmpfiles.d/ds01.conf"
    return files | {log: (StateFile(log, 0o640, fix, needed=True), lambda: None)}


def file_check(paths: HostPaths, path: str) -> Check | None:
    """Look at one of DS01's files."""
    file, read = files_of(paths)[path]
    try:
        found = Path(path).lstat()
    except FileNotFoundError:
        # Between a rotation and the next event there is no log.
        is_rotated = file.needed and any(Path(path).parent.glob(f"{Path(path).name}-*"))
        return judge_file(replace(file, needed=file.needed and not is_rotated), None)
    except PermissionError:
        return judge_file(file, CannotSee(AS_ROOT))
    except OSError as error:
        return Check(file.path, Status.FAILED, error.strerror or str(error), LOOK_AT_DISKS)
    mode = stat.S_IMODE(found.st_mode)
    why = _fault(read) if stat.S_ISREG(found.st_mode) else "it is not a file"
    return judge_file(file, FileSeen(found.st_uid, mode, why))


def _fault(read: Callable[[], object]) -> str | CannotSee | None:
    """Return what is wrong with a file, by the words of what reads it."""
    try:
        read()
    except (Ds01Error, DamagedError, OSError, ValueError, RecursionError) as error:
        if isinstance(error, PermissionError) or isinstance(error.__cause__, PermissionError):
            return CannotSee(AS_ROOT)
        if isinstance(error, Ds01Error) and error.details:
            return f"{error.brief}: {error.details}"
        return str(error)
    return None


def _plain(path: Path) -> None:
    """Read a file of which only this is asked: one JSON object of our version.

    Raises:
        ValueError, OSError, StateError: it is none.
    """
    said = json.loads(read_bytes(path))
    version = said.get("version") if isinstance(said, dict) else None
    if version != 1:
        raise ValueError(f"it has version {version!r}, this DS01 reads version 1")


def folders_of(paths: HostPaths) -> tuple[Path, ...]:
    """Return the folders in which there must be room."""
    return (paths.at("/var/lib/ds01"), paths.at("/var/log/ds01"), _data_root(paths))


def _data_root(paths: HostPaths) -> Path:
    """Return where Docker keeps everything. Source: dockerd(8), data-root."""
    try:
        root = json.loads(paths.at("/etc/docker/daemon.json").read_bytes()).get("data-root")
    except (OSError, ValueError, AttributeError, RecursionError):
        root = None
    return paths.at(root if isinstance(root, str) and root.startswith("/") else "/var/lib/docker")


def disk_check(folder: Path) -> Check:
    """Look how much room is left in a folder's file system. Source: statvfs(3)."""
    name = os.fspath(folder)
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:
        return judge_disk(name, None)
    except PermissionError:
        return judge_disk(name, CannotSee(AS_ROOT))
    except OSError as error:
        return judge_disk(name, error.strerror or str(error))
    return judge_disk(
        name, DiskSeen(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)
    )
