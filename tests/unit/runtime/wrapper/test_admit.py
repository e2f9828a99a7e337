"""Admitting under the account's lock: look, decide, promise; what is refused leaves nothing behind."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.runtime.containers.rows import NOON, stray
from tests.unit.runtime.gpu.engines import engine_with, inspected
from tests.unit.runtime.wrapper.desks import GIB, desk_of, events, line, make_paths

from ds01.core.errors import RefusedError
from ds01.runtime.containers.look import remember
from ds01.runtime.containers.record import Record
from ds01.runtime.containers.seen import Attribution, Evidence
from ds01.runtime.wrapper.admit import admit_new, admit_old, admit_update
from ds01.runtime.wrapper.desk import DeniedError

if TYPE_CHECKING:
    from ds01.core.paths import HostPaths


@pytest.fixture
def paths(tmp_path: Path, student: str) -> HostPaths:
    return make_paths(tmp_path, me=student)


def promises(paths: HostPaths) -> list[tuple[str, str, int]]:
    (page,) = paths.pages.glob("*.json")
    return [(each["id"], each["verb"], each["memory_bytes"]) for each in json.loads(page.read_text())["pending"]]


def container(name: str, user: str, status: str = "exited", memory: int = GIB, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = inspected(name, labels={"ds01.user": user, **more}, status=status)
    found["HostConfig"]["Memory"] = memory
    return found


def test_a_new_container_is_promised_and_its_line_written(paths: HostPaths, student: str):
    with engine_with(paths.engine):
        words, admission = admit_new(desk_of(paths), line("run", "-m1g", "alpine"))
    assert words[0] == "run"
    assert f"--label=ds01.user={student}" in words
    assert words[-1] == "alpine"
    assert (admission.reserved_bytes, admission.grant) == (GIB, None)
    created = next(word for word in words if "created_at" in word).rpartition("=")[2]
    assert promises(paths) == [(created, "run", GIB)]
    page = json.loads(next(paths.pages.glob("*.json")).read_text())["pending"][0]
    assert page["pid"] == os.getpid()


def test_promises_count_until_there_are_too_many(paths: HostPaths, capfd: pytest.CaptureFixture[str]):
    with engine_with(paths.engine):
        for _ in range(3):
            admit_new(desk_of(paths), line("create", "-m1g", "alpine"))
        with pytest.raises(DeniedError):
            admit_new(desk_of(paths), line("run", "-m1g", "alpine"))
    assert "DS01 Container Quota Exceeded" in capfd.readouterr().err
    assert len(promises(paths)) == 3
    (page,) = paths.pages.glob("*.json")
    assert len(json.loads(page.read_text())["denied_at"]) == 1


def test_an_old_container_is_promised_by_its_id_once(paths: HostPaths, student: str):
    web = container("web", student)
    with engine_with(paths.engine, web):
        for verb in ("start", "restart"):
            admit_old(desk_of(paths), line(verb, "web", "web", str(web["Id"])))
            assert promises(paths) == [(web["Id"], verb, GIB)]


def test_what_runs_is_not_promised_again(paths: HostPaths, student: str):
    with engine_with(paths.engine, container("web", student, "running"), container("db", student, "paused")):
        admit_old(desk_of(paths), line("unpause", "db", "web"))
    assert list(paths.pages.glob("*.json")) == []


def test_what_runs_keeps_its_place_while_it_is_restarted(paths: HostPaths, student: str):
    """Between its end and its start, and for the check of containers that come to run by themselves."""
    web = container("web", student, "running")
    with engine_with(paths.engine, web, container("db", student, "running")):
        admit_old(desk_of(paths), line("restart", "web"))
        admit_old(desk_of(paths), line("unpause", "db"))
        assert promises(paths) == [(web["Id"], "restart", GIB)]
    web["State"]["Status"] = "exited"
    with engine_with(paths.engine, web):
        for _ in range(2):
            admit_new(desk_of(paths), line("create", "-m1g", "alpine"))
        with pytest.raises(DeniedError):
            admit_new(desk_of(paths), line("run", "-m1g", "alpine"))


def test_of_several_all_or_none_are_promised(paths: HostPaths, student: str):
    names = ["a", "b", "c", "d"]
    with engine_with(paths.engine, *(container(name, student) for name in names)):
        with pytest.raises(DeniedError):
            admit_old(desk_of(paths), line("start", *names))
        assert promises(paths) == []
        admit_old(desk_of(paths), line("start", *names[:3]))
    assert len(promises(paths)) == 3


def test_of_several_that_are_given_more_memory_all_or_none_are(paths: HostPaths, student: str):
    def change(document):
        document["user_overrides"][student] = {"aggregate": {"memory_max_bytes": 8 * GIB}, "max_containers": 9}

    make_paths(paths.root, change, me=student)
    there = [container(name, student, "running") for name in "abc"]
    with engine_with(paths.engine, *there):
        line_ = line("update", "-m3g", "a", "b", "c")
        with pytest.raises(DeniedError):
            admit_update(desk_of(paths), line_)
        assert promises(paths) == []
        assert admit_update(desk_of(paths), line("update", "-m3g", "a", "b")) == (
            "update", f"--memory={3 * GIB}", f"--memory-swap={3 * GIB}", "a", "b"
        )  # fmt: skip
        assert promises(paths) == [(each["Id"], "update", 3 * GIB) for each in there[:2]]
        # As long as that client lives, all of it counts.
        with pytest.raises(DeniedError):
            admit_update(desk_of(paths), line("update", "-m3g", "c"))
        admit_update(desk_of(paths), line("update", "-m512m", "c"))


def test_an_update_leaves_the_promise_of_a_start_alone(paths: HostPaths, student: str):
    web = container("web", student)
    with engine_with(paths.engine, web):
        admit_old(desk_of(paths), line("start", "web"))
        for words in (("--cpus=1",), ("-m2g",), ("--cpus=999",)):
            with suppress(DeniedError):
                admit_update(desk_of(paths), line("update", *words, "web"))
            assert promises(paths) == [(web["Id"], "start", GIB)]


def test_a_label_of_a_gpu_that_nobody_knows_starts_nothing(paths: HostPaths, student: str):
    found = container("train", student, **{"ds01.allocation": "abc"})
    found["HostConfig"]["DeviceRequests"] = [
        {"Driver": "", "Count": 0, "DeviceIDs": ["GPU-x"], "Capabilities": [["gpu"]]}
    ]
    with engine_with(paths.engine, found), pytest.raises(Exception) as caught:  # noqa: PT011 - no hardware here, or no record
        admit_old(desk_of(paths), line("start", "train"))
    assert caught.value.args
    assert promises(paths) == []


def test_a_slice_of_ones_own_is_said_to_be_set(paths: HostPaths, capfd: pytest.CaptureFixture[str], student: str):
    with engine_with(paths.engine):
        words, _ = admit_new(desk_of(paths), line("create", "--cgroup-parent=x.slice", "alpine"))
    assert f"--cgroup-parent=ds01-student-{student}.slice" in words
    assert "--cgroup-parent is set to" in capfd.readouterr().err


def test_an_administrator_names_a_slice_that_is_listed(tmp_path: Path, student: str):
    def change(document):
        document["access_control"]["admin_users"] = [student]
        document["access_control"]["admin_cgroup_parents"] = ["lab.slice"]

    paths = make_paths(tmp_path, change, me=student)
    with engine_with(paths.engine):
        words, _ = admit_new(desk_of(paths), line("create", "--cgroup-parent=lab.slice", "alpine"))
        assert "--cgroup-parent=lab.slice" in words
        with pytest.raises(RefusedError, match=r"no slice 'system\.slice'"):
            admit_new(desk_of(paths), line("create", "--cgroup-parent=system.slice", "alpine"))


def test_what_cannot_be_told_is_logged_and_refuses_nobody(paths: HostPaths, student: str):
    with engine_with(paths.engine, container("web", student, "running")):
        admit_new(desk_of(paths), line("create", "alpine"))
    assert [(each["event_type"], each["details"]["check"]) for each in events(paths)] == [
        ("admission.fail_open", "create")
    ]
    assert events(paths)[0]["details"]["text"].startswith("FAIL-OPEN: ")


def test_a_torn_page_is_put_aside(paths: HostPaths):
    with engine_with(paths.engine):
        admit_new(desk_of(paths), line("create", "alpine"))
        (page,) = paths.pages.glob("*.json")
        page.write_text("{")
        admit_new(desk_of(paths), line("create", "alpine"))
    assert page.with_name(f"{page.name}.bad").read_text() == "{"
    assert len(promises(paths)) == 1
    assert any("could not be used" in each["details"]["text"] for each in events(paths))


def test_who_makes_a_container_is_told_of_those_that_run_without_ds01(
    paths: HostPaths, student: str, capfd: pytest.CaptureFixture[str]
):
    web = stray("web", owner=Attribution(student, Evidence.SLICE, asserted=True))
    remember(paths, Record({web.id: web}), NOON)
    with engine_with(paths.engine, container("old", student)):
        admit_new(desk_of(paths), line("create", "-m1g", "alpine"))
        assert "ds01: notice: a container in your name runs without DS01: web;" in capfd.readouterr().err
        admit_old(desk_of(paths), line("start", "old"))
        assert capfd.readouterr().err == ""
