"""What DS01 owns on a host: the manifest of the last deploy, as a value and on disk.

Only what stands here is ever removed, and a file that differs from what stands here was changed by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from ds01.core.jsonstate import StateError, read_json
from ds01.core.paths import HostPaths
from ds01.core.tree import Form, Part
from ds01.deployer import journal
from ds01.deployer.history import numbers

MANIFEST_VERSION: Final = 1
MANIFEST_NAME: Final = "manifest.json"


@dataclass(frozen=True, slots=True)
class OwnedFile:
    """One file as DS01 last wrote it.

    Attributes:
        sha256: of the whole file on disk.
        record: what a merge remembers, None when DS01 owns the whole file.
        source: template it came from.
        form: a link's sha256 is of where it leads; its mode means nothing.
    """

    sha256: str
    mode: int
    owner: str
    group: str
    source: str
    account: str | None = None
    record: Mapping[str, object] | None = None
    form: Form = Form.FILE
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Owned:
    """Everything DS01 owns.

    Attributes:
        generation: number of the last deploy; 0 before the first.
        folders: folders that DS01 made; they are removed when nothing is left in them.
        pending: handlers that a deploy left for later, such as a restart of Docker.
        settled: an admin has said what becomes of an older DS01's files.
    """

    generation: int = 0
    host: str = ""
    policy_hash: str = ""
    files: Mapping[PurePosixPath, OwnedFile] = field(default_factory=dict)
    folders: tuple[PurePosixPath, ...] = ()
    pending: tuple[str, ...] = ()
    settled: bool = False

    def to_json(self) -> dict[str, object]:
        """Return the manifest as it is stored."""
        return {
            "version": MANIFEST_VERSION,
            "generation": self.generation,
            "host": self.host,
            "policy_hash": self.policy_hash,
            "files": {
                str(path): {
                    "sha256": file.sha256,
                    "mode": f"{file.mode:04o}",
                    "owner": file.owner,
                    "group": file.group,
                    "source": file.source,
                    "account": file.account,
                    "record": file.record,
                    **({"form": file.form.value} if file.form is not Form.FILE else {}),
                    **({"part": file.part.value} if file.part else {}),
                }
                for path, file in sorted(self.files.items())
            },
            "folders": [str(folder) for folder in self.folders],
            "pending": list(self.pending),
            **({"settled": True} if self.settled else {}),
        }


_RESTORE: Final = (
    "restore it from a backup; without one, move the folder /var/lib/ds01/deploy aside and deploy: what is there is"
    " then taken over, and files of accounts that left have to be removed by hand"
)


def read_owned(paths: HostPaths) -> Owned:
    """Read the manifest below a root; an empty Owned when there was no deploy yet.

    Raises:
        StateError: the manifest is there but cannot be used; nothing is guessed.
    """
    path = paths.deploy / MANIFEST_NAME
    try:
        stored = read_json(path, of_root=True)
    except StateError as error:
        raise StateError(error.brief, error.details, _RESTORE) from error
    if stored is None:
        # A first deploy that was cut off may have left its generation; the journal says so, and what is to be done.
        if numbers(paths) and journal.pending(paths) is None:
            raise StateError(
                f"{path} is gone, so nobody knows which files are DS01's", "there are generations", _RESTORE
            )
        return Owned()
    if stored.get("version") != MANIFEST_VERSION:
        raise StateError(
            f"{path} has version {stored.get('version')!r}, this DS01 reads version {MANIFEST_VERSION}",
            None,
            "use the release that wrote it, or a newer one",
        )
    try:
        return _owned(stored)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StateError(
            f"{path} is not a manifest of DS01",
            f"{type(error).__name__}: {error}",
            "restore it from a backup",
        ) from error


def _owned(stored: Mapping[str, object]) -> Owned:
    files, folders, pending = stored["files"], stored["folders"], stored["pending"]
    if not isinstance(files, dict) or not isinstance(folders, list) or not isinstance(pending, list):
        raise TypeError("files, folders or pending have the wrong type")
    return Owned(
        generation=int(str(stored["generation"])),
        host=str(stored["host"]),
        policy_hash=str(stored["policy_hash"]),
        files={
            PurePosixPath(path): OwnedFile(
                sha256=entry["sha256"],
                mode=int(entry["mode"], 8),
                owner=entry["owner"],
                group=entry["group"],
                source=entry["source"],
                account=entry["account"],
                record=entry["record"],
                form=Form(entry.get("form", Form.FILE.value)),
                part=Part(entry["part"]) if "part" in entry else None,
            )
            for path, entry in files.items()
        },
        folders=tuple(PurePosixPath(folder) for folder in folders),
        pending=tuple(map(str, pending)),
        settled=stored.get("settled") is True,
    )
