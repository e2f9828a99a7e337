"""Every service has a unit, a handler and a launcher of its own, and they are called alike."""

from __future__ import annotations

from pathlib import Path

from ds01.core.services import SERVICES
from ds01.deployer.handlers import HANDLERS
from ds01.deployer.release import LAUNCHERS

TEMPLATES = Path(__file__).resolve().parents[3] / "templates"


def test_names_of_unit_and_handler_follow_from_the_services() -> None:
    assert [(each.unit, each.handler) for each in SERVICES] == [
        ("ds01-sampler.service", "restart-sampler"),
        ("ds01-eventsd.service", "restart-eventsd"),
        ("ds01-gpuwatch.service", "restart-gpuwatch"),
    ]


def test_each_has_its_unit_its_handler_and_its_launcher() -> None:
    manifest = (TEMPLATES / "manifest.yaml").read_text()
    handlers = {each.name for each in HANDLERS}
    for each in SERVICES:
        unit = (TEMPLATES / f"etc/systemd/system/{each.unit}.j2").read_text()
        assert f"\nExecStart=/opt/ds01/current/bin/{each.name}\n" in unit
        assert each.name in LAUNCHERS
        assert each.handler in handlers
        assert f"handlers: [{each.handler}]\n" in manifest
        assert f"leads_to: ../{each.unit}\n" in manifest


def test_none_starts_before_recovery_has_settled_what_is_in_place() -> None:
    recover = (TEMPLATES / "etc/systemd/system/ds01-recover.service.j2").read_text().splitlines()
    (line,) = [line for line in recover if line.startswith("Before=")]
    assert line.removeprefix("Before=").split() == ["docker.service", *(each.unit for each in SERVICES)]


def test_no_unit_of_a_service_is_left_out_of_the_table() -> None:
    names = {each.name for each in SERVICES}
    restarted = {
        file.name.removesuffix(".service.j2")
        for file in (TEMPLATES / "etc/systemd/system").glob("*.service.j2")
        if "\nRestart=always\n" in file.read_text()
    }
    assert restarted == names
