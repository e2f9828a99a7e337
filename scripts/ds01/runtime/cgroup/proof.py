"""Proves on the running machine that usage is read where systemd counts it. Only reads.

A quota that reads a path that nobody uses refuses nobody, and looks as if nobody used anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ds01.core.names import ROOT_SLICE, cgroup_path
from ds01.core.process import Run
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.runtime.cgroup.tree import CannotTell, Cause
from ds01.runtime.cgroup.usage import check_tree, read_usage, user_slices

_SECONDS: Final = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found.

    Attributes:
        fix: None when all is well.
    """

    text: str
    fix: str | None = None


def prove_paths(cgroup_root: Path, run: Run) -> tuple[Finding, ...]:
    """Ask systemd where each of DS01's slices is counted, and read there.

    Source: systemctl(1), "show" with a pattern: units in memory; ControlGroup is empty for one that is not active.
    """
    argv = ["systemctl", "show", "--property=Id", "--property=ControlGroup", "--", ROOT_SLICE, "ds01-*.slice"]
    done = run(argv, timeout_seconds=_SECONDS)
    if not done.ok:
        return (Finding(f"systemd does not say where slices are counted: {done.words}", "systemctl status says more"),)
    said = dict(_blocks(done.stdout))
    why = check_tree(cgroup_root)
    if why is not None and not (why.cause is Cause.NO_ROOT_SLICE and not any(said.values())):
        return (Finding(why.words, "boot with systemd.unified_cgroup_hierarchy=1; quotas are not checked until then"),)
    wrong = tuple(
        _elsewhere(cgroup_root, name, place) for name, place in said.items() if place not in {"", _ours(name)}
    )
    if wrong:
        return wrong
    if why is not None:
        return (Finding("no container has run since the boot; there is nothing to read yet"),)
    return _readable(cgroup_root) or (
        Finding(f"{sum(map(bool, said.values()))} slices are read where systemd counts them"),
    )


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    for block in text.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("Id"):
            yield values["Id"], values.get("ControlGroup", "")


def _ours(name: str) -> str:
    return f"/{cgroup_path(name)}"


def _elsewhere(cgroup_root: Path, name: str, place: str) -> Finding:
    return Finding(
        f"systemd counts {name} at {place}, DS01 reads {_ours(name)} below {cgroup_root}: it would refuse nobody",
        "is another hierarchy mounted there? mount | grep cgroup",
    )


def _readable(cgroup_root: Path) -> tuple[Finding, ...]:
    slices = user_slices(cgroup_root)
    used = slices if isinstance(slices, CannotTell) else read_usage(cgroup_root, slices)
    readings = (used,) if isinstance(used, CannotTell) else (used.working_set_bytes, used.pids_current, used.containers)
    fix = "look at it as root: what else mounts or changes control groups there?"
    return tuple(Finding(each.words, fix) for each in readings if isinstance(each, CannotTell))
