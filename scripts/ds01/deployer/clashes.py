"""What would break if a file of an older DS01 went, or if it stayed beside DS01's own. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from ds01.core.names import safe
from ds01.core.tree import Tree
from ds01.deployer.directives import parse_unit
from ds01.deployer.older import SLICE_MAKER, WRAPPER, Older, Remains

_PLUGIN: Final = "opa-docker-authz"
_FILTER: Final = "ds01-docker-filter.service"
_DEVICE_MAKER: Final = PurePosixPath("/usr/sbin/ub-device-create")
_NAMED: Final = 3
# Words of scripts that write to what is DS01's now.
_CLASHES: Final = {
    "permissions-manifest": "makes /var/lib/ds01 and /var/log/ds01 writable for a group time and again: deploy then"
    " refuses to write, logrotate to rotate",
    "create-user-slice": "lets others write slices and drop-ins beside DS01's",
    "generate-user-slice-limits": "writes DS01's own drop-ins anew, which then are [drift]",
}


@dataclass(frozen=True, slots=True)
class Host:
    """What of the host decides whether a file can go.

    Attributes:
        running: units that run; None when systemd gives no answer.
        hosts: daemon.json names the sockets to listen on, which Docker's own unit does too.
        plugin: daemon.json asks the older authorization plugin about every request.
        asks_sudo: the older wrapper stays and runs the maker of slices by sudo.
    """

    running: frozenset[str] | None = frozenset()
    hosts: bool = False
    plugin: bool = False
    asks_sudo: bool = False

    @classmethod
    def of(cls, remains: Remains, daemon: str | None, *, wrapper_stays: bool) -> Host:
        """Read daemon.json; what is no JSON asks for nothing here."""
        try:
            document = json.loads(daemon or "{}")
        except ValueError:
            document = {}  # the merge says what is wrong with it
        settings = document if isinstance(document, dict) else {}
        plugins = settings.get("authorization-plugins")
        return cls(
            remains.running,
            "hosts" in settings,
            isinstance(plugins, list) and _PLUGIN in plugins,
            wrapper_stays and remains.makes_slices,
        )


def why_not_go(older: Older, host: Host) -> str | None:
    """Return what would break if the file went, and what to do first; None when nothing would."""
    unit = older.runs
    if unit is not None and (host.running is None or unit in host.running):
        state = "still runs" if host.running is not None else "may still run (systemd gives no answer)"
        return f"belongs to {unit}, which {state} and would go on without it\n{_stop(unit, host)}"
    if host.plugin and unit == f"{_PLUGIN}.service":
        return f"starts the plugin that daemon.json asks about every request\n{_stop(unit, host)}"
    if host.hosts and older.path.parent.name == "docker.service.d":
        return (
            "makes Docker listen where daemon.json says (hosts), and without it Docker does not start\n"
            "To fix: take hosts out of daemon.json and remove both in a restart window (docs/migration.md), or"
            " --keep it"
        )
    if host.asks_sudo and older.path.parent.name == "sudoers.d" and SLICE_MAKER.name in older.text:
        return (
            f"is what {WRAPPER} asks sudo for, and without it docker run asks everybody for a password\n"
            f"To fix: mv {SLICE_MAKER} {SLICE_MAKER}.off (systemd makes slices by itself), let both go, or"
            " --keep both"
        )
    if older.path == _DEVICE_MAKER:
        return f"has the original beside it\nTo fix: mv {_DEVICE_MAKER}.original {_DEVICE_MAKER}, or --keep it"
    return None


def _stop(unit: str, host: Host) -> str:
    first = ""
    if unit == f"{_PLUGIN}.service" and host.plugin:
        first = f"take {_PLUGIN} out of authorization-plugins in daemon.json, systemctl reload docker.service, then "
    if unit == _FILTER and host.hosts:
        first = "give /run/docker.sock back to Docker first (docs/migration.md, The socket filter), then "
    return f"To fix: {first}systemctl disable --now {unit}, or --keep it"


def why_not_stay(older: Older, wanted: Tree) -> str | None:
    """Return why a drop-in cannot stay: systemd would take its values together with DS01's, and its last."""
    if older.path.parent.suffix != ".d" or not older.path.parent.name.endswith(".slice.d"):
        return None
    theirs = parse_unit(older.text).get("Slice", {})
    for file in wanted:
        if file.path.parent == older.path.parent:
            both = [name for name in parse_unit(file.content).get("Slice", {}) if name in theirs]
            if both:
                return f"sets {', '.join(both)} as {file.path} does, so it cannot stay\nTo fix: let it go, or edit it"
    return None


def if_it_stays(staying: Sequence[Older], wanted: Tree) -> tuple[str, ...]:
    """Return what files that stay will do to DS01's own."""
    found = [
        f"{each.path} stays and {words}"
        for each in staying
        for needle, words in _CLASHES.items()
        if needle in each.text and each.path != WRAPPER
    ]
    accounts = {file.account for file in wanted if file.account is not None}
    elsewhere = sorted(account for account in accounts if _older_part(account) != safe(account))
    if elsewhere and any(each.path == WRAPPER for each in staying):
        found.append(
            f"{WRAPPER} stays and names slices in the older way: under it, the group's limits hold for containers of"
            f" {some(elsewhere)}, not their own"
        )
    return tuple(found)


def some(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _older_part(account: str) -> str:
    """Return how the older DS01 wrote an account in a slice's name: without its domain, runs of _ as one."""
    plain = safe(account.split("@", 1)[0])
    return "_".join(part for part in plain.split("_") if part)
