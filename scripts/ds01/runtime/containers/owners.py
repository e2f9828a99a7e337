"""Whose each container is, as other programs read it. The events daemon writes it; nobody decides anything here."""

from __future__ import annotations

import grp
from collections.abc import Iterable, Mapping
from datetime import datetime

from ds01.core.clock import format_instant
from ds01.core.jsonstate import write_json
from ds01.core.names import ADMIN_GROUP
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.typed import Final
from ds01.runtime.containers.record import Row
from ds01.runtime.containers.seen import Kind

VERSION: Final = 1


def owners_document(rows: Iterable[Row], admins: Iterable[str], service_users: Iterable[str]) -> Mapping[str, object]:
    """Return what the file says, but for the time. Pure.

    Whom only the maker of a container named is no owner here: who reads this decides by it.
    """
    return {
        "version": VERSION,
        "containers": {
            row.id: {"owner": row.charged, "name": row.name, "ds01_managed": row.kind is Kind.MANAGED} for row in rows
        },
        "admins": sorted(set(admins)),
        "service_users": sorted(set(service_users)),
    }


def write_owners(paths: HostPaths, document: Mapping[str, object], now: datetime) -> None:
    """Write the file.

    Raises:
        OSError: it cannot be written; it is as it was.
    """
    paths.container_owners.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    write_json(paths.container_owners, {**document, "updated_at": format_instant(now, milliseconds=True)})


def administrators(policy: Policy) -> frozenset[str]:
    """Return the accounts that are administrators: by the policy's list and groups, and by the Linux group."""
    access = _access(policy)
    listed = {name for name, group in policy.users.items() if group == ADMIN_GROUP}
    return frozenset({"root", *listed, *_texts(access.get("admin_users")), *_members(access.get("admin_group"))})


def service_users(policy: Policy) -> frozenset[str]:
    """Return the accounts of the site's own programs."""
    return frozenset(_texts(_access(policy).get("service_users")))


def _access(policy: Policy) -> Mapping[str, object]:
    access = policy.document.get("access_control")
    return access if isinstance(access, dict) else {}


def _texts(value: object) -> Iterable[str]:
    return map(str, value) if isinstance(value, list) else ()


def _members(group: object) -> Iterable[str]:
    try:
        return grp.getgrnam(str(group)).gr_mem
    except KeyError:
        return ()
