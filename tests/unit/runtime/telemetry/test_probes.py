"""A host is looked at as it is: real files, a real socket; what hangs costs its own line only."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.runtime.containers.test_engine import Fake, http

from ds01.core.clock import format_instant
from ds01.core.paths import HostPaths
from ds01.core.process import TIMED_OUT, Completed
from ds01.core.services import EVENTSD, GPUWATCH, SAMPLER, SERVICES, Service
from ds01.runtime.gpu.activity import Activity, UnitActivity, to_document
from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.lifecycle.jobs import run_job
from ds01.runtime.machine import Machine
from ds01.runtime.telemetry.health import Check, Status
from ds01.runtime.telemetry.probes import (
    Host,
    cron_checks,
    deploy_checks,
    docker_checks,
    gpu_checks,
    job_checks,
    look_around,
    policy_checks,
    service_check,
)
from ds01.runtime.telemetry.statefiles import AS_ROOT

SHIPPED = Path(__file__).resolve().parents[4] / "tests/golden/minimal/expected/root/etc/ds01/policy.json"
NOW = datetime(2026, 3, 1, 12, 10, tzinfo=UTC)
JOBS = ("idle", "max-runtime", "stale-gpu", "stale-containers", "unmanaged")


def saying(**answers: str) -> Callable[..., Completed]:
    """systemctl, which says of each unit what it is told to, and knows no other."""

    def run(argv: Sequence[str], **_: object) -> Completed:
        assert argv[:3] == ["systemctl", "is-active", "--"]
        words = [answers.get(unit.partition(".")[0].replace("-", "_"), "inactive") for unit in argv[3:]]
        return Completed(tuple(argv), 0 if set(words) == {"active"} else 3, "\n".join(words) + "\n", "")

    return run


def host_at(paths: HostPaths, *, boot_seconds: float = 30 * 86400, **answers: str) -> Host:
    machine = Machine(now=lambda: NOW, boot_seconds=lambda: boot_seconds)
    return Host(paths, saying(**answers), machine, limit_seconds=2.0)


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    paths = HostPaths(tmp_path)
    for path in (paths.policy, paths.cron, paths.claims, paths.rates, paths.units / "x", paths.deploy / "x"):
        path.parent.mkdir(parents=True)
    paths.policy.write_text(json.dumps(policy_document()))
    paths.cron.write_text("\n")
    os.utime(paths.cron, (0, 0))
    return paths


def policy_document() -> dict[str, Any]:
    document = json.loads(SHIPPED.read_text())
    document["policies"]["schedule"] = {each.replace("-", "_"): "15 * * * *" for each in JOBS}
    return dict(document)


def only(checks: object) -> Check:
    (check,) = list(checks)  # type: ignore[call-overload]  # whatever yields checks
    assert isinstance(check, Check)
    return check


# --- Services ---------------------------------------------------------------------------------------------------------

FILES = [(SAMPLER, "rates", 2), (SAMPLER, "pressure", 3), (EVENTSD, "containers", 20), (GPUWATCH, "gpu_activity", 3)]


@pytest.mark.parametrize(("service", "written", "minutes"), FILES)
def test_a_service_is_looked_at_with_all_that_it_writes(paths: HostPaths, service: Service, written: str, minutes: int):
    host, name = host_at(paths, **{service.name.replace("-", "_"): "active"}), service.name
    file: Path = getattr(paths, written)
    assert service_check(host, service).text == f"it is not deployed: {service.without}"
    (paths.units / service.unit).touch()
    assert service_check(host_at(paths), service).text == f"it is inactive: {service.without}"
    assert f"it runs and has not written {file} yet" in service_check(host, service).text
    for each, other, _ in FILES:
        if each is service:
            getattr(paths, other).write_text('{"updated_at": "2026-03-01T12:09:59Z"}')
    for age in (timedelta(seconds=30), timedelta(minutes=minutes)):
        file.write_text(json.dumps({"updated_at": format_instant(NOW - age)}))
        assert service_check(host, service) == Check(name, Status.OK, service.does)
    file.write_text(json.dumps({"updated_at": format_instant(NOW - timedelta(minutes=minutes, seconds=1))}))
    found = service_check(host, service)
    assert (found.status, found.text.startswith(f"it runs, and {file} is ")) == (Status.FAILED, True)
    for damaged in ("", "{", "[]", "{}", '{"updated_at": 7}'):
        file.write_text(damaged)
        found = service_check(host, service)
        assert (found.status, found.text.startswith(f"{file} cannot be read: ")) == (Status.FAILED, True)


def test_every_service_is_looked_at_by_what_it_writes():
    assert {each for each, *_ in FILES} == set(SERVICES)


def watched(**trouble: str) -> dict[str, Any]:
    """What a watcher wrote just now of a host with a GPU of which nothing can be told while there is trouble."""
    unit = UnitActivity(None, None, NOW, unknown=next(iter(trouble.values()), None) or "it is lost")
    return to_document(Activity({GpuUuid("GPU-0"): unit}), NOW, "boot-1", 5.0, trouble)


def test_a_driver_that_hangs_is_ill_however_fresh_what_is_written_of_it(paths: HostPaths):
    hangs = "the driver has not answered for 7200 s"
    assert list(gpu_checks(host_at(paths))) == []
    paths.gpu_activity.write_text(json.dumps(watched(driver=hangs)))
    # The host file of this one lists no GPU.
    assert only(gpu_checks(host_at(paths))).status is Status.OK
    paths.policy.write_text(json.dumps(policy_document() | {"host": {"gpus": [GPU]}}))
    found = only(gpu_checks(host_at(paths)))
    assert (found.status, found.text) == (Status.FAILED, hangs)
    paths.policy.unlink()
    assert only(gpu_checks(host_at(paths))).status is Status.FAILED


GPU = {"model": "A100-SXM4-80GB", "memory_bytes": 80 * 2**30, "mig": []}


def test_units_of_which_nothing_can_be_told_are_a_warning(paths: HostPaths):
    silent = "no DCGM exporter answers"
    paths.gpu_activity.write_text(json.dumps(watched(exporter=silent)))
    found = only(gpu_checks(host_at(paths)))
    assert (found.status, found.text) == (Status.WARNING, f"whether 1 unit is busy nobody can tell: {silent}")
    # Before DS01 wrote down what is wrong.
    older = watched()
    del older["trouble"]
    paths.gpu_activity.write_text(json.dumps(older))
    assert only(gpu_checks(host_at(paths))).text == "whether 1 unit is busy nobody can tell: it is lost"


@pytest.mark.parametrize("change", [{"updated_at": "2026-03-01T12:06:59Z"}, {"units": 5}, {"updated_at": None}])
def test_of_gpus_nothing_is_said_by_an_old_or_damaged_file(paths: HostPaths, change: dict[str, object]):
    """The service's own line says that."""
    paths.gpu_activity.write_text(json.dumps(watched(driver="it hangs") | change))
    assert list(gpu_checks(host_at(paths))) == []


def test_a_systemd_that_does_not_answer_is_said_in_its_words(paths: HostPaths):
    def run(argv: Sequence[str], **_: object) -> Completed:
        return Completed(tuple(argv), TIMED_OUT, "", "systemctl gave no answer within 2 s")

    (paths.units / SAMPLER.unit).touch()
    host = Host(paths, run, Machine())
    text = f"it is systemctl gave no answer within 2 s: {SAMPLER.without}"
    assert service_check(host, SAMPLER).text == text


@pytest.mark.parametrize("unit", ["cron", "crond", "cronie"])
def test_any_cron_will_do(paths: HostPaths, unit: str):
    assert only(cron_checks(host_at(paths, **{unit: "active"}))) == Check("cron", Status.OK, "it runs")
    assert only(cron_checks(host_at(paths))).status is Status.FAILED


# --- Docker -----------------------------------------------------------------------------------------------------------


class Pinged(threading.Thread):
    """Answers one question as an engine in a good mood does."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()

    def run(self) -> None:
        connection, _ = self.listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nOK")
        self.listener.close()


def test_docker_answers_or_why_not_is_said(paths: HostPaths):
    engine = Pinged(paths.engine)
    engine.start()
    assert only(docker_checks(host_at(paths))) == Check("docker", Status.OK, f"{paths.engine} answers")
    engine.join()
    found = only(docker_checks(host_at(paths)))
    assert (found.status, found.text) == (
        Status.FAILED,
        f"no Docker engine answers at {paths.engine}: nobody listens there",
    )
    assert "systemctl status docker" in found.fix


def test_an_engine_that_answers_something_else_is_ill(paths: HostPaths):
    fake = Fake(paths.engine)
    fake.says(http("<html>"), "/_ping")
    try:
        assert only(docker_checks(host_at(paths))).status is Status.FAILED
    finally:
        fake.close()


def test_an_engine_that_hangs_is_waited_for_no_longer_than_the_limit(paths: HostPaths):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(paths.engine))
        listener.listen()
        assert only(docker_checks(host_at(paths))).text.startswith("the Docker engine did not answer within 2 s")


def test_where_there_is_a_gateway_both_are_asked(paths: HostPaths):
    gateway, engine = Pinged(paths.engine), Pinged(paths.engine_behind_gateway)
    gateway.start()
    engine.start()
    found = [(each.name, each.status) for each in docker_checks(host_at(paths))]
    assert found == [("gateway", Status.OK), ("docker", Status.OK)]


@pytest.mark.root
def test_an_account_that_may_not_ask_docker_is_told_so():
    # Not in pytest's own folder, which nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="ds01-health-") as folder, socket.socket(socket.AF_UNIX) as listener:
        paths = HostPaths(Path(folder))
        paths.engine.parent.mkdir()
        listener.bind(str(paths.engine))
        listener.listen()
        Path(folder).chmod(0o755)
        paths.engine.chmod(0o600)
        os.seteuid(65534)
        try:
            found = only(docker_checks(host_at(paths)))
        finally:
            os.seteuid(0)
    assert found == Check("docker", Status.UNKNOWN, f"{paths.engine}: {AS_ROOT}")


# --- Policy and jobs --------------------------------------------------------------------------------------------------


def test_a_policy_that_everything_can_read_is_well(paths: HostPaths):
    assert only(policy_checks(host_at(paths))) == Check("policy", Status.OK, f"{paths.policy} is of this release")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda document: document.clear(), "the compiled policy has version None"),
        (lambda document: document.pop("groups"), "the compiled policy is not complete"),
        (lambda document: document["policies"]["schedule"].pop("unmanaged"), "it has no policies.schedule.unmanaged"),
        (lambda document: document.pop("policies"), "it has no policies.schedule.idle, policies.schedule.max_runtime"),
    ],
)
def test_a_policy_of_another_release_is_told_by_what_it_lacks(
    paths: HostPaths, change: Callable[[dict[str, Any]], object], why: str
):
    document = policy_document()
    change(document)
    paths.policy.write_text(json.dumps(document))
    found = only(policy_checks(host_at(paths)))
    assert (found.status, why in found.text) == (Status.FAILED, True)
    assert "deploy" in found.fix


def ran(paths: HostPaths, name: str, *, before: timedelta, fails: bool = False) -> None:
    at = NOW - before

    def act() -> str:
        if fails:
            raise OSError("no")
        return "2 stopped"

    if fails:
        with pytest.raises(OSError, match="no"):
            run_job(paths, name, act, limit_seconds=60, now=lambda: at)
    else:
        run_job(paths, name, act, limit_seconds=60, now=lambda: at)


def test_each_job_is_held_against_its_times(paths: HostPaths):
    ran(paths, "idle", before=timedelta(minutes=55))
    ran(paths, "max-runtime", before=timedelta(hours=9))
    ran(paths, "stale-gpu", before=timedelta(minutes=55))
    ran(paths, "stale-gpu", before=timedelta(minutes=5), fails=True)
    (paths.jobs / "stale-containers.json").write_text("{")
    found = {each.name: (each.status, each.text) for each in job_checks(host_at(paths))}
    assert found == {
        "job idle": (Status.OK, "55 min ago: 2 stopped"),
        "job max-runtime": (Status.FAILED, "it last ended well 9 h ago, and was due twice since"),
        "job stale-gpu": (Status.WARNING, "it failed the last time: OSError: no"),
        "job stale-containers": (Status.FAILED, "it never ended well, and was due twice since"),
        "job unmanaged": (Status.FAILED, "it never ended well, and was due twice since"),
    }


@pytest.mark.parametrize("fresh", ["machine", "file"])
def test_after_a_boot_or_a_deploy_no_job_is_late(paths: HostPaths, fresh: str):
    host = host_at(paths)
    if fresh == "machine":
        host = host_at(paths, boot_seconds=600)
    else:
        os.utime(paths.cron, (NOW.timestamp(), NOW.timestamp()))
    assert {(each.status, each.text) for each in job_checks(host)} == {(Status.OK, "it need not have run yet")}


def test_without_cron_or_policy_what_is_due_is_not_guessed(paths: HostPaths):
    paths.policy.unlink()
    assert only(job_checks(host_at(paths))).status is Status.UNKNOWN
    paths.cron.unlink()
    assert only(job_checks(host_at(paths))).status is Status.WARNING


def test_times_that_cron_would_not_take_are_ill(paths: HostPaths):
    document = policy_document()
    document["policies"]["schedule"] |= {"idle": "61 * * * *", "unmanaged": None}
    paths.policy.write_text(json.dumps(document))
    found = {each.name: each.text for each in job_checks(host_at(paths))}
    assert found["job idle"] == "'61' is no minute, for which cron would ignore its whole file"
    assert "job unmanaged" not in found


def test_a_deploy_that_was_cut_off_is_said(paths: HostPaths):
    assert list(deploy_checks(host_at(paths))) == []
    (paths.deploy / "journal.json").touch()
    assert only(deploy_checks(host_at(paths))).fix == "when none is under way: sudo ds01 recover"


# --- All of it --------------------------------------------------------------------------------------------------------


def test_all_is_looked_at_in_one_order(paths: HostPaths):
    ran(paths, "idle", before=timedelta(minutes=55))
    names = [each.name.removeprefix(str(paths.root)) for each in look_around(host_at(paths)).checks]
    assert names == [
        "policy",
        "host",
        *(f"job {each}" for each in JOBS),
        "/var/log/ds01/events.jsonl",
        *(f"disk {paths.at(each)}" for each in ("var/lib/ds01", "var/log/ds01", "var/lib/docker")),
    ]


def test_what_fails_costs_its_own_line_only(paths: HostPaths):
    paths.cron.unlink()
    paths.cron.parent.rmdir()
    paths.cron.parent.symlink_to(paths.cron.parent)
    found = {each.name: each for each in look_around(host_at(paths)).checks}
    assert (found["jobs"].status, found["jobs"].text) == (
        Status.FAILED,
        f"{paths.cron}: Too many levels of symbolic links",
    )
    assert found["policy"].status is Status.OK


def test_what_hangs_costs_its_own_line_only(paths: HostPaths, monkeypatch: pytest.MonkeyPatch):
    """A disk that does not answer: statvfs(2) is the one call that nothing can end."""
    hangs = threading.Event()
    real = os.statvfs

    def statvfs(path: Path) -> os.statvfs_result:
        if path == paths.at("/var/lib/docker"):
            hangs.wait(60)
        return real(path)

    paths.at("/var/lib/docker").mkdir(parents=True)
    monkeypatch.setattr("os.statvfs", statvfs)
    found = {each.name: each for each in look_around(host_at(paths)).checks}
    hangs.set()
    late = found[f"disk {paths.at('/var/lib/docker')}"]
    assert (late.status, late.text) == (Status.FAILED, "no answer within 4 s")
    assert found["policy"].status is Status.OK
    assert found[f"disk {paths.at('/var/lib/ds01')}"].status is not Status.FAILED
