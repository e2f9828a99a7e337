"""What README shows is what happens: the plan in it is the plan of the shipped inventory after two changes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.releases import transplant

from ds01.deployer.install import Source

if TYPE_CHECKING:
    from ds01.deployer.release import Release

CHECKOUT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- plan -->\n\n```\n", "```\n\n<!-- end of plan -->"
BOB = "etc/systemd/system/ds01-student-bob.slice.d/10-resource-limits.conf"


def inv(*words: str) -> str:
    done = subprocess.run(
        [CHECKOUT / "inv", *words], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
    )
    return done.stdout


def plan_after_two_changes(folder: Path, built: Path) -> str:
    """Deploy the shipped inventory to a folder, edit one file there by hand and one limit in the inventory.

    Args:
        built: a release that stands in for this checkout's, so that none has to be built from an index.
    """
    root, inventory = folder / "root", folder / "inventory"
    root.mkdir()
    transplant(built, root, Source.of_checkout(CHECKOUT).release())
    shutil.copytree(CHECKOUT / "tests" / "golden" / "shipped" / "inventory", inventory)
    where = ("--root", os.fspath(root), "--inventory", os.fspath(inventory))
    inv("deploy", *where, "--yes")
    policy = inventory / "resource-limits.yaml"
    policy.write_text(policy.read_text().replace("    max_runtime: 96h\n", "    max_runtime: 96h\n    memory: 48g\n"))
    bob = root / BOB
    bob.write_text(bob.read_text().replace("CPUQuota=9600%", "CPUQuota=12800%"))
    return inv("plan", *where).replace(os.fspath(root), "/")


def test_plan_in_readme_is_a_real_one(tmp_path: Path, tiny_release: tuple[Release, Path]) -> None:
    shown = (CHECKOUT / "README.md").read_text().split(BEGIN)[1].split(END)[0]
    assert plan_after_two_changes(tmp_path, tiny_release[1]) == shown
