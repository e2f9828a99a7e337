"""Trees of control groups of version 2, as the kernel shows them, written to a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

from ds01.core.names import cgroup_path

DATA = Path(__file__).parent / "data/cgroup"
CONTROLLERS = "cpuset cpu io memory hugetlb pids rdma misc\n"
GIB = 2**30


def make_mount(root: Path) -> Path:
    """Make an empty tree with `ds01.slice` in it."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "cgroup.controllers").write_text(CONTROLLERS)
    make_group(root / "ds01.slice")
    return root


def pressure_text(some: float = 0, full: float = 0, *, some10: float | None = None, full10: float | None = None) -> str:
    """What a pressure file says, from percents of the last minute; of the last 10 s where they differ."""
    rows = (("some", some if some10 is None else some10, some), ("full", full if full10 is None else full10, full))
    return "\n".join(f"{name} avg10={a:.2f} avg60={b:.2f} avg300={b:.2f} total={b * 10_000:.0f}" for name, a, b in rows)


def events_text(**counts: int) -> str:
    """What memory.events says; what is not given has not happened."""
    names = ("low", "high", "max", "oom", "oom_kill", "oom_group_kill")
    return "\n".join(f"{name} {counts.get(name, 0)}" for name in names)


def make_group(path: Path, current: int = 0, inactive: int = 0, pids: int = 0, usec: int = 0, **limits: str) -> Path:
    """Make one group with the counters given; limits such as `memory_max="1024"` are else `max`."""
    path.mkdir(parents=True, exist_ok=True)
    files = {
        "memory.current": f"{current}",
        "memory.stat": f"anon {current}\ninactive_file {inactive}\nactive_file 0",
        "pids.current": f"{pids}",
        "cpu.stat": f"usage_usec {usec}\nuser_usec {usec}\nsystem_usec 0",
        "memory.max": "max",
        "memory.high": "max",
        "pids.max": "max",
        "cpu.max": "max 100000",
        "memory.pressure": pressure_text(),
        "cpu.pressure": pressure_text(),
        "io.pressure": pressure_text(),
        "memory.events": events_text(),
        "memory.events.local": events_text(),
        **{name.replace("_", "."): text for name, text in limits.items()},
    }
    for name, text in files.items():
        (path / name).write_text(f"{text}\n")
    return path


def make_slice(root: Path, name: str, current: int = 0, inactive: int = 0, pids: int = 0, usec: int = 0) -> Path:
    """Make an account's slice where systemd puts it."""
    return make_group(root / cgroup_path(name), current, inactive, pids, usec)
