"""The file that says whose lists the label tells: right at once, never good for long, and gone in doubt."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.runtime.containers.samples import SHIPPED
from tests.unit.runtime.gpu.engines import inspected

from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.value import dataclass, field
from ds01.runtime.containers.claims import Claim, remove_claim, write_claim
from ds01.runtime.containers.container import Container, ContainerSummary, State, Undescribed, read_container
from ds01.runtime.telemetry.lists import Lists

SHIPPED_POLICY = json.loads(SHIPPED.read_text(encoding="utf-8"))
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GOOD = int(NOON.timestamp()) + 90


def container(name: str, **labels: str) -> Container:
    return read_container(inspected(name, labels={key.replace("_", "."): text for key, text in labels.items()}))


HERS = container("hers", ds01_user="alice")
OLDER = container("older", **{"aime.mlc.USER": "bob"})
NOBODYS = container("web")


@dataclass(slots=True)
class Site:
    """Where lists are kept, at one moment after the other."""

    paths: HostPaths
    lists: Lists = field(default_factory=Lists)
    unowned: str = "deny"

    def said(self, seconds: float = 0.0) -> str | None:
        """Keep the file, and return what it says then."""
        access = {"unowned_containers": self.unowned, "system_containers": ["monitor"]}
        policy = Policy.from_document({**SHIPPED_POLICY, "access_control": access})
        self.lists.keep(self.paths, policy, NOON, seconds)
        return self.paths.lists.read_text() if self.paths.lists.exists() else None

    def claim(self, of: Container, user: str) -> None:
        write_claim(self.paths, Claim(of.id, user, "root", NOON, of.name))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    paths = HostPaths(tmp_path)
    paths.claims.parent.mkdir(parents=True)
    made = Site(paths)
    made.lists.all_are([HERS])
    made.lists.trust()
    return made


def test_nothing_is_said_before_all_containers_are_known(tmp_path: Path) -> None:
    site = Site(HostPaths(tmp_path))
    site.lists.note(HERS)
    assert site.said() is None


def test_it_is_readable_for_all_and_good_for_a_while(site: Site) -> None:
    assert site.said() == f"{GOOD}\n"
    assert site.paths.lists.stat().st_mode & 0o777 == 0o644


def test_it_says_at_once_who_came_to_have_more(site: Site) -> None:
    assert site.said() == f"{GOOD}\n"
    site.lists.note(OLDER)
    assert site.said() == f"{GOOD} bob\n"
    site.claim(HERS, "student01")
    assert site.said() == f"{GOOD} bob student01\n"
    site.lists.forget(OLDER.id)
    assert site.said() == f"{GOOD} student01\n"
    remove_claim(site.paths, HERS.id)
    assert site.said() == f"{GOOD}\n"


def test_what_was_claimed_before_it_was_known_is_said(site: Site) -> None:
    his = container("his", ds01_user="bob")
    site.claim(his, "alice")
    assert site.said() == f"{GOOD}\n"
    site.lists.note(his)
    assert site.said() == f"{GOOD} alice\n"


def test_what_is_nobodys_is_everybodys_where_the_policy_says_so(site: Site) -> None:
    site.lists.note(NOBODYS)
    assert site.said() == f"{GOOD}\n"
    site.unowned = "allow"
    assert site.said() == f"{GOOD} *\n"
    site.claim(NOBODYS, "bob")
    assert site.said() == f"{GOOD} bob\n"


def test_the_sites_own_is_nobodys_under_a_name_that_is_sure(site: Site) -> None:
    monitor = container("monitor")
    site.unowned = "allow"
    site.lists.note(monitor)
    assert site.said() == f"{GOOD}\n"
    site.lists.renamed(monitor.id)
    assert site.said() == f"{GOOD} *\n"
    site.lists.all_are([HERS, monitor])
    assert site.said() == f"{GOOD}\n"
    site.lists.all_are([HERS, container("monitor2")])
    assert site.said() == f"{GOOD} *\n"


def test_claims_that_cannot_be_read_are_the_helpers_to_tell(site: Site) -> None:
    site.paths.claims.write_text("{")
    assert site.said() == f"{GOOD} *\n"


def test_it_is_renewed_before_it_gets_old_and_not_all_the_time(site: Site) -> None:
    assert site.said(1000.0) is not None
    site.paths.lists.write_text("as it was")
    site.lists.note(container("more", ds01_user="bob"))
    assert site.said(1029.0) == "as it was"
    assert site.said(1030.0) == f"{GOOD}\n"


def test_in_doubt_it_is_gone_until_all_were_looked_at(site: Site) -> None:
    assert site.said() is not None
    site.lists.doubt(site.paths)
    assert not site.paths.lists.exists()
    site.lists.note(OLDER)
    assert site.said() is None
    site.lists.all_are([HERS])
    assert site.said() is None
    site.lists.trust()
    assert site.said() == f"{GOOD}\n"


def test_what_docker_cannot_describe_counts_by_its_line_of_the_list(site: Site) -> None:
    there = ContainerSummary(OLDER.id, "older", State.EXITED, NOON, "pytorch", OLDER.labels)
    site.lists.all_are([HERS, Undescribed(there, "its storage is gone")])
    assert site.said() == f"{GOOD} bob\n"


def test_what_cannot_be_written_is_said_once_and_tried_again(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    folder = site.paths.lists.parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("no folder")
    with caplog.at_level(logging.INFO):
        assert site.said() is None
        assert site.said(1.0) is None
        folder.unlink()
        assert site.said(2.0) == f"{GOOD}\n"
    assert [each.getMessage() for each in caplog.records] == [
        f"{site.paths.lists} cannot be written, so lists ask the helper: {folder}: File exists",
        f"{site.paths.lists} is written again",
    ]
