"""A host in the lab: a prepared machine, edits to the inventory in it, and the real `./inv deploy`."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from tests.lab.machine.prepared import PLACE

if TYPE_CHECKING:
    from tests.lab.machine.machine import Machine

    from ds01.core.process import Completed

INVENTORY: Final = Path(__file__).parents[2] / "inventory"
POLICY: Final = f"{PLACE}/inventory/resource-limits.yaml"
HOST_FILE: Final = f"{PLACE}/inventory/hosts/lab.yaml"
UNITS: Final = PurePosixPath("/etc/systemd/system")
_DEPLOY_SECONDS: Final = 300


def edit(machine: Machine, path: str, old: str, new: str) -> None:
    """Replace what stands once in a file of the machine, as an admin's editor would."""
    text = machine.must(["cat", path])
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path}"
    machine.must(["tee", path], stdin=text.replace(old, new))


def override(machine: Machine, lines: str) -> None:
    """Give accounts limits of their own in the shipped policy: YAML lines below `user_overrides:`."""
    edit(machine, POLICY, "user_overrides:\n", f"user_overrides:\n{lines}")


def inv(machine: Machine, *words: str) -> Completed:
    """Run a task of the checkout in the machine, whatever its exit code."""
    return machine.run([f"{PLACE}/inv", *words], timeout_seconds=_DEPLOY_SECONDS)


def deploy(machine: Machine, *options: str) -> None:
    """Deploy what the machine's inventory says; that it fails is a failure of the test."""
    done = inv(machine, "deploy", "--yes", *options)
    assert done.code == 0, done.words


def leave_to_commands(machine: Machine) -> None:
    """End what acts on containers and GPUs by itself, also after a boot: for tests of what commands do alone."""
    wants = UNITS / "multi-user.target.wants"
    machine.script(f"systemctl stop ds01-eventsd; rm {wants}/ds01-eventsd.service /etc/cron.d/ds01; sync")
