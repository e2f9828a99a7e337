"""The accounts' drop-ins as data for the peers' template, and a root where one of them was edited."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from inventories import Site
from measure import BenchError, Command, run_once
from section import Lab


def write_accounts(lab: Lab, site: Site, target: Path) -> list[str]:
    """Write every account's drop-in as data for the peers' template; return the paths."""
    argv = (lab.checkout / "inv", "plan", "--json", "--inventory", site.inventory, "--root", site.empty)
    run_once(Command("plan --json", argv), target)
    plan = json.loads(target.read_text(encoding="utf-8"))
    paths = [action["path"] for action in plan["actions"] if action["account"] is not None]
    accounts = []
    for path in paths:
        lines = (site.deployed / path.lstrip("/")).read_text(encoding="utf-8").splitlines()
        header = [line for line in lines if line.startswith("#")]
        settings = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
        accounts.append({"path": path, "header": header, "settings": dict(settings)})
    target.write_text(json.dumps({"accounts": accounts}), encoding="utf-8")
    return paths


def edit_one(site: Site, path: str, root: Path) -> Path:
    """Return a deployed root where one drop-in has another limit."""
    shutil.copytree(site.deployed, root, symlinks=True)
    file = root / path.lstrip("/")
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("CPUWeight=", "CPUWeight=9"), encoding="utf-8")
    if file.read_text(encoding="utf-8") == text:
        raise BenchError(f"{path} has no CPUWeight to change, so nothing proves that the peers look inside")
    return root
