"""`./inv plan` as a whole process: the shipped inventory, 1,000 and 10,000 accounts, against `./inv --list`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from inventories import Site, make_site, plan_command
from measure import Command, Timing, interleave
from section import Lab, Row, Section, Verdict

SIZES: Final = (None, 1_000, 10_000)
ROUNDS: Final = 9
BUDGET_SECONDS: Final = 0.4
# Linear: a further account costs as much among thousands as among hundreds, give or take the noise and the caches of
# the CPU; anything quadratic would make it ten times as much. Told from the fastest runs.
LINEAR_WITHIN: Final = 1.5
_LIST: Final = "./inv --list"


def measure(lab: Lab) -> Section:
    """Plan every site against its empty and its deployed root."""
    sites = []
    for size in SIZES:
        folder = lab.folder / str(size or "shipped")
        folder.mkdir()
        sites.append(make_site(lab.checkout, folder, size))
    timings = interleave(_commands(lab, sites), 1 if lab.quick else ROUNDS, lab.folder)
    rows = [Row(_LIST, timings[_LIST], "1.00 x", "the start alone: bash, Python, Invoke and tasks.py")]
    for site in sites:
        for state, changes in (("empty", site.files), ("deployed", 0)):
            timing = timings[_name(site, state)]
            over = (timing.wall - timings[_LIST].wall) / site.accounts * 1000
            note = f"{changes:,} of {site.files:,} files change; {over:.2f} ms an account over {_LIST}"
            rows.append(Row(_name(site, state), timing, f"{timing.wall / timings[_LIST].wall:.2f} x", note))
    return Section("plan", "Plan, from start to end", _WORDS, tuple(rows), _verdicts(sites, timings))


_WORDS: Final = f"""
Each row is a whole process, from the shell script to its exit, with its output going to a file. *empty* is a first
plan, which shows every file as a diff; *deployed* is a plan with nothing to do. Both are about the runtime too, as an
admin's are: what it would be built from is hashed, and in the deployed root every file of its release. The larger
inventories are the shipped one with invented accounts added. All rows are run in turn, round after round. The ratio is
to `{_LIST}`; whether the time is linear is told from the fastest runs.
"""


def _name(site: Site, state: str) -> str:
    return f"plan, {site.accounts:,} accounts, {state}"


def _commands(lab: Lab, sites: list[Site]) -> list[Command]:
    commands = [Command(_LIST, (lab.checkout / "inv", "--list"), repeat=2)]
    for site in sites:
        commands.append(plan_command(lab.checkout, site, site.empty, _name(site, "empty"), site.files))
        commands.append(plan_command(lab.checkout, site, site.deployed, _name(site, "deployed"), 0))
    return commands


def _verdicts(sites: list[Site], timings: Mapping[str, Timing]) -> tuple[Verdict, ...]:
    verdicts = []
    for state in ("empty", "deployed"):
        over = timings[_name(sites[0], state)].wall - timings[_LIST].wall
        verdicts.append(
            Verdict(
                _name(sites[0], state),
                f"≤ {BUDGET_SECONDS} s over {_LIST}",
                f"{over:.2f} s over it",
                met=over <= BUDGET_SECONDS,
            )
        )
        few, many, most = (site.accounts for site in sites)
        small, middle, large = (timings[_name(site, state)].fastest for site in sites)
        first, next_one = (middle - small) / (many - few), (large - middle) / (most - many)
        verdicts.append(
            Verdict(
                f"plan up to {most:,} accounts, {state}",
                f"linear: within {LINEAR_WITHIN} x",
                f"a further account costs {first * 1000:.2f} ms up to {many:,}, {next_one * 1000:.2f} ms above",
                met=next_one <= first * LINEAR_WITHIN,
            )
        )
    return tuple(verdicts)
