"""What a plan comes to: the files to write and remove, the generation, the next manifest. Reads, never writes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final

from ds01.core.errors import Ds01Error
from ds01.core.paths import HostPaths
from ds01.core.tree import Form, Part, Tree, sha256
from ds01.deployer.apply import Change, Link, Remove, Write
from ds01.deployer.handlers import DOCKER_RESTART
from ds01.deployer.history import KEPT, Generation, generation_path, numbers, read_generation
from ds01.deployer.owned import MANIFEST_NAME, Owned, OwnedFile
from ds01.deployer.plan import Action, Plan
from ds01.deployer.release import CURRENT
from ds01.deployer.survey import identity
from ds01.deployer.takeover import is_settling

STATE: Final = PurePosixPath("/var/lib/ds01/deploy")


def file_changes(plan: Plan, paths: HostPaths) -> list[Change]:
    """Return the writes and removals of a plan.

    The runtime comes first, the link that puts it in force before what calls it: from then on a power cut is cleared
    up at the next boot, before anything of the policy has changed. Where it goes, it goes last, the link at the very
    end. The rest keeps the plan's order.
    """
    as_root = os.geteuid() == 0
    changes: list[Change] = []
    for action in _in_order(plan.changes):
        if action.after is None:
            changes.append(Remove(action.path))
            continue
        content = action.after.encode(errors="surrogateescape")
        there = paths.at(action.path)
        if (action.file is None or action.file.merge is not None) and there.exists():
            # A merged file stays its owner's: only the text changes.
            found = there.stat()
            owner = (found.st_uid, found.st_gid) if as_root else (None, None)
            changes.append(Write(action.path, content, found.st_mode & 0o7777, *owner))
        elif action.file is not None:
            ids = identity(action.file.owner, action.file.group) if as_root else (None, None)
            if action.file.form is Form.LINK:
                changes.append(Link(action.path, action.after, *ids))
            else:
                changes.append(Write(action.path, content, action.file.mode, *ids))
    return changes


def _in_order(actions: Iterable[Action]) -> list[Action]:
    runtime = [action for action in actions if action.part is Part.RUNTIME]
    come = sorted((action for action in runtime if action.after is not None), key=lambda each: each.path != CURRENT)
    gone = [action for action in reversed(runtime) if action.after is None]
    gone.sort(key=lambda each: each.path == CURRENT)
    return [*come, *(action for action in actions if action.part is not Part.RUNTIME), *gone]


def kept_copies(plan: Plan, number: int) -> list[Change]:
    """Keep what somebody else wrote before it is replaced: nothing is ever lost."""
    return [
        _copy(kept_folder(number) / str(action.path).lstrip("/"), action.before, action.was)
        for action in plan.changes
        if action.keep and action.before is not None
    ]


def _copy(path: PurePosixPath, text: str, form: Form) -> Change:
    if form is Form.LINK:
        return Link(path, text)
    return Write(path, text.encode(errors="surrogateescape"), 0o600)


def kept_folder(number: int) -> PurePosixPath:
    """Return where a generation keeps copies of what it replaced."""
    return STATE / "kept" / f"{number:06d}"


def state_changes(generation: Generation, manifest: Owned, paths: HostPaths) -> list[Change]:
    """The deployer's own files, in the same transaction; the manifest last."""
    old = numbers(paths)[: -(KEPT - 1)] if len(numbers(paths)) >= KEPT else ()
    return [
        *(Remove(generation_path(number)) for number in old),
        Write(generation_path(generation.number), _json(generation.to_json()), 0o640),
        Write(STATE / MANIFEST_NAME, _json(manifest.to_json()), 0o644),
    ]


def next_owned(
    plan: Plan, paths: HostPaths, owned: Owned, number: int, handlers: Iterable[str], *, whole: bool
) -> Owned:
    """Return the manifest after the plan, which may be only a part of what is wanted."""
    files = dict(owned.files)
    seen = {action.path for action in plan.actions}
    for action in plan.actions:
        if action.file is None:
            files.pop(action.path, None)
        elif action.after is not None:
            file = action.file
            files[action.path] = OwnedFile(
                sha256=digest(action.after),
                mode=file.mode,
                owner=file.owner,
                group=file.group,
                source=file.source,
                account=file.account,
                record=action.record,
                form=file.form,
                part=file.part,
            )
    # Stale files that somebody removed already have no action; they are forgotten.
    for path in [path for path in files if path not in seen and whole and not os.path.lexists(paths.at(path))]:
        files.pop(path)
    needed = {folder for path in files for folder in path.parents}
    made = {folder for folder in needed if not paths.at(folder).exists()}
    kept = needed & set(owned.folders)
    # In a folder there is no Docker to restart, so nothing is left for later.
    due = {DOCKER_RESTART} & {*plan.handlers, *owned.pending}
    on_demand = due - set(handlers) if paths.is_live else set()
    folders = tuple(sorted(made | kept))
    settled = owned.settled or is_settling(plan)
    return Owned(number, plan.host, plan.policy_hash, files, folders, tuple(sorted(on_demand)), settled)


def unused_folders(owned: Owned, manifest: Owned) -> tuple[PurePosixPath, ...]:
    """Return folders DS01 made that hold nothing of it any more, inner ones first."""
    return tuple(sorted(set(owned.folders) - set(manifest.folders), reverse=True))


def deployed_tree(wanted: Tree, plan: Plan, paths: HostPaths, owned: Owned) -> Tree:
    """Return the tree the host holds once only a part of what is wanted was deployed."""
    try:
        files = dict(read_generation(paths, owned.generation).tree.files) if owned.generation else {}
    except Ds01Error as error:
        raise Ds01Error(
            error.brief, error.details, "deploy the whole (./inv deploy), which does not need it"
        ) from error
    for action in plan.actions:
        if action.file is None:
            files.pop(action.path, None)
        else:
            files[action.path] = action.file
    return Tree.of(wanted.host, wanted.policy_hash, files.values())


def digest(text: str) -> str:
    """Return the hash of a text as it is on disk."""
    return sha256(text.encode(errors="surrogateescape"))


def _json(value: Mapping[str, object]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
