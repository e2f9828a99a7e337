"""The committed picture of each host: `generated/<host>/root/…` and its manifest, for review line by line.

Only written by `render`; plan and deploy always render afresh.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Collection
from pathlib import Path

from ds01.core.tree import Form, Tree

_MANIFEST = "manifest.json"


def generated_files(tree: Tree) -> dict[str, str]:
    """Return the files below generated/<host> with their text; links stand in its manifest alone."""
    files = {f"root{file.path}": file.content for file in tree if file.form is Form.FILE}
    manifest = {
        "generated": "made by ./inv render, do not edit",
        "host": tree.host,
        "policy_hash": tree.policy_hash,
        "files": {
            str(file.path): file.to_json()
            if file.form is Form.LINK
            else {key: value for key, value in file.to_json().items() if key != "content"} | {"sha256": file.sha256}
            for file in tree
        },
    }
    return files | {_MANIFEST: json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"}


def stale_reason(checkout: Path, tree: Tree) -> str | None:
    """Return why the committed tree is not what the inventory gives, or None when it is."""
    folder = checkout / "generated" / tree.host
    wanted = generated_files(tree)
    there = _read(folder)
    if there == wanted:
        return None
    if not there:
        return f"generated/{tree.host} is not there; run ./inv render and commit it"
    differs = sorted(name for name in {*there, *wanted} if there.get(name) != wanted.get(name))
    return (
        f"generated/{tree.host} is stale in {len(differs)} files ({differs[0]} first); run ./inv render and commit it"
    )


def write_generated(checkout: Path, tree: Tree) -> int:
    """Bring generated/<host> up to date.

    Returns:
        How many files were written or removed, its manifest included.
    """
    folder = checkout / "generated" / tree.host
    _remove_links(folder)
    wanted, there = generated_files(tree), _read(folder)
    changed = [name for name in wanted if there.get(name) != wanted[name]]
    gone = [name for name in there if name not in wanted]
    for name in changed:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[name], encoding="utf-8")
    for name in gone:
        (folder / name).unlink(missing_ok=True)
    for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
    return len(changed) + len(gone)


def left_over(checkout: Path, hosts: Collection[str]) -> tuple[str, ...]:
    """Return the folders below generated/ whose host the inventory does not have."""
    folder = checkout / "generated"
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return tuple(name for name in names if name not in hosts)


def _read(folder: Path) -> dict[str, str | None]:
    """Return path to text; None for what is no file of its own, such as a link, which is never followed."""
    found: dict[str, str | None] = {}
    for above, folders, files in os.walk(folder):
        for name in [*files, *(each for each in folders if Path(above, each).is_symlink())]:
            path = Path(above, name)
            regular = stat.S_ISREG(path.lstat().st_mode)
            text = path.read_text(encoding="utf-8", errors="replace") if regular else None
            found[path.relative_to(folder).as_posix()] = text
    return found


def _remove_links(folder: Path) -> None:
    """Take away what is no file or folder of its own, so that nothing is written through it."""
    if folder.is_symlink():
        folder.unlink()
    for name, text in _read(folder).items():
        if text is None:
            (folder / name).unlink()
