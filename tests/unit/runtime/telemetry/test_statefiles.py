"""DS01's own files are looked at as they are on a disk, by root and by everybody else."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.runtime.containers.recorded import row, write_record
from tests.unit.runtime.gpu.engines import inspected

from ds01.core.paths import HostPaths
from ds01.runtime.containers.claims import Claim, write_claim
from ds01.runtime.telemetry.health import Check, Status
from ds01.runtime.telemetry.statefiles import AS_ROOT, disk_check, file_check, files_of, folders_of

pytestmark = pytest.mark.root


@pytest.fixture
def paths() -> Iterator[HostPaths]:
    # Not in pytest's own folder, which nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="ds01-health-") as folder:
        Path(folder).chmod(0o755)
        paths = HostPaths(Path(folder))
        for path in (paths.claims, paths.events, paths.container_owners):
            path.parent.mkdir(parents=True)
        paths.events.touch(mode=0o640)
        yield paths


def found(paths: HostPaths) -> dict[str, tuple[Status, str]]:
    """What is said of each file, by its name."""
    checks = [file_check(paths, path) for path in files_of(paths)]
    return {Path(each.name).name: (each.status, each.text) for each in checks if each is not None}


OK = (Status.OK, "as it should be")


def test_of_a_fresh_host_there_is_the_log_alone(paths: HostPaths):
    assert found(paths) == {"events.jsonl": OK}


def test_what_was_written_by_ds01_is_as_it_should_be(paths: HostPaths):
    write_claim(paths, Claim("a" * 64, "alice", "root", datetime(2026, 3, 1, tzinfo=UTC), "train"))
    write_record(paths, row(inspected("web")))
    paths.event_cursor.write_text('{"version": 1}')
    paths.event_cursor.chmod(0o640)
    assert found(paths) == dict.fromkeys(("events.jsonl", "claims.json", "containers.json", "event-cursor.json"), OK)


@pytest.mark.parametrize(
    ("name", "text", "mode", "why"),
    [
        ("claims.json", "{", 0o640, "claims.json cannot be read: "),
        ("claims.json", '{"version": 9}', 0o640, "claims.json is not as DS01 wrote it: ValueError: its version is 9"),
        ("containers.json", "[]", 0o640, "containers.json is not a JSON object"),
        ("gpu-state.json", "", 0o644, "it is empty"),
        ("gpu-state.json", '{"version": 1}', 0o644, "it was edited by hand, or by another program"),
        ("host-processes.json", '{"version": 2}', 0o644, "it has version 2, this DS01 reads version 1"),
        ("bare-metal-grants.json", "null", 0o644, "bare-metal-grants.json is not a JSON object"),
        ("event-cursor.json", "torn", 0o640, "Expecting value"),
        ("opa/container-owners.json", "[1]", 0o640, "it has version None"),
    ],
)
def test_a_damaged_file_is_ill_with_a_way_out(paths: HostPaths, name: str, text: str, mode: int, why: str):
    path = paths.claims.parent / name
    path.write_text(text)
    path.chmod(mode)
    check = file_check(paths, str(path))
    assert check is not None
    assert check.status is Status.FAILED
    assert why in check.text
    assert check.fix.startswith(f"sudo mv {path} {path}.bad; ")


def test_what_others_could_have_written_is_ill(paths: HostPaths):
    paths.claims.write_text('{"version": 1, "claims": {}}')
    paths.claims.chmod(0o666)
    paths.event_cursor.write_text('{"version": 1}')
    os.chown(paths.event_cursor, 1001, -1)
    paths.container_owners.symlink_to("/etc/passwd")
    paths.containers.mkdir()
    shown = found(paths)
    assert shown["claims.json"] == (Status.FAILED, "others than root can write it (mode 0666)")
    assert shown["event-cursor.json"] == (Status.FAILED, "it belongs to uid 1001, not to root")
    assert [shown[name][0] for name in ("container-owners.json", "containers.json")] == [Status.FAILED] * 2


def test_the_list_of_files_waits_for_no_disk(paths: HostPaths, monkeypatch: pytest.MonkeyPatch):
    def hangs(*_: object, **__: object) -> object:
        raise AssertionError("nothing may be looked at here")

    for call in ("stat", "lstat", "open", "scandir", "listdir", "readlink"):
        monkeypatch.setattr(os, call, hangs)
    listed = files_of(paths)
    monkeypatch.undo()
    assert os.fspath(paths.events) in listed


def test_a_log_may_be_missing_only_between_a_rotation_and_the_next_event(paths: HostPaths):
    paths.events.unlink()
    assert found(paths) == {"events.jsonl": (Status.FAILED, "it is missing")}
    paths.events.with_name("events.jsonl-20260301-1").touch()
    assert found(paths) == {}


def as_nobody(act: Callable[[], object]) -> list[object]:
    """What an ordinary account sees."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        os.write(writer, repr(act()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as source:
        said = source.read().decode()
    os.waitpid(child, 0)
    return [said]


def test_what_an_ordinary_account_may_not_read_is_said_and_not_ill(paths: HostPaths):
    paths.claims.write_text("{")
    paths.claims.chmod(0o640)
    paths.container_owners.parent.chmod(0o750)
    seen = as_nobody(lambda: found(paths))
    unknown = (Status.UNKNOWN, AS_ROOT)
    expected = {"container-owners.json": unknown, "claims.json": unknown, "events.jsonl": OK}
    assert seen == [repr(expected)]


# --- Disks ------------------------------------------------------------------------------------------------------------


def test_a_disk_that_answers_with_an_error_is_ill_and_not_merely_hidden(paths: HostPaths):
    """A link that leads to itself stands for any error of the system but for a missing right."""
    folder = paths.at("/srv")
    folder.symlink_to(folder)
    check = disk_check(folder)
    assert (check.status, check.text) == (Status.FAILED, "Too many levels of symbolic links")
    assert check.fix.startswith("journalctl -k ")


def test_a_file_on_a_disk_that_answers_with_an_error_is_ill(paths: HostPaths):
    paths.container_owners.parent.rmdir()
    paths.container_owners.parent.symlink_to(paths.container_owners.parent)
    assert found(paths)["container-owners.json"] == (Status.FAILED, "Too many levels of symbolic links")


def test_room_is_looked_at_where_it_is_needed(paths: HostPaths):
    assert folders_of(paths) == tuple(paths.at(each) for each in ("var/lib/ds01", "var/log/ds01", "var/lib/docker"))
    check = disk_check(paths.claims.parent)
    assert "of the inodes free" in check.text or "as many files" in check.text
    assert disk_check(paths.at("/nowhere")) == Check(
        f"disk {paths.at('/nowhere')}", Status.WARNING, "there is no such folder", "sudo ./inv deploy"
    )


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        (json.dumps({"data-root": "/srv/docker"}), "srv/docker"),
        (json.dumps({"data-root": 7}), "var/lib/docker"),
        (json.dumps({"data-root": "../x"}), "var/lib/docker"),
        ("[]", "var/lib/docker"),
        ("{", "var/lib/docker"),
    ],
)
def test_docker_says_where_it_keeps_everything(paths: HostPaths, text: str, folder: str):
    paths.at("/etc/docker").mkdir(parents=True)
    paths.at("/etc/docker/daemon.json").write_text(text)
    assert folders_of(paths)[2] == paths.at(folder)
