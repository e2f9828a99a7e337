"""Decide what a deploy would do, from what is wanted, what is there and what DS01 owns. Pure: nothing is changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase as fnmatch
from pathlib import PurePosixPath
from typing import Final

from ds01.core.errors import Ds01Error
from ds01.core.services import SERVICES
from ds01.core.tree import Form, Merge, Part, Tree, TreeFile, sha256
from ds01.deployer.directives import describe_change, is_slice, same_effect
from ds01.deployer.handlers import DAEMON_RELOAD, DOCKER_RELOAD, DOCKER_RESTART
from ds01.deployer.merge import decode, merge_json, ours_in, unmerge_json
from ds01.deployer.observed import Kind as FileKind
from ds01.deployer.observed import Observed
from ds01.deployer.owned import Owned, OwnedFile


class Verb(Enum):
    """What happens to a file; the value is the word people read."""

    ADD = "add"
    CHANGE = "change"
    TAKE_OVER = "take over"
    REMOVE = "remove"
    RETIRE = "remove older"  # of these three takeover.py decides
    KEEP = "keep older"
    OLDER = "older"
    UNCHANGED = "unchanged"
    BLOCKED = "blocked"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Action:
    """One file's part of the plan.

    Attributes:
        reason: in words, for the plan, the log and the tests alike.
        before: text on disk, or where a link there leads; None when there is none or it cannot be read.
        after: text that will be there, or where a link will lead; None when it will be gone.
        drift: it was changed by hand since the last deploy, and that change would be lost.
        keep: the old text is worth a copy (it was somebody's own).
        file: the wanted file, None when nothing is wanted there.
        record: what a merge will remember.
        was: what `before` is of.
    """

    verb: Verb
    path: PurePosixPath
    reason: str
    before: str | None = None
    after: str | None = None
    drift: bool = False
    keep: bool = False
    file: TreeFile | None = None
    account: str | None = None
    record: Mapping[str, object] | None = None
    handlers: tuple[str, ...] = ()
    was: Form = Form.FILE
    part: Part | None = None

    @property
    def changes(self) -> bool:
        """Whether anything is written or removed."""
        return self.verb in {Verb.ADD, Verb.CHANGE, Verb.TAKE_OVER, Verb.REMOVE, Verb.RETIRE}

    @property
    def words(self) -> str:
        """Path and reason in one; what is in the way names the path itself."""
        path = str(self.path)
        return self.reason if self.reason.startswith(path) else f"{path}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Scope:
    """A part of a plan.

    Attributes:
        account: only this account's own file; None for all accounts and everything else.
        pattern: only paths that match, such as `/etc/systemd/system/ds01-*`; None for all.
        without: the part that is left as it is on the host; None for none.
    """

    account: str | None = None
    pattern: str | None = None
    without: Part | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether it is about some files alone."""
        return self.account is not None or self.pattern is not None

    def covers(self, path: PurePosixPath, account: str | None, part: Part | None) -> bool:
        """Whether a file of an account and a part lies in it."""
        if self.account is not None and account != self.account:
            return False
        if self.without is not None and part is self.without:
            return False
        return self.pattern is None or fnmatch(str(path), self.pattern)

    def to_json(self) -> dict[str, str | None]:
        """Return the scope as a journal holds it."""
        without = None if self.without is None else self.without.value
        return {"account": self.account, "pattern": self.pattern, "without": without}

    @classmethod
    def from_json(cls, stored: Mapping[str, str | None]) -> Scope:
        """Rebuild what to_json() returned.

        Raises:
            KeyError, ValueError: it is not one of ours.
        """
        without = stored["without"]
        return cls(stored["account"], stored["pattern"], None if without is None else Part(without))


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a deploy would do, in the order it would do it.

    Attributes:
        pending: handlers an earlier deploy left for later.
    """

    host: str
    policy_hash: str
    actions: tuple[Action, ...]
    pending: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[Action, ...]:
        """The actions that write or remove."""
        return tuple(action for action in self.actions if action.changes)

    @property
    def drifted(self) -> tuple[Action, ...]:
        """The actions that would lose a hand edit."""
        return tuple(action for action in self.actions if action.drift)

    @property
    def blocked(self) -> tuple[Action, ...]:
        """The files something is in the way of."""
        return tuple(action for action in self.actions if action.verb in {Verb.BLOCKED, Verb.UNKNOWN})

    @property
    def handlers(self) -> tuple[str, ...]:
        """Names of the handlers to run, each once."""
        named = dict.fromkeys(name for action in self.actions for name in action.handlers)
        return tuple(dict.fromkeys((*named, *self.pending)))

    @property
    def summary(self) -> str:
        """One line: what changes and how much stays."""
        counts = Counter(action.verb for action in self.actions)
        words = [f"{counts[verb]} to {verb.value}" for verb in _COUNTED if counts[verb] or verb in _ALWAYS]
        words += [f"{counts[verb]} {phrase}" for verb, phrase in _PHRASES.items() if counts[verb]]
        return ", ".join([*words, f"{counts[Verb.UNCHANGED]} unchanged"])

    def within(self, scope: Scope) -> Plan:
        """Return the part of the plan that lies in a scope; what was left for later waits for whole plans."""
        inside = tuple(action for action in self.actions if scope.covers(action.path, action.account, action.part))
        return Plan(self.host, self.policy_hash, inside, () if scope.is_narrow else self.pending)


_USUAL: Final = (0o644, "root", "root")
_COUNTED: Final = (Verb.ADD, Verb.CHANGE, Verb.TAKE_OVER, Verb.REMOVE)
_PHRASES: Final = {
    Verb.RETIRE: "older to remove",
    Verb.KEEP: "older to keep",
    Verb.OLDER: "older to decide about",
    Verb.BLOCKED: "blocked",
    Verb.UNKNOWN: "unknown",
}
_ALWAYS: Final = frozenset({Verb.ADD, Verb.CHANGE, Verb.REMOVE})


def make_plan(
    wanted: Tree,
    observed: Mapping[PurePosixPath, Observed],
    owned: Owned,
    identities: Mapping[PurePosixPath, tuple[int, int]] | None = None,
) -> Plan:
    """Compare what is wanted with what is there.

    Args:
        observed: every path of `wanted` and of `owned`.
        identities: uid and gid each wanted file should have; None when ownership cannot be set here (not root).

    Returns:
        One action a file: removals of stale files come first, then the wanted files by path.
    """
    stale = [path for path in sorted(owned.files) if path not in wanted.files]
    actions = [action for path in stale if (action := _stale(path, observed[path], owned.files[path])) is not None]
    for file in wanted:
        identity = None if identities is None else identities[file.path]
        actions.append(_wanted(file, observed[file.path], owned.files.get(file.path), identity, owned.generation))
    return Plan(wanted.host, wanted.policy_hash, tuple(actions), owned.pending)


def _in_the_way(path: PurePosixPath, there: Observed, *, whole: bool) -> tuple[Verb, str] | None:
    """Return what keeps a path from being changed. A link is replaced as a whole, but nothing is merged through it."""
    if whole and there.form is Form.LINK:
        return None
    match there.kind:
        case FileKind.ABSENT | FileKind.FILE:
            return None
        case FileKind.UNREADABLE:
            return Verb.UNKNOWN, there.obstacle or f"{path} cannot be read; run the plan with sudo to see it"
        case FileKind.SYMLINK | FileKind.FOLDER | FileKind.OTHER:
            return Verb.BLOCKED, there.obstacle or f"{path} is a {there.kind.value}"


def _text(there: Observed) -> str | None:
    return None if there.content is None else there.content.decode(errors="surrogateescape")


def _wanted(
    file: TreeFile,
    there: Observed,
    owned: OwnedFile | None,
    identity: tuple[int, int] | None,
    generation: int,
) -> Action:
    obstacle = _in_the_way(file.path, there, whole=file.merge is None)
    if obstacle is not None:
        return Action(obstacle[0], file.path, obstacle[1], file=file, account=file.account, part=file.part)
    before = _text(there)
    if file.merge is Merge.JSON:
        return _merged(file, owned, there.content, generation)
    if before is None:
        gone = owned is not None
        reason = _deleted(generation) if gone else _why_new(file)
        return _act(Verb.ADD, file, reason, None, file.content, drift=gone)
    was = there.form or Form.FILE
    if before == file.content and was is file.form:
        wrong = _metadata(file, there, identity)
        verb = Verb.CHANGE if wrong else Verb.UNCHANGED
        return _act(verb, file, wrong or "as wanted", before, file.content, was=was)
    if owned is None:
        reason = f"a {_WORDS[was]} that DS01 did not write is here"
        return _act(Verb.TAKE_OVER, file, reason, before, file.content, keep=True, was=was)
    if not _edited(owned, there):
        reason = _why_changed(file, before)
        return _act(Verb.CHANGE, file, reason, before, file.content, was=was)
    reason = f"edited by hand since generation {generation}"
    return _act(Verb.CHANGE, file, reason, before, file.content, drift=True, keep=True, was=was)


_WORDS: Final = {Form.FILE: "file", Form.LINK: "symbolic link"}


def _edited(owned: OwnedFile, there: Observed) -> bool:
    """Whether what is there is not what DS01 left there."""
    return there.form is not owned.form or sha256(there.content or b"") != owned.sha256


def _why_changed(file: TreeFile, before: str) -> str:
    if file.form is Form.LINK:
        return f"leads to {file.content} instead of {before}"
    return describe_change(before, file.content) or f"{file.source} renders differently"


def _deleted(generation: int) -> str:
    return f"deleted by hand since generation {generation}"


def _why_new(file: TreeFile) -> str:
    if file.form is Form.LINK:
        return f"a link to {file.content}"
    why = f"limits of account {file.account}" if file.account else f"new, from {file.source}"
    usual = (file.mode, file.owner, file.group) == _USUAL
    return why if usual else f"{why}, mode {file.mode:04o}, {file.owner}:{file.group}"


def _metadata(file: TreeFile, there: Observed, identity: tuple[int, int] | None) -> str:
    """Return what is wrong with mode and ownership, empty when nothing is."""
    if file.form is Form.FILE and there.mode is not None and there.mode != file.mode:
        return f"mode is {there.mode:04o}, wanted {file.mode:04o}"
    if identity is not None and (there.uid, there.gid) != identity:
        return f"owned by {there.uid}:{there.gid}, wanted {file.owner}:{file.group}"
    return ""


def _merged(file: TreeFile, owned: OwnedFile | None, content: bytes | None, generation: int) -> Action:
    record = owned.record if owned is not None else None
    before = None
    try:
        before = None if content is None else decode(content)
        merged = merge_json(file.content, before, record)
        edited = ours_in(before, record) if record is not None and before is not None else []
    except Ds01Error as error:
        return Action(Verb.BLOCKED, file.path, error.render(), before=before, file=file)
    if before == merged.text and not edited:
        return _act(Verb.UNCHANGED, file, "as wanted", before, merged.text, record=merged.record)
    if edited:
        keys = ", ".join(".".join(path) for path in edited)
        reason = f"DS01's own keys were edited by hand: {keys}"
        return _act(Verb.CHANGE, file, reason, before, merged.text, drift=True, keep=True, record=merged.record)
    if before is None:
        reason = _why_new(file) if owned is None else _deleted(generation)
        return _act(Verb.ADD, file, reason, None, merged.text, drift=owned is not None, record=merged.record)
    reason = "DS01's keys change; foreign keys stay" if record else "DS01's keys are merged in; foreign keys stay"
    return _act(Verb.CHANGE, file, reason, before, merged.text, record=merged.record, keep=record is None)


def _stale(path: PurePosixPath, there: Observed, owned: OwnedFile) -> Action | None:
    obstacle = _in_the_way(path, there, whole=owned.record is None)
    if obstacle is not None:
        return Action(obstacle[0], path, obstacle[1], account=owned.account, part=owned.part)
    before = _text(there)
    if before is None:
        return None
    # Only a slice that goes changes a value in effect; a reload is no small thing.
    of_service = tuple(each.handler for each in SERVICES if each.unit == path.name)
    handlers = (DAEMON_RELOAD,) if is_slice(path) else of_service
    if owned.record is not None:
        return _unmerged(path, before, owned)
    edited = _edited(owned, there)
    why = f"account {owned.account} is no longer listed or limited" if owned.account else "no longer rendered"
    reason = "edited by hand, and no longer rendered" if edited else why
    return Action(
        Verb.REMOVE,
        path,
        reason,
        before,
        drift=edited,
        keep=edited,
        account=owned.account,
        handlers=handlers,
        was=there.form or Form.FILE,
        part=owned.part,
    )


def _unmerged(path: PurePosixPath, before: str, owned: OwnedFile) -> Action:
    try:
        rest = unmerge_json(before, owned.record or {})
    except Ds01Error as error:
        return Action(Verb.BLOCKED, path, error.render(), before=before)
    if rest.text == before:
        return Action(Verb.UNCHANGED, path, "nothing of DS01's is left in it", before, before)
    verb = Verb.REMOVE if rest.text is None else Verb.CHANGE
    reason = "DS01's keys go; what was there before comes back"
    return Action(verb, path, reason, before, rest.text, handlers=(DOCKER_RELOAD, DOCKER_RESTART))


def _act(  # noqa: PLR0913 - one constructor for every wanted file, all but the first four by name
    verb: Verb,
    file: TreeFile,
    reason: str,
    before: str | None,
    after: str,
    *,
    drift: bool = False,
    keep: bool = False,
    record: Mapping[str, object] | None = None,
    was: Form = Form.FILE,
) -> Action:
    handlers = () if verb is Verb.UNCHANGED or same_effect(file.path, before, after) else file.handlers
    return Action(
        verb, file.path, reason, before, after, drift, keep, file, file.account, record, handlers, was, file.part
    )
