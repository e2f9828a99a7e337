"""Watching step by step: real processes of a real account, real files; only what the driver would say is given."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.runtime.gpu.hosts import LAB

from ds01.core.paths import HostPaths
from ds01.core.value import replace
from ds01.runtime.gpu.activity import from_document
from ds01.runtime.gpu.ending import Ender
from ds01.runtime.gpu.grantbook import change_grants
from ds01.runtime.gpu.grants import Grant, granted
from ds01.runtime.gpu.hardware import GpuUuid, Usage
from ds01.runtime.gpu.looking import Seen
from ds01.runtime.gpu.owners import Owners
from ds01.runtime.gpu.processes import identify
from ds01.runtime.gpu.sighting import Running
from ds01.runtime.gpu.watch import Watcher
from ds01.runtime.lifecycle.notify import Notifier
from ds01.runtime.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIPPED = Path(__file__).parents[3] / "golden/shipped/expected/root/etc/ds01/policy.json"
# An account that every Debian has, as a student.
ALICE, ALICE_UID = "games", 5
WAITS = "import sys; print('ready', flush=True); sys.stdin.read()"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"
SILENT = "no DCGM exporter answers"


@contextmanager
def running(script: str = WAITS, uid: int = ALICE_UID) -> Iterator[subprocess.Popen[bytes]]:
    # The interpreter may lie where an account cannot go, so it becomes one later.
    argv = [sys.executable, "-I", "-S", "-c", f"import os, signal, sys; os.setuid({uid}); {script}"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        try:
            yield child
        finally:
            child.kill()


class Host:
    """A root with a policy, and a driver that says what a test has it say."""

    def __init__(self, root: Path) -> None:
        self.paths = HostPaths(root)
        for folder in ("etc/ds01", "run/ds01", "var/lib/ds01", "var/log/ds01"):
            (root / folder).mkdir(parents=True)
        (root / "proc").symlink_to("/proc")
        self.policy()
        self.on: dict[int, str] = {}
        self.failure: str | None = None
        self.unknown: str | None = None
        self.ahead = 0.0
        self.watcher = self.another()

    def another(self) -> Watcher:
        """The service, started anew."""
        machine = replace(Machine(), now=self.now, boot_seconds=lambda: Machine().boot_seconds() + self.ahead)
        watcher = Watcher(
            paths=self.paths,
            look=self.look,
            teller=Notifier(self.paths),
            machine=machine,
            ender=Ender(machine),
            ask=lambda *_: SILENT,
        )
        watcher.resume()
        return watcher

    def now(self) -> datetime:
        return Machine().now() + timedelta(seconds=self.ahead)

    def policy(self, **changes: Any) -> None:
        document = json.loads(SHIPPED.read_text())
        document["bare_metal_access"] |= {"policy": "terminate", "grace_seconds": 900} | changes
        document["defaults"]["sigterm_grace_seconds"] = 1
        document["groups"] = {
            name: group | {"limits": {key: value for key, value in group["limits"].items() if "sigterm" not in key}}
            for name, group in document["groups"].items()
        }
        self.paths.policy.write_text(json.dumps(document))

    def look(self) -> Seen | str:
        if self.failure is not None:
            return self.failure
        running = [Running(pid, GpuUuid(uuid), 1 << 30) for pid, uuid in self.on.items()]
        found = identify(running, Machine(), Owners(Path("/etc/subuid")))
        devices = replace(LAB, processes=found.processes, unknown=self.unknown)
        return Seen(devices, {GpuUuid("GPU-0"): Usage(97, None), GpuUuid("GPU-1"): Usage(0, None)})

    def step(self, ahead: float = 0.0) -> None:
        self.ahead += ahead
        self.watcher.step()

    def finish(self) -> None:
        while self.watcher.ender.is_busy:
            self.watcher.ender.wait(600)
            self.watcher.attend()

    @property
    def record(self) -> dict[str, Any]:
        found = json.loads(self.paths.host_processes.read_text())
        assert isinstance(found, dict)
        return found

    @property
    def verdicts(self) -> dict[int, str]:
        return {each["pid"]: each["verdict"] for each in self.record["processes"]}

    @property
    def events(self) -> list[dict[str, Any]]:
        if not self.paths.events.exists():
            return []
        return [json.loads(line) for line in self.paths.events.read_text().splitlines()]

    @property
    def types(self) -> list[str]:
        return [each["event_type"] for each in self.events]

    def written_trouble(self) -> dict[str, str]:
        found = json.loads(self.paths.gpu_activity.read_text())["trouble"]
        assert isinstance(found, dict)
        return found

    @property
    def notices(self) -> list[str]:
        return [each["text"] for each in self._rows]

    @property
    def weights(self) -> list[str]:
        return [each["weight"] for each in self._rows]

    @property
    def _rows(self) -> list[dict[str, Any]]:
        path = self.paths.notices(ALICE_UID)
        found = json.loads(path.read_text()) if path.exists() else []
        assert isinstance(found, list)
        return found


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


# --- How busy ---------------------------------------------------------------------------------------------------------


def test_how_busy_each_unit_is_is_written_for_everybody(host: Host) -> None:
    host.step()
    document = json.loads(host.paths.gpu_activity.read_text())
    units = from_document(document, datetime.now(UTC), Machine().boot_id())
    assert not isinstance(units, str)
    assert {uuid: each.percent for uuid, each in units.items()} == {
        "GPU-0": 97.0,
        "GPU-1": 0.0,
        **{f"MIG-{gpu}{number}": 0.0 for gpu in (2, 3) for number in range(3)},
    }
    assert document["threshold_percent"] == 5.0
    assert {path.stat().st_mode & 0o777 for path in (host.paths.gpu_activity, host.paths.host_processes)} == {0o644}


def test_a_driver_that_does_not_answer_is_written_down_as_not_knowing(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.step()
    host.failure = "the driver gave no answer within 20 s"
    host.step(30)
    host.step(30)
    units = json.loads(host.paths.gpu_activity.read_text())["units"]
    assert {(each["percent"], each["unknown"]) for each in units.values()} == {(None, host.failure)}
    assert host.record["unknown"] == host.failure
    assert host.written_trouble() == {"driver": host.failure, "exporter": SILENT}
    host.failure = None
    host.step(30)
    assert host.written_trouble() == {"exporter": SILENT}
    assert json.loads(host.paths.gpu_activity.read_text())["units"]["GPU-0"]["percent"] == 97.0
    said = [record.getMessage() for record in caplog.records if "driver" in record.getMessage()]
    assert said == ["driver: the driver gave no answer within 20 s", "driver: well again"]


def test_a_service_that_is_started_again_goes_on_from_what_it_knew(host: Host) -> None:
    host.step()
    host.watcher = host.another()
    host.step(60)
    unit = json.loads(host.paths.gpu_activity.read_text())["units"]["GPU-1"]
    assert (unit["busy_at"], unit["since"] < unit["known_at"]) == (None, True)


def test_what_another_boot_knew_is_nothing(host: Host) -> None:
    host.step()
    for path in (host.paths.gpu_activity, host.paths.host_processes):
        path.write_text(path.read_text().replace(Machine().boot_id(), "another boot"))
    again = host.another()
    assert (again.activity.units, again.known) == ({}, {})


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 9}'])
def test_damaged_files_are_written_anew(content: str, host: Host) -> None:
    for path in (host.paths.gpu_activity, host.paths.host_processes):
        path.write_text(content)
    host.watcher = host.another()
    host.step()
    assert (host.record["version"], len(json.loads(host.paths.gpu_activity.read_text())["units"])) == (1, 8)


def test_a_file_that_cannot_be_written_stops_nothing(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.paths.gpu_activity.parent.rmdir()
    host.step()
    host.step()
    assert host.record["unknown"] is None
    assert [record.getMessage() for record in caplog.records if "gpu-activity" in record.getMessage()] == [
        f"gpu-activity.json: {host.paths.gpu_activity}: No such file or directory"
    ]


def test_a_policy_that_cannot_be_read_leaves_the_one_before(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.step()
    host.paths.policy.write_text("{")
    host.step(30)
    assert json.loads(host.paths.gpu_activity.read_text())["units"]["GPU-0"]["percent"] == 97.0
    assert "policy.json cannot be read" in caplog.text


def test_before_the_first_policy_nothing_is_looked_at(host: Host) -> None:
    host.paths.policy.unlink()
    host.step()
    assert (host.paths.gpu_activity.exists(), host.paths.host_processes.exists()) == (False, False)


def test_the_exporter_is_trouble_only_where_something_is_split(host: Host) -> None:
    host.step()
    assert host.watcher.trouble == {"exporter": SILENT}


# --- Outside containers -----------------------------------------------------------------------------------------------


@pytest.mark.root
def test_a_process_is_warned_once_and_all_of_it_is_written_down(host: Host) -> None:
    with running() as child:
        host.on = {child.pid: "GPU-0"}
        host.step()
        host.step(30)
        (row,) = host.record["processes"]
        assert child.poll() is None
    assert {key: row[key] for key in ("pid", "uid", "user", "slots", "memory_bytes", "verdict", "sightings")} == {
        "pid": child.pid,
        "uid": ALICE_UID,
        "user": ALICE,
        "slots": ["0"],
        "memory_bytes": 1 << 30,
        "verdict": "warned",
        "sightings": 2,
    }
    assert host.types == ["baremetal.warned"]
    (event,) = host.events
    assert (event["user"], event["source"], event["details"]["pid"]) == (ALICE, "gpuwatch", child.pid)
    (notice,) = host.notices
    assert notice.startswith(f"Your python (pid {child.pid}) is ended at ")
    assert "it computes on GPU 0 outside a container" in notice


@pytest.mark.root
def test_one_process_after_the_other_has_one_grace_and_one_notice_also_over_a_restart(host: Host) -> None:
    with running() as first:
        host.on = {first.pid: "GPU-0"}
        host.step()
        (told,) = host.notices
    with running() as second:
        host.on = {second.pid: "GPU-1"}
        host.step(870)
        assert host.verdicts == {second.pid: "warned"}
        (notice,) = host.notices
        # Of another process with the same end.
        assert notice == told.replace(f"{first.pid}", f"{second.pid}").replace("GPU 0", "GPU 1")
    host.watcher = host.another()
    with running() as third:
        host.on = {third.pid: "GPU-0"}
        host.step(60)
        assert host.verdicts == {third.pid: "warned"}
        (notice,) = host.notices
        assert notice.startswith(f"Your python (pid {third.pid}) is ended now, and so is what you start later")
        host.step(30)
        host.finish()
        assert third.wait() == -signal.SIGTERM
        (notice,) = host.notices
        assert notice.startswith(f"Your python (pid {third.pid}) was ended")
    host.on = {}
    host.step(3601)
    with running() as fourth:
        host.on = {fourth.pid: "GPU-0"}
        host.step(30)
        host.step(869)
        assert (host.verdicts, fourth.poll()) == ({fourth.pid: "warned"}, None)
    assert host.types == ["baremetal.warned"] * 3 + ["baremetal.terminated", "baremetal.warned"]


@pytest.mark.root
def test_a_notice_of_several_processes_follows_what_becomes_of_each(host: Host) -> None:
    # One of them has long to end.
    document = json.loads(host.paths.policy.read_text())
    document["defaults"]["sigterm_grace_seconds"] = 600
    host.paths.policy.write_text(json.dumps(document))
    with running() as first, running(DEAF) as second:
        host.on = {first.pid: "GPU-0", second.pid: "GPU-1"}
        host.step()
        begin = f"Your python (pid {min(first.pid, second.pid)}) and 1 more are"
        assert [each.partition(" ended")[0] for each in host.notices] == [begin]
        host.step(901)
        while len(host.types) < 3:
            host.watcher.ender.wait(600)
            host.watcher.attend()
        assert first.wait() == -signal.SIGTERM
        assert sorted(each.partition(")")[0] for each in host.notices) == sorted(
            [f"Your python (pid {first.pid}", f"Your python (pid {second.pid}"]
        )
        host.ahead += 601
        host.finish()
        assert [each.partition(":")[0] for each in host.notices] == [f"Your python (pid {second.pid}) was ended"]


@pytest.mark.root
def test_who_could_not_be_told_of_an_end_loses_nothing_and_is_told_later(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.policy(grace_seconds=0)
    host.paths.notices_folder.write_text("in the way")
    with running() as child:
        host.on = {child.pid: "GPU-0"}
        for _ in range(3):
            host.step(1000)
            assert (host.verdicts, host.record["announced"]) == ({child.pid: "warned"}, {})
        assert (host.types, child.poll()) == ([], None)
        host.paths.notices_folder.unlink()
        host.step(1000)
        assert (host.types, host.verdicts, len(host.notices)) == (["baremetal.warned"], {child.pid: "warned"}, 1)
        host.step(30)
        host.finish()
        assert child.wait() == -signal.SIGTERM
    said = [each.getMessage() for each in caplog.records if "notices of" in each.getMessage()]
    assert [each.partition(":")[0] for each in said] == [f"notices of {ALICE}"] * 2
    assert said[1].endswith("well again")


@pytest.mark.root
def test_where_the_policy_only_warns_what_is_told_holds_on_until_a_grant(host: Host) -> None:
    host.policy(policy="warn")
    with running() as child:
        host.on = {child.pid: "GPU-0"}
        host.step()
        (notice,) = host.notices
        assert notice.startswith(f"Your python (pid {child.pid}) computes on GPU 0 outside a container")
        assert host.weights == ["trouble"]
        host.policy()
        host.step(30)
        assert (host.weights, len(host.notices)) == (["end"], 1)
        host.policy(policy="warn")
        host.step(30)
        assert (host.weights, host.notices) == (["trouble"], [notice])
        grant = Grant(ALICE, "root", host.now(), host.now() + timedelta(hours=1))
        change_grants(host.paths, lambda grants: granted(grants, grant))
        host.step(30)
        assert host.notices == []


@pytest.mark.root
def test_a_grant_forgives_what_computes_on_nothing_just_then(host: Host) -> None:
    host.policy(grace_seconds=60)
    with running() as child:
        host.on = {child.pid: "GPU-0"}
        host.step()
        host.on = {}
        grant = Grant(ALICE, "root", host.now(), host.now() + timedelta(hours=1))
        change_grants(host.paths, lambda grants: granted(grants, grant))
        host.step(30)
        assert host.notices == []
        host.on = {child.pid: "GPU-0"}
        host.step(3600)
        assert (host.verdicts, len(host.notices), host.watcher.ender.under_way) == ({child.pid: "warned"}, 1, {})


@pytest.mark.root
@pytest.mark.parametrize(("script", "by"), [(WAITS, "SIGTERM"), (DEAF, "SIGKILL")])
def test_it_ends_when_its_time_is_over_and_nothing_else_does(script: str, by: str, host: Host) -> None:
    with running(script) as child, running() as neighbour:
        host.on = {child.pid: "GPU-0"}
        host.step()
        host.step(899)
        assert (child.poll(), host.verdicts) == (None, {child.pid: "warned"})
        host.step(2)
        assert host.verdicts == {child.pid: "terminate"}
        host.finish()
        assert child.wait() == -signal.Signals[by]
        assert neighbour.poll() is None
    assert host.types == ["baremetal.warned", "baremetal.terminated"]
    assert host.events[-1]["details"]["signal"] == by
    (notice,) = host.notices
    assert "was ended: it computed on GPU 0 outside a container" in notice


@pytest.mark.root
def test_where_the_policy_warns_or_allows_nothing_ends(host: Host) -> None:
    with running() as child:
        host.on = {child.pid: "GPU-0"}
        for policy, verdict in (("warn", "warned"), ("allow", "allowed")):
            host.policy(policy=policy, grace_seconds=0)
            host.step(1000)
            host.step(1000)
            assert (host.verdicts, host.watcher.ender.under_way) == ({child.pid: verdict}, {})
        assert child.poll() is None
    assert host.types == ["baremetal.warned"]


@pytest.mark.root
def test_roots_own_and_those_of_exempt_accounts_are_left_alone(host: Host) -> None:
    host.policy(grace_seconds=0, exempt_users=[ALICE])
    with running() as child, running(uid=0) as roots:
        host.on = {child.pid: "GPU-0", roots.pid: "GPU-1"}
        host.step()
        host.step(1000)
        assert host.verdicts == {child.pid: "exempt", roots.pid: "exempt"}
    assert (host.types, host.notices) == ([], [])


@pytest.mark.root
def test_a_uid_without_an_account_is_told_of_and_never_ended(host: Host) -> None:
    host.policy(grace_seconds=0)
    with running(uid=54321) as child:
        host.on = {child.pid: "GPU-0"}
        host.step()
        host.step(1000)
        (row,) = host.record["processes"]
        assert (row["verdict"], row["note"], child.poll()) == ("warned", "whose it is cannot be told", None)
    assert [(each["event_type"], each["user"]) for each in host.events] == [("baremetal.warned", None)]
    assert not host.paths.notices_folder.exists()


@pytest.mark.root
def test_nothing_ends_while_the_grants_cannot_be_read(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    host.policy(grace_seconds=0)
    host.paths.bare_metal_grants.write_text("{")
    with running() as child:
        host.on = {child.pid: "GPU-0"}
        host.step()
        host.step(1000)
        assert (host.verdicts, child.poll()) == ({child.pid: "warned"}, None)
        host.paths.bare_metal_grants.unlink()
        host.step(1000)
        # Now it is certain, so now it is told, and seen again before anything.
        assert (host.verdicts, child.poll(), len(host.notices)) == ({child.pid: "warned"}, None, 1)
        host.step(1)
        host.finish()
        assert child.wait() == -signal.SIGTERM
    assert "no process is ended while the grants cannot be read" in caplog.text


@pytest.mark.root
def test_a_grant_holds_and_ends(host: Host) -> None:
    host.policy(grace_seconds=60)
    now = host.now()
    grant = Grant(ALICE, "root", now, now + timedelta(hours=1))
    change_grants(host.paths, lambda grants: granted(grants, grant))
    with running() as child:
        host.on = {child.pid: "GPU-0"}
        for ahead, verdict in ((0, "granted"), (3500, "granted"), (101, "warned"), (50, "warned")):
            host.step(ahead)
            assert host.verdicts == {child.pid: verdict}
        host.step(11)
        host.finish()
        assert child.wait() == -signal.SIGTERM


@pytest.mark.root
def test_a_grant_that_comes_late_spares_one_that_was_told_to_end(host: Host) -> None:
    host.policy(grace_seconds=0)
    with running(DEAF) as child:
        host.on = {child.pid: "GPU-0"}
        host.step()
        host.step(1)
        assert set(host.watcher.ender.under_way) != set()
        grant = Grant(ALICE, "root", host.now(), host.now() + timedelta(days=1))
        change_grants(host.paths, lambda grants: granted(grants, grant))
        host.step()
        host.ahead += 1000
        host.finish()
        assert (host.verdicts, host.watcher.ender.under_way, child.poll()) == ({child.pid: "granted"}, {}, None)


@pytest.mark.root
def test_one_that_lets_the_gpu_go_is_spared_unless_not_all_could_be_seen(host: Host) -> None:
    host.policy(grace_seconds=0)
    with running(DEAF) as child:
        host.on = {child.pid: "GPU-0"}
        host.step()
        host.step(1)
        on, host.on, host.unknown = host.on, {}, "of one unit the driver does not say"
        host.watcher.step()
        assert set(host.watcher.ender.under_way) != set()
        host.unknown = None
        host.watcher.step()
        assert (host.watcher.ender.under_way, child.poll()) == ({}, None)
        # It is known still: back on the GPU it has had its notice.
        host.on = on
        host.watcher.step()
        assert host.verdicts == {child.pid: "terminate"}
    assert host.types[0] == "baremetal.warned"
    assert host.types.count("baremetal.warned") == 1


@pytest.mark.root
def test_one_that_is_off_the_gpu_for_a_while_is_known_again_also_by_a_service_started_anew(host: Host) -> None:
    with running() as child:
        host.on = {child.pid: "GPU-0"}
        host.step()
        host.on = {}
        host.step(30)
        assert host.record["processes"] == []
        host.watcher = host.another()
        host.on = {child.pid: "GPU-1"}
        host.step(30)
        (row,) = host.record["processes"]
        assert (row["sightings"], row["slots"]) == (2, ["1"])
    host.step(30)
    assert (host.record["processes"], host.record["quiet"]) == ([], [])
    assert host.types == ["baremetal.warned"]


@pytest.mark.root
def test_a_service_started_anew_tells_nobody_twice_and_forgets_no_end(host: Host) -> None:
    with running() as child:
        host.on = {child.pid: "GPU-0"}
        host.step()
        host.watcher = host.another()
        host.step(901)
        host.finish()
        assert child.wait() == -signal.SIGTERM
    assert host.types == ["baremetal.warned", "baremetal.terminated"]


@pytest.mark.root
def test_a_look_that_fails_ends_nothing_and_keeps_what_was_seen(host: Host) -> None:
    host.policy(grace_seconds=0)
    with running() as child:
        host.on = {child.pid: "GPU-0"}
        host.step()
        host.failure = "the driver hangs"
        host.step(1000)
        assert (host.verdicts, host.record["unknown"], child.poll()) == (
            {child.pid: "warned"},
            "the driver hangs",
            None,
        )


@pytest.mark.root
def test_two_processes_of_which_one_has_a_grants_account_are_told_apart(host: Host) -> None:
    host.policy(grace_seconds=0)
    grant = Grant("www-data", "root", host.now(), host.now() + timedelta(days=1))
    change_grants(host.paths, lambda grants: granted(grants, grant))
    with running() as child, running(uid=33) as other:
        host.on = {child.pid: "GPU-0", other.pid: "MIG-20"}
        host.step()
        host.step(1)
        host.finish()
        assert child.wait() == -signal.SIGTERM
        assert (host.verdicts[other.pid], other.poll()) == ("granted", None)


@pytest.mark.root
def test_an_event_log_that_cannot_be_written_is_said_and_stops_nothing(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    host.paths.events.parent.rmdir()
    with running(uid=54321) as child:
        host.on = {child.pid: "GPU-0"}
        host.step()
        assert host.verdicts == {child.pid: "warned"}
    assert "events.jsonl cannot be opened" in caplog.text
