"""The same drop-ins compared by DS01, by Ansible's check mode and by pyinfra's dry run, in one run."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dropins import edit_one, write_accounts
from environment import ensure_environment
from inventories import Site, make_site, plan_command
from measure import Command, Timing, interleave, run_once
from section import Lab, Row, Section, Verdict

from ds01.core.value import replace

ROUNDS: Final = 3
BUDGETS: Final = {"ansible": 100, "pyinfra": 8}
_DEPLOYS: Final = Path(__file__).resolve().parent / "deploys"
# What each prints about one file.
_ANSIBLE_ROW: Final = re.compile(r"^(?:ok|(?P<changed>changed)): \[localhost\] => \(item=/etc/", re.MULTILINE)
_PYINFRA_ROW: Final = re.compile(r"^ +/etc/\S+ +(?:-|(?P<changed>1 \(@local\))) ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class State:
    """A root and what must be found there.

    Attributes:
        files: changes among all of DS01's files.
        drop_ins: changes among those that the peers look at.
        looked_at: how many those are.
    """

    name: str
    root: Path
    files: int
    drop_ins: int
    looked_at: int


@dataclass(frozen=True, slots=True)
class Tools:
    """What the peers need: their programs, their data, a home of their own."""

    programs: Path
    accounts: Path
    home: Path


def measure(lab: Lab) -> Section:
    """Prove that each peer compares what DS01 compares, then time all three in turn."""
    site = make_site(lab.checkout, lab.folder)
    tools = Tools(ensure_environment(), lab.folder / "accounts.json", lab.folder / "home")
    tools.home.mkdir()
    paths = write_accounts(lab, site, tools.accounts)
    count = len(paths)
    edited = edit_one(site, paths[count // 2], lab.folder / "edited")
    for command in _commands(lab, site, tools, State("edited", edited, 1, 1, count)):
        run_once(command, lab.folder / "output")
    empty = State("empty", site.empty, site.files, count, count)
    deployed = State("deployed", site.deployed, 0, 0, count)
    commands = [*_commands(lab, site, tools, empty), *_commands(lab, site, tools, deployed)]
    timings = interleave(commands, 1 if lab.quick else ROUNDS, lab.folder)
    rows = tuple(
        Row(name, timing, f"{_ratio(name, timings):.1f} x", _note(name, timings)) for name, timing in timings.items()
    )
    return Section("peers", f"The same {count} drop-ins, by others", _words(site, count), rows, _verdicts(timings))


def _commands(lab: Lab, site: Site, tools: Tools, state: State) -> list[Command]:
    """Return the commands for one root, ours before and after each of the others."""
    environment = {"HOME": str(tools.home), "ANSIBLE_CONFIG": str(_DEPLOYS / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}
    ansible = (
        *(tools.programs / "ansible-playbook", "--inventory", "localhost,", "--check", "--diff"),
        *("--extra-vars", f"root={state.root}", "--extra-vars", f"@{tools.accounts}"),
        *("--extra-vars", f"ansible_python_interpreter={tools.programs / 'python'}", "playbook.yml"),
    )
    pyinfra = (
        *(tools.programs / "pyinfra", "--dry", "--diff", "--data", f"root={state.root}"),
        *("--data", f"accounts={tools.accounts}", "@local", "slices.py"),
    )
    ours = replace(plan_command(lab.checkout, site, state.root, f"DS01, {state.name}", state.files), repeat=2)
    first = Command(f"pyinfra, {state.name}", pyinfra, _counts(_PYINFRA_ROW, state), _DEPLOYS, environment)
    second = Command(f"ansible, {state.name}", ansible, _counts(_ANSIBLE_ROW, state), _DEPLOYS, environment)
    return [ours, first, ours, first, ours, second, ours]


def _counts(row: re.Pattern[str], state: State) -> Callable[[str], str | None]:
    """Return a check that a peer looked at every drop-in and found the right number changed."""

    def check(said: str) -> str | None:
        verdicts = [bool(found["changed"]) for found in row.finditer(said)]
        if (len(verdicts), sum(verdicts)) == (state.looked_at, state.drop_ins):
            return None
        return f"it found {sum(verdicts)} of {len(verdicts)} changed, not {state.drop_ins} of {state.looked_at}"

    return check


def _ours(name: str, timings: Mapping[str, Timing]) -> Timing:
    """Return DS01's timing for the root that a row is about."""
    return timings[f"DS01, {name.rpartition(', ')[2]}"]


def _ratio(name: str, timings: Mapping[str, Timing]) -> float:
    """Return how many times as long as DS01 a peer takes for the same root."""
    return timings[name].wall / _ours(name, timings).wall


def _note(name: str, timings: Mapping[str, Timing]) -> str:
    peer, ours = timings[name], _ours(name, timings)
    return f"fastest runs {peer.fastest / ours.fastest:.1f} x, CPU time {peer.cpu / ours.cpu:.1f} x"


def _verdicts(timings: Mapping[str, Timing]) -> tuple[Verdict, ...]:
    verdicts = []
    for name in timings:
        budget = BUDGETS.get(name.split(",")[0])
        if budget is not None:
            ratio = _ratio(name, timings)
            verdicts.append(Verdict(f"DS01 against {name}", f"≥ {budget} x", f"{ratio:.1f} x", met=ratio >= budget))
    return tuple(verdicts)


def _words(site: Site, count: int) -> str:
    return f"""
Three programs say what would change in the same {count} files, byte for byte the same text. Before anything is timed,
each has to find exactly the one file that was edited in a deployed root; in every timed run it has to find {count}
changes in the *empty* root and none in the *deployed* one, or nothing is reported.

- **DS01**: `./inv plan`. It reads and validates the inventory, works out the limits, renders and compares all its
  {site.files} files, of which {count} are these, and prints the diffs.
- **Ansible**: `ansible-playbook --check --diff` with one `template` task that loops over the accounts, on a local
  connection without facts. The limits are given to it, worked out already.
- **pyinfra**: `pyinfra --dry --diff @local` with one `files.template` an account, from the same template and data.

Ansible and pyinfra are general tools that ask the target about every file, over SSH as well as here; DS01 reads the
files in its own process, and only on the machine it runs on. The ratio is to DS01 on the same root.
"""
