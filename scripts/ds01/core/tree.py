"""A tree of files as a value: what the generator makes and the deployer wants to be there.

Holds text and metadata only; reading and writing real files is the deployer's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import PurePosixPath

from ds01.core.typed import Final
from ds01.core.value import dataclass, field

# Never setuid, setgid or sticky: nothing that DS01 deploys needs one of them.
_PERMISSIONS: Final = 0o777


class Merge(Enum):
    """How a file that others write too is brought together with ours."""

    JSON = "json"


class Form(Enum):
    """What a path holds."""

    FILE = "file"
    LINK = "link"  # a symbolic link


class Part(Enum):
    """What can be left out of a deploy, with all that calls it."""

    RUNTIME = "runtime"


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One wanted file.

    Attributes:
        path: absolute path on the host.
        content: UTF-8 text; for a merged file only DS01's own keys; for a link where it leads.
        mode: permission bits, such as 0o644.
        owner: account name, such as "root".
        group: Linux group name.
        source: the template it came from, relative to the checkout.
        merge: None when DS01 owns the whole file.
        check: argument list that accepts or refuses the staged file; `{file}` and `{root}` are filled in.
        handlers: names of handlers to run when the file changes.
        account: the listed account this file is for, None when it is for everybody.
        form: a link has no mode of its own.
        part: the part of DS01 it belongs to and is left out with; None for what is always there.
    """

    path: PurePosixPath
    content: str
    mode: int = 0o644
    owner: str = "root"
    group: str = "root"
    source: str = ""
    merge: Merge | None = None
    check: tuple[str, ...] = ()
    handlers: tuple[str, ...] = ()
    account: str | None = None
    form: Form = Form.FILE
    part: Part | None = None

    @property
    def sha256(self) -> str:
        """Hex digest of the content."""
        return sha256(self.content.encode())

    def to_json(self) -> dict[str, object]:
        """Return everything but the path, for storing; form and part only where they are not the usual ones."""
        unusual = {
            **({"form": self.form.value} if self.form is not Form.FILE else {}),
            **({"part": self.part.value} if self.part else {}),
        }
        return {
            "content": self.content,
            "mode": f"{self.mode:04o}",
            "owner": self.owner,
            "group": self.group,
            "source": self.source,
            "merge": self.merge.value if self.merge else None,
            "check": list(self.check),
            "handlers": list(self.handlers),
            "account": self.account,
            **unusual,
        }

    @classmethod
    def from_json(cls, path: str, stored: Mapping[str, object]) -> TreeFile:
        """Rebuild what to_json() stored.

        Raises:
            KeyError, ValueError, TypeError: the stored value is not one of ours.
        """
        merge, check, handlers = stored["merge"], stored["check"], stored["handlers"]
        if not isinstance(check, list) or not isinstance(handlers, list):
            raise TypeError(f"{path}: check and handlers must be lists")
        account, content, mode = stored["account"], str(stored["content"]), int(str(stored["mode"]), 8)
        form, part = stored.get("form", Form.FILE.value), stored.get("part")
        if mode & ~_PERMISSIONS:
            raise ValueError(f"{path}: mode {stored['mode']} has more than permission bits")
        for text in (path, content):
            text.encode()  # UnicodeEncodeError is a ValueError
        return cls(
            path=PurePosixPath(path),
            content=content,
            mode=mode,
            owner=str(stored["owner"]),
            group=str(stored["group"]),
            source=str(stored["source"]),
            merge=Merge(merge) if merge is not None else None,
            check=tuple(map(str, check)),
            handlers=tuple(map(str, handlers)),
            account=None if account is None else str(account),
            form=Form(form),
            part=None if part is None else Part(part),
        )


@dataclass(frozen=True, slots=True)
class Tree:
    """Wanted files by path, in the order of their paths.

    Attributes:
        host: the host it was rendered for.
        policy_hash: hex digest of the compiled policy, shown in plan and history.
    """

    host: str
    policy_hash: str
    files: Mapping[PurePosixPath, TreeFile] = field(default_factory=dict)

    @classmethod
    def of(cls, host: str, policy_hash: str, files: Iterable[TreeFile]) -> Tree:
        """Sort the files by path.

        Raises:
            ValueError: two files claim the same path.
        """
        ordered: dict[PurePosixPath, TreeFile] = {}
        for file in sorted(files, key=lambda each: each.path):
            if file.path in ordered:
                raise ValueError(f"{file.path} is rendered twice, from {ordered[file.path].source} and {file.source}")
            ordered[file.path] = file
        return cls(host, policy_hash, ordered)

    def __iter__(self) -> Iterator[TreeFile]:
        return iter(self.files.values())


def sha256(data: bytes) -> str:
    """Return the hex SHA-256 digest."""
    return hashlib.sha256(data).hexdigest()
