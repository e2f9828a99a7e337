"""Releases of the runtime for tests: built for real from a lock of one tiny package, and copied to other roots."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.wheel import make_wheel

from ds01.core.paths import HostPaths
from ds01.core.process import run
from ds01.core.value import replace
from ds01.deployer.install import Source, install, launcher_text
from ds01.deployer.release import LAUNCHERS, RELEASES, Release
from ds01.deployer.releases import MANIFEST, release_manifest

if TYPE_CHECKING:
    from ds01.core.process import Run

CHECKOUT: Final = Path(__file__).resolve().parents[1]
PACKAGE: Final = CHECKOUT / "scripts" / "ds01"
# What make_wheel() names it, and what every release holds besides.
TINY: Final = "tiny"


def tiny_source(folder: Path, version: str = "1.0", package: Path = PACKAGE) -> Source:
    """Return a source whose lock asks for one package that lies in a folder of wheels: no network, and little to do."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / f"host-{version}.txt"
    lock.write_text(make_wheel(folder / "wheels", version))
    return Source(package, lock, folder / "wheels", Path(sys.executable))


def build(source: Source, root: Path, runner: Run = run) -> Release:
    """Build a source's release below a root."""
    release = source.release()
    install(source, release, HostPaths(root), runner, {}, lambda _: None)
    return release


def transplant(built: Path, root: Path, release: Release, seen_from: Path | None = None) -> Path:
    """Copy a built folder below another root, as if it had been built there as this release; returns the folder.

    Args:
        seen_from: the root as the release's commands will see it, where that is another one.
    """
    folder = HostPaths(root).releases / release.name
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(built, folder, symlinks=True)
    venv = HostPaths(root if seen_from is None else seen_from).releases / release.name / "venv"
    for name, module in LAUNCHERS.items():
        (folder / "bin" / name).write_bytes(os.fsencode(launcher_text(venv, module)))
    seal(folder, release)
    return folder


def seal(folder: Path, release: Release) -> None:
    """Write release.json for what lies in a folder now."""
    (folder / MANIFEST).write_text(json.dumps(release_manifest(release, folder)))
    (folder / MANIFEST).chmod(0o644)


def put_in_force(root: Path, name: str) -> None:
    """Let the link name a release, by hand."""
    link = root / "opt/ds01/current"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(f"{RELEASES.name}/{name}")


def named(release: Release, name: str, **versions: str) -> Release:
    """Return a release under another name, with other versions of some packages."""
    return replace(release, name=name, packages={**release.packages, **versions})
