"""Read the inventory: the policy, the lists of members, the hosts. Decides nothing about what they say.

Follows no symbolic link below the inventory's folder and waits for no pipe: whoever may write one there could
otherwise show any file of the reader's, or keep the reader waiting.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ds01.generator.problems import Place, Problem
from ds01.generator.yamltext import Document, read_yaml

POLICY_FILE = "resource-limits.yaml"
# What names a group or a host in commands, messages and folders of the tree.
_STEM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_MOST_BYTES: Final = 8 * 1024**2


@dataclass(frozen=True, slots=True)
class Member:
    """An account as somebody wrote it down."""

    name: str
    place: Place


@dataclass(frozen=True, slots=True)
class Documents:
    """Everything in the inventory, as written.

    Attributes:
        members: group to the accounts of its .members file.
        hosts: host name to its file.
        problems: what could not be read.
    """

    policy: Document
    members: Mapping[str, tuple[Member, ...]]
    hosts: Mapping[str, Document]
    problems: tuple[Problem, ...]


def load_inventory(folder: Path) -> Documents:
    """Read every file of an inventory folder.

    Returns:
        What was read; files that are missing or broken are problems, not errors.
    """
    reader = _Reader(folder)
    policy = reader.document(POLICY_FILE)
    members: dict[str, tuple[Member, ...]] = {}
    for stem in reader.stems("groups", ".members"):
        path = f"groups/{stem}.members"
        text = reader.text(path)
        members[stem] = _read_members(text, reader.shown(path)) if text is not None else ()
    before = len(reader.problems)
    hosts = {stem: reader.document(f"hosts/{stem}.yaml") for stem in reader.stems("hosts", ".yaml")}
    if not hosts and len(reader.problems) == before:
        reader.problem("hosts", "there is no host file", "describe the server in hosts/<name>.yaml")
    return Documents(policy, members, hosts, tuple(reader.problems))


class _RefusedError(Exception):
    """A file that is not read; never leaves this module, the reader makes it a problem."""

    def __init__(self, text: str, fix: str) -> None:
        self.text, self.fix = text, fix
        super().__init__(text)


@dataclass(slots=True)
class _Reader:
    """Reads below one folder and collects what is in the way. Paths are relative to the folder."""

    folder: Path
    problems: list[Problem] = field(default_factory=list)

    def shown(self, path: str) -> str:
        """Name a file as from above the inventory, so that messages do not depend on the checkout's place."""
        return f"{self.folder.name}/{path}"

    def problem(self, path: str, text: str, fix: str) -> None:
        self.problems.append(Problem(Place(self.shown(path)), text, fix))

    def stems(self, part: str, suffix: str) -> list[str]:
        """Return what the files of a folder are for; editors keep locks and copies under names with a dot first."""
        try:
            with self._folder(part) as folder:
                names = os.listdir(folder)  # noqa: PTH208 - a path cannot list an open folder
        except FileNotFoundError:
            return []
        except _RefusedError as error:
            self.problem(part, error.text, error.fix)
            return []
        except OSError as error:
            self.problem(part, f"cannot be read: {error.strerror}", "check the folder and its permissions")
            return []
        found = (each for each in names if each.endswith(suffix) and not each.startswith("."))
        stems = sorted(each.removesuffix(suffix) for each in found)
        for stem in stems:
            if not _STEM.fullmatch(stem):
                fix = "use letters, digits or _ . -, a letter or digit first"
                self.problem(f"{part}/{stem}{suffix}", f"{stem!r} cannot be the name of a file here", fix)
        return [stem for stem in stems if _STEM.fullmatch(stem)]

    def text(self, path: str) -> str | None:
        """Return a file's text with plain line ends; None, and a problem, when it cannot be had."""
        try:
            text = self._bytes(path).decode("utf-8-sig")
        except FileNotFoundError:
            self.problem(path, "there is no such file", "write it, or name another inventory")
        except UnicodeDecodeError as error:
            before, bad = error.object[: error.start], error.object[error.start]
            at = Place(self.shown(path), before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
            self.problems.append(Problem(at, f"not UTF-8 text (byte 0x{bad:02x})", "save it as UTF-8"))
        except _RefusedError as error:
            self.problem(path, error.text, error.fix)
        except OSError as error:
            self.problem(path, f"cannot be read: {error.strerror}", "check the file and its permissions")
        else:
            return text.replace("\r\n", "\n").replace("\r", "\n")
        return None

    def document(self, path: str) -> Document:
        text = self.text(path)
        if text is None:
            return Document(self.shown(path), None)
        document, found = read_yaml(text, self.shown(path))
        self.problems += found
        if isinstance(document.data, dict):
            return document
        if not found:
            what = "the file is empty" if document.data is None else "not a mapping of keys"
            self.problem(path, what, "write `key: value` lines")
        return Document(document.file, None)

    @contextmanager
    def _folder(self, part: str) -> Iterator[int]:
        """Open a folder of the inventory, `""` for the inventory itself, which alone may be reached by a link."""
        root = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        try:
            if part:
                with _opened(part, os.O_DIRECTORY, root) as folder:
                    yield folder
            else:
                yield root
        finally:
            os.close(root)

    def _bytes(self, path: str) -> bytes:
        part, _, name = path.rpartition("/")
        with self._folder(part) as folder, _opened(name, os.O_NONBLOCK, folder) as descriptor:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _RefusedError("is not a regular file", "put a text file there")
            with open(descriptor, "rb", closefd=False) as stream:
                content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise _RefusedError(f"is larger than {_MOST_BYTES // 1024**2} MiB", "put a text file for people there")
        return content


@contextmanager
def _opened(name: str, flags: int, folder: int) -> Iterator[int]:
    """Open what has this name in a folder, and never what it links to."""
    what = "folder" if flags & os.O_DIRECTORY else "file"
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | flags, dir_fd=folder)
    except OSError:
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise _RefusedError("is a symbolic link", f"put the {what} itself there") from None
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_members(text: str, file: str) -> tuple[Member, ...]:
    """One account a line; `#` starts a comment."""
    members = []
    for number, line in enumerate(text.split("\n"), start=1):
        name = line.split("#", 1)[0].strip()
        if name:
            members.append(Member(name, Place(file, number, line.index(name) + 1)))
    return tuple(members)
