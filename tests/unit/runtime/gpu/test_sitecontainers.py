"""Which containers are believed: an engine on a real socket, and what the events daemon wrote before."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.runtime.containers.samples import SHIPPED
from tests.unit.runtime.gpu.engines import engine_with, inspected

from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.runtime.containers.claims import Claim, write_claim
from ds01.runtime.containers.look import look, read_record, remember
from ds01.runtime.containers.record import Record, row_of
from ds01.runtime.gpu.sitecontainers import SiteContainers

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EXPORTER, SYSTEM = "ds01-dcgm-exporter", "backup"
# An account that every Debian has.
ALICE = "games"


@pytest.fixture
def site(tmp_path: Path) -> SiteContainers:
    paths = HostPaths(tmp_path)
    for path in (paths.engine, paths.gpu_state):
        path.parent.mkdir(parents=True)
    document = json.loads(SHIPPED.read_text(encoding="utf-8"))
    assert EXPORTER in document["monitoring"]["infrastructure_containers"]
    document["users"] = {ALICE: {"group": "student"}}
    document["access_control"]["system_containers"] = [SYSTEM]
    return SiteContainers(paths, Policy.from_document(document))


def id_of(container: dict[str, object]) -> str:
    return str(container["Id"])


def test_only_the_sites_own_that_monitor_are_believed(site: SiteContainers) -> None:
    exporter, nb, backup = inspected(EXPORTER), inspected("nb"), inspected(SYSTEM)
    with engine_with(site.paths.engine, exporter, nb, backup):
        assert [site.doubt(id_of(each)) for each in (exporter, nb, backup)] == [None, "nb", SYSTEM]
        assert site.doubt("f" * 64) == "f" * 12


def test_the_name_of_the_sites_own_is_not_enough(site: SiteContainers) -> None:
    """A label says whose it is, or an administrator does."""
    labelled, claimed = inspected(EXPORTER, labels={"ds01.user": ALICE}), inspected("ds01-node-exporter")
    write_claim(site.paths, Claim(id_of(claimed), ALICE, "root", NOON, "ds01-node-exporter"))
    with engine_with(site.paths.engine, labelled, claimed):
        assert [site.doubt(id_of(each)) for each in (labelled, claimed)] == [EXPORTER, "ds01-node-exporter"]


def test_without_docker_what_was_known_last_holds(site: SiteContainers) -> None:
    exporter, nb = inspected(EXPORTER), inspected("nb")
    assert site.doubt(id_of(exporter)) == id_of(exporter)[:12]
    with engine_with(site.paths.engine, exporter, nb):
        rows = {each.container.id: row_of(each) for each in look(site.paths, site.policy).seen}
    remember(site.paths, Record(rows), NOON)
    assert read_record(site.paths).rows.keys() == {id_of(exporter), id_of(nb)}
    assert [site.doubt(id_of(each)) for each in (exporter, nb)] == [None, "nb"]
    site.paths.containers.write_text("{")
    assert site.doubt(id_of(exporter)) == id_of(exporter)[:12]


def test_who_publishes_a_port_is_told_by_docker(site: SiteContainers) -> None:
    def port(address: str, number: int, kind: str = "tcp") -> dict[str, object]:
        return {"IP": address, "PrivatePort": 9400, "PublicPort": number, "Type": kind}

    everywhere, elsewhere = frozenset({"0.0.0.0", "127.0.0.1"}), frozenset({"::"})
    here = inspected("here") | {"Ports": [{"PrivatePort": 9400, "Type": "tcp"}, port("127.0.0.1", 9400)]}
    there = inspected("there") | {"Ports": [port("192.0.2.7", 9400), port("0.0.0.0", 9401), port("::", 9400)]}
    quic = inspected("quic") | {"Ports": [port("0.0.0.0", 9400, "udp")]}
    with engine_with(site.paths.engine, here, there, quic, inspected("none")):
        assert site.publishing(9400, everywhere) == (id_of(here),)
        assert site.publishing(9400, elsewhere) == (id_of(there),)
        assert site.publishing(9500, everywhere) == ()
    assert site.publishing(9400, everywhere) is None
