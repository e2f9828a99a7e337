"""A record of containers as the events daemon writes it, with what a test says of each."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ds01.core.paths import HostPaths
from ds01.core.value import replace
from ds01.runtime.containers.container import read_container
from ds01.runtime.containers.look import remember
from ds01.runtime.containers.record import Record, Row, row_of
from ds01.runtime.containers.seen import Kind, Seen

AT = datetime(2026, 3, 1, 9, 12, tzinfo=UTC)


def row(said: Mapping[str, object], **more: Any) -> Row:
    """Return what is remembered of a container, given what the engine says of it."""
    seen = Seen(read_container(dict(said)), Kind.DOCKER, None, admitted=False, of_site=False, first_seen=AT)
    return replace(row_of(seen), **more)


def write_record(paths: HostPaths, *rows: Row) -> None:
    remember(paths, Record({each.id: each for each in rows}), AT)
