"""This very checkout on its way into a machine: its files as git sees them, with the lab's host in the inventory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Final

from tests.lab.machine.errors import LabError
from tests.lab.machine.settings import Hardware, Suite

from ds01.generator.inventory import load_inventory

CHECKOUT: Final = Path(__file__).resolve().parents[3]
_HOST_FILE: Final = CHECKOUT / "tests/lab/data/host.yaml"


def host_file(suite: Suite, hardware: Hardware) -> str:
    """Return what the inventory says of a machine of this suite and hardware."""
    template = Template(_HOST_FILE.read_text())
    return template.substitute(cpus=hardware.cpus, memory=hardware.memory, engine_version=suite.engine)


def unix_groups() -> Mapping[str, str]:
    """Return which Linux groups the checkout's policy names, by its own groups."""
    policy = load_inventory(CHECKOUT / "inventory").policy.data
    groups = policy.get("groups", {}) if isinstance(policy, dict) else {}
    found = {name: group.get("unix_group") for name, group in groups.items() if isinstance(group, dict)}
    return {name: linux for name, linux in found.items() if isinstance(linux, str)}


def pack_checkout(archive: Path, checkout: Path = CHECKOUT) -> None:
    """Write a working tree, without what git ignores, to a tar file; all of it root's and as umask 022 leaves it.

    Raises:
        LabError: git or tar cannot.
    """
    folder = os.fspath(checkout)
    listed = _run(["git", "-C", folder, "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    # git lists what was removed, too, until that is committed.
    names = [name for name in listed.split(b"\0") if name and os.path.lexists(checkout / os.fsdecode(name))]
    form = ["--null", "--no-recursion", "--owner=0", "--group=0", "--mode=u=rwX,go=rX", "--files-from=-"]
    _run(["tar", "-C", folder, *form, "-cf", os.fspath(archive)], b"\0".join(names))


def _run(argv: list[str], stdin: bytes = b"") -> bytes:
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed", None, f"apt-get install {argv[0]}") from error
    if done.returncode != 0:
        raise LabError(f"the checkout cannot be packed: {argv[0]} failed", done.stderr.decode("utf-8", "replace"))
    return done.stdout
