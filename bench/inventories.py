"""Inventories of any size and roots to plan against, made from the shipped inventory with invented accounts."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from measure import BenchError, Command, run_once

# Which part of the invented accounts goes to which group; the rest are students.
_SHARES: Final = {"faculty": 0.05, "researcher": 0.15}
_SUMMARY: Final = re.compile(
    r"^Plan for .*: (\d+) to add, (\d+) to change, (\d+) to remove, (\d+) unchanged", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Site:
    """An inventory, an empty root, and a root where it is deployed.

    Attributes:
        files: how many files the plan is about.
    """

    accounts: int
    inventory: Path
    empty: Path
    deployed: Path
    files: int


def make_site(checkout: Path, folder: Path, accounts: int | None = None) -> Site:
    """Write an inventory of so many accounts and deploy it to a folder.

    Args:
        accounts: None for the shipped inventory as it is.

    Raises:
        BenchError: the shipped inventory has more accounts than that, or it cannot be deployed.
    """
    inventory, empty, deployed = folder / "inventory", folder / "empty", folder / "deployed"
    shutil.copytree(checkout / "inventory", inventory)
    empty.mkdir()
    deployed.mkdir()
    shipped = sum(len(_members(path)) for path in inventory.glob("groups/*.members"))
    if accounts is not None:
        _invent(inventory, accounts - shipped)
    options = ("--inventory", inventory, "--root", deployed)
    output = folder / "output"
    run_once(Command("deploy", (checkout / "inv", "deploy", *options, "--yes")), output)
    run_once(Command("plan", (checkout / "inv", "plan", *options)), output)
    changes, unchanged = read_summary(output.read_text(encoding="utf-8"))
    if changes or not unchanged:
        raise BenchError(f"a plan after the deploy of {accounts or shipped} accounts still has {changes} changes")
    return Site(accounts or shipped, inventory, empty, deployed, unchanged)


def plan_command(checkout: Path, site: Site, root: Path, name: str, changes: int) -> Command:
    """Return the command for `./inv plan` that must report so many changes.

    Args:
        changes: the number of files to add, to change and to remove.
    """

    def check(said: str) -> str | None:
        found, unchanged = read_summary(said)
        if (found, found + unchanged) == (changes, site.files):
            return None
        return f"it found {found} changes in {found + unchanged} files, not {changes} in {site.files}"

    return Command(name, (checkout / "inv", "plan", "--inventory", site.inventory, "--root", root), check)


def read_summary(said: str) -> tuple[int, int]:
    """Return how many files a plan changes and how many it leaves; (0, 0) where there is no plan."""
    found = _SUMMARY.search(said)
    if found is None:
        return 0, 0
    add, change, remove, unchanged = map(int, found.groups())
    return add + change + remove, unchanged


def _members(path: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def _invent(inventory: Path, count: int) -> None:
    """Add accounts; every second one is a directory name, which has to be made safe for a slice."""
    if count < 0:
        raise BenchError("the shipped inventory has more accounts than that")
    numbers = {group: int(count * share) for group, share in _SHARES.items()}
    numbers["student"] = count - sum(numbers.values())
    for group, number in numbers.items():
        names = [f"{group}-{n}@example.org" if n % 2 else f"{group}.{n}" for n in range(number)]
        with (inventory / "groups" / f"{group}.members").open("a", encoding="utf-8") as file:
            file.write("\n" + "\n".join(names) + "\n")
