"""What a login waits for: greeting, check-limits and ds01-resource-query as whole processes, beside an empty Python."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from groups import lay_down
from measure import Command, Timing, interleave
from section import Lab, Row, Section, Verdict

ROUNDS: Final = 25
BUDGETS: Final = {"greeting": 30, "check-limits": 50, "ds01-resource-query": 50}
_PASS: Final = "python -I -S -c pass"
_MODULES: Final = {
    "greeting": "greeting",
    "check-limits": "check_limits",
    "ds01-resource-query": "resource_query",
}
# As an installed command starts. root is not greeted: the greeting is an ordinary account's, for which root asks in the
# other commands.
_START: Final = """\
import os, sys
sys.path.insert(0, {scripts!r})
from ds01.runtime.commands.{module} import main
{become}
sys.argv[1:] = {words!r}
sys.exit(main())
"""
_BECOME_NOBODY: Final = "os.geteuid() or os.setuid(65534)"
_CONTAINERS: Final = 3


def measure(lab: Lab) -> Section:
    """Time each command for an account with some containers on a host with the shipped policy."""
    root = lab.folder / "root"
    _make_host(lab, root)
    python = lab.checkout / ".venv/bin/python"
    commands = [
        Command(_PASS, (python, "-I", "-S", "-c", "pass")),
        *(Command(name, _argv(lab, python, root, module), _says_memory) for name, module in _MODULES.items()),
    ]
    timings = interleave(commands, 1 if lab.quick else ROUNDS, lab.folder)
    bare = timings[_PASS]
    rows = [Row(name, timing, f"{timing.wall / bare.wall:.1f} x") for name, timing in timings.items()]
    return Section("login", "At login", _WORDS, tuple(rows), tuple(_verdicts(timings, bare)))


_WORDS: Final = f"""
Whole processes for an account with {_CONTAINERS} containers; the ratio is to `{_PASS}`. No engine answers, so that
check-limits shows ids without names.
"""


def _verdicts(timings: dict[str, Timing], bare: Timing) -> list[Verdict]:
    more = {name: (timings[name].fastest - bare.fastest) * 1000 for name in BUDGETS}
    return [
        Verdict(name, f"≤ {most} ms over {_PASS}", f"{more[name]:.0f} ms, fastest runs", met=more[name] <= most)
        for name, most in BUDGETS.items()
    ]


def _argv(lab: Lab, python: Path, root: Path, module: str) -> tuple[str | Path, ...]:
    scripts = str(lab.checkout / "scripts")
    greets = module == "greeting"
    words = ["--root", str(root), *([] if greets else ["nobody"])]
    become = _BECOME_NOBODY if greets else ""
    code = _START.format(scripts=scripts, module=module, become=become, words=words)
    return (python, "-I", "-X", "utf8", "-c", code)


def _says_memory(said: str) -> str | None:
    return None if "emory" in said else "it showed no memory"


def _make_host(lab: Lab, root: Path) -> None:
    policy = root / "etc/ds01/policy.json"
    policy.parent.mkdir(parents=True)
    shutil.copyfile(lab.checkout / "generated/ds01/root/etc/ds01/policy.json", policy)
    lay_down(root / "sys/fs/cgroup", "nobody", _CONTAINERS)
    # Who asks is not who runs the benchmark.
    lab.folder.chmod(0o755)
