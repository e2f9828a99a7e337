"""A desk in this very process: the caller is this process's account, the engine answers on a real socket."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ds01.core.paths import HostPaths
from ds01.runtime.client.arguments import Parsed, parse
from ds01.runtime.client.tables import load
from ds01.runtime.wrapper.desk import Desk, open_desk
from ds01.runtime.wrapper.protocol import Asked

SHIPPED = Path(__file__).parents[4] / "generated/ds01/root/etc/ds01/policy.json"
GIB = 1024**3
TABLE = load("28.2")
ME = pwd.getpwuid(os.getuid()).pw_name


def make_paths(folder: Path, change: Callable[[dict[str, Any]], None] = lambda _: None, me: str = "games") -> HostPaths:
    """Lay down a host whose policy has one student."""
    paths = HostPaths(folder)
    for path in (paths.policy, paths.events, paths.engine):
        path.parent.mkdir(parents=True, exist_ok=True)
    document = json.loads(SHIPPED.read_text())
    document["users"] = {me: {"group": "student"}}
    document["user_overrides"] = {}
    document["access_control"]["admin_users"] = []
    change(document)
    paths.policy.write_text(json.dumps(document))
    return paths


def asked(*words: str, pid: int | None = None, unicode: bool = True) -> Asked:
    return Asked(os.getpid() if pid is None else pid, unicode, colour=False, visible_devices="", words=words)


def desk_of(paths: HostPaths, *words: str, unicode: bool = True) -> Desk:
    return open_desk(paths, asked(*words, unicode=unicode))


def line(*words: str) -> Parsed:
    return parse(words, TABLE)


def events(paths: HostPaths) -> Sequence[dict[str, Any]]:
    if not paths.events.exists():
        return []
    return [json.loads(text) for text in paths.events.read_text().splitlines()]
