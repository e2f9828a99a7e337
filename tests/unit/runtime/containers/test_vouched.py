"""A label is believed when DS01 gave it: the account's page or the record of containers says so."""

from __future__ import annotations

import json
import pwd
from pathlib import Path

import pytest
from tests.unit.runtime.gpu.engines import inspected

from ds01.core.jsonstate import StateError
from ds01.core.paths import HostPaths
from ds01.runtime.containers.container import Container, read_container
from ds01.runtime.containers.page import locked_page
from ds01.runtime.containers.vouched import recorded_containers, vouched_owner

TOKEN = "2026-03-01T09:00:00.123456Z"


def made(user: str | None = "games", token: str = TOKEN) -> Container:
    labels = {"ds01.created_at": token} | ({} if user is None else {"ds01.user": user})
    return read_container(inspected("web", labels=labels))


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    paths = HostPaths(tmp_path)
    with locked_page(paths.pages, pwd.getpwnam("games").pw_uid) as page:
        page.admitted = (TOKEN,)
    return paths


def record(paths: HostPaths, text: str) -> None:
    paths.containers.write_text(text)


@pytest.mark.parametrize(
    ("container", "owner"),
    [
        (made(), "games"),
        (made(token="2026-03-01T09:00:00.000000Z"), None),
        (made("www-data"), None),
        (made("no-such-account"), None),
        (made(None), None),
        (read_container(inspected("web", labels={"ds01.user": "games"})), None),
    ],
)
def test_what_the_accounts_page_has_is_vouched_for(paths: HostPaths, container: Container, owner: str | None):
    assert vouched_owner(paths, container) == owner


@pytest.mark.parametrize(
    ("row", "owner"), [({"admitted": True}, "games"), ({"admitted": False}, None), ({}, None), ("admitted", None)]
)
def test_so_is_what_was_recorded_as_admitted(paths: HostPaths, row: object, owner: str | None):
    container = made(token="")
    record(paths, json.dumps({"version": 1, "containers": {container.id: row}}))
    assert vouched_owner(paths, container) == owner


def test_a_record_that_cannot_be_read_is_a_yes_for_what_has_an_owner(paths: HostPaths):
    record(paths, "{")
    assert vouched_owner(paths, made(token="")) == "games"
    assert vouched_owner(paths, made(None)) is None
    with pytest.raises(StateError):
        recorded_containers(paths)


@pytest.mark.parametrize("text", [None, '{"version": 1}', '{"version": 1, "containers": []}'])
def test_without_a_record_nothing_is_recorded(paths: HostPaths, text: str | None):
    if text is not None:
        record(paths, text)
    assert recorded_containers(paths) == {}
