"""The tasks of `./inv`: options in, one call. What they do is in scripts/ds01/workflow.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from invoke import task

if TYPE_CHECKING:
    from invoke import Context

INVENTORY = str(Path(__file__).resolve().parent / "inventory")
_HELP = {
    "host": "host to act for (default: the only one in the inventory, else this machine's name)",
    "root": "folder that stands for / (default: this machine)",
    "inventory": "folder of the inventory (default: that of the checkout)",
    "json": "print one JSON object",
    "user": "only what is for this account",
    "yes": "do not ask",
    "force": "overwrite hand edits; a copy is kept",
    "restart_docker": "restart Docker when daemon.json changed; names the containers it stops",
}


def _help(*names: str, **more: str) -> dict[str, str]:
    return {name.replace("_", "-"): _HELP[name] for name in names} | more


@task(help=_help("host", "inventory", "json"))
def validate(_: Context, host: str | None = None, inventory: str = INVENTORY, json: bool = False) -> int:
    """Check the inventory; every problem at once, with its place."""
    from ds01 import workflow

    return workflow.validate(Path(inventory), host, as_json=json)


@task(help=_help("host", "inventory", check="write nothing; exit 3 when generated/ is stale"))
def render(_: Context, host: str | None = None, inventory: str = INVENTORY, check: bool = False) -> int:
    """Write generated/<host>, for review line by line."""
    from ds01 import workflow

    return workflow.render(Path(inventory), host, only_check=check)


@task(help=_help("host", "root", "inventory", "json", "user", check="exit 3 when changes are pending"))
def plan(
    _: Context,
    host: str | None = None,
    root: str = "/",
    inventory: str = INVENTORY,
    json: bool = False,
    check: bool = False,
    user: str | None = None,
) -> int:
    """Show what a deploy would change on this machine; changes nothing."""
    from ds01 import workflow

    return workflow.plan(Path(inventory), host, Path(root), user, as_json=json, only_check=check)


@task(help=_help("host", "root", "inventory", "yes", "force", "restart_docker"))
def deploy(
    _: Context,
    host: str | None = None,
    root: str = "/",
    inventory: str = INVENTORY,
    yes: bool = False,
    force: bool = False,
    restart_docker: bool = False,
) -> int:
    """Show the plan, ask, and apply it: all of it or nothing."""
    from ds01 import workflow

    options = workflow.Options(yes=yes, force=force, restart_docker=restart_docker)
    return workflow.apply(Path(inventory), host, Path(root), options)


@task(help=_help("root", "yes", "force", "restart_docker", to="generation to go back to (default: the one before)"))
def rollback(
    _: Context,
    to: int | None = None,
    root: str = "/",
    yes: bool = False,
    force: bool = False,
    restart_docker: bool = False,
) -> int:
    """Deploy what an earlier generation wanted."""
    from ds01 import workflow

    return workflow.rollback(Path(root), to, workflow.Options(yes=yes, force=force, restart_docker=restart_docker))


@task(help=_help("root", "json"))
def verify(_: Context, root: str = "/", json: bool = False) -> int:
    """Prove that the host is as it was deployed."""
    from ds01 import workflow

    return workflow.verify(Path(root), as_json=json)


@task(help=_help("root", "json"))
def history(_: Context, root: str = "/", json: bool = False) -> int:
    """List the last deploys: who, when, what."""
    from ds01 import workflow

    return workflow.history(Path(root), as_json=json)
