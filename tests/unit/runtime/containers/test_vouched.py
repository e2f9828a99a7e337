"""A label is believed when DS01 gave it: the account's page, or the record of containers, says so."""

from __future__ import annotations

import json
import pwd
from pathlib import Path

import pytest
from tests.unit.runtime.containers.recorded import row, write_record
from tests.unit.runtime.gpu.engines import inspected

from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.runtime.containers.container import Container, read_container
from ds01.runtime.containers.page import locked_page
from ds01.runtime.containers.vouched import vouched_owner

SHIPPED = Path(__file__).resolve().parents[4] / "generated/ds01/root/etc/ds01/policy.json"
POLICY = Policy.from_document(json.loads(SHIPPED.read_text()))
TOKEN = "2026-03-01T09:00:00.123456Z"


def said(user: str | None = "games", token: str = TOKEN) -> dict[str, object]:
    labels = {"ds01.created_at": token} | ({} if user is None else {"ds01.user": user})
    return inspected("web", labels=labels)


def made(user: str | None = "games", token: str = TOKEN) -> Container:
    return read_container(said(user, token))


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    paths = HostPaths(tmp_path)
    with locked_page(paths.pages, pwd.getpwnam("games").pw_uid) as page:
        page.admitted = (TOKEN,)
    return paths


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
    assert vouched_owner(paths, POLICY, container) == owner


@pytest.mark.parametrize(("admitted", "owner"), [(True, "games"), (False, None)])
def test_so_is_what_was_recorded_as_admitted(paths: HostPaths, admitted: object, owner: str | None):
    write_record(paths, row(said(token="other"), admitted=admitted))
    assert vouched_owner(paths, POLICY, made(token="other")) == owner


def test_a_record_that_cannot_be_read_is_a_yes_for_what_has_an_owner(paths: HostPaths):
    paths.containers.write_text("{")
    assert vouched_owner(paths, POLICY, made(token="other")) == "games"
    assert vouched_owner(paths, POLICY, made(None)) is None
