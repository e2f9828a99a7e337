"""Whose containers are named: all are the caller's, or nothing is done."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.runtime.gpu.engines import engine_with, inspected
from tests.unit.runtime.wrapper.desks import desk_of, events, make_paths

from ds01.core.errors import RefusedError
from ds01.core.jsonstate import StateError
from ds01.core.paths import HostPaths
from ds01.runtime.containers.claims import Claim, write_claim
from ds01.runtime.containers.engine import EngineError
from ds01.runtime.wrapper.desk import DeniedError
from ds01.runtime.wrapper.owners import check_owner, check_without_policy, touchable


def policy(mode: str = "enforce", unowned: str = "allow"):
    def change(document):
        document["enforcement"]["rules"]["ownership"] = mode
        document["access_control"]["unowned_containers"] = unowned

    return change


def test_ones_own_and_what_is_not_there(tmp_path: Path, student: str):
    paths = make_paths(tmp_path, me=student)
    with engine_with(paths.engine, inspected("web", labels={"ds01.user": student})):
        found = check_owner(desk_of(paths), ["web", "/web", "none", "web", "no such name"], "stop")
    assert {name: each.name for name, each in found.items()} == {"web": "web", "/web": "web"}
    assert events(paths) == []


def test_one_strangers_container_stops_the_whole_line(tmp_path: Path, capfd: pytest.CaptureFixture[str], student: str):
    paths = make_paths(tmp_path, me=student)
    mine, theirs = (
        inspected("mine", labels={"ds01.user": student}),
        inspected("web", labels={"ds01.user": "bob\x1b[2J"}),
    )
    with engine_with(paths.engine, mine, theirs), pytest.raises(DeniedError):
        check_owner(desk_of(paths), ["mine", "web"], "stop")
    assert capfd.readouterr().err == "Permission denied: container owned by bob\\x1b[2J (web)\n"
    (event,) = events(paths)
    assert event["details"] == {
        "rule": "ownership", "verb": "stop", "containers": [{"container": "web", "owner": "bob\\x1b[2J"}]
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_a_rule_that_is_not_enforced(tmp_path: Path, capfd: pytest.CaptureFixture[str], student: str, mode: str):
    paths = make_paths(tmp_path, policy(mode), me=student)
    with engine_with(paths.engine, inspected("web", labels={"ds01.user": "bob"})):
        assert set(check_owner(desk_of(paths), ["web"], "stop")) == {"web"}
    said = capfd.readouterr().err
    assert said == ("ds01: warning: web is a container of bob; allowed for now\n" if mode == "warn" else "")
    assert [each["event_type"] for each in events(paths)] == (["admission.overruled"] if mode == "warn" else [])


@pytest.mark.parametrize("unowned", ["allow", "deny"])
def test_what_belongs_to_nobody_is_as_the_policy_says(tmp_path: Path, student: str, unowned: str):
    paths = make_paths(tmp_path, policy(unowned=unowned), me=student)
    with engine_with(paths.engine, inspected("old")):
        if unowned == "allow":
            assert set(check_owner(desk_of(paths), ["old"], "stop")) == {"old"}
        else:
            with pytest.raises(DeniedError):
                check_owner(desk_of(paths), ["old"], "stop")
    kind = "ownership.unowned" if unowned == "allow" else "admission.refused"
    assert [each["event_type"] for each in events(paths)] == [kind]


def test_the_sites_own_is_free_for_nobody(tmp_path: Path, student: str):
    def change(document):
        policy()(document)
        document["access_control"]["system_containers"] = ["monitor"]

    paths = make_paths(tmp_path, change, me=student)
    own, hers = inspected("monitor"), inspected("web")
    with engine_with(paths.engine, own, hers):
        with pytest.raises(DeniedError):
            check_owner(desk_of(paths), ["web", "monitor"], "stop")
        desk = desk_of(paths)
        assert [each.name for each in touchable(desk, desk.place.engine.containers())] == ["web"]
    claim_for(paths, student, own)
    with engine_with(paths.engine, own, hers):
        assert set(check_owner(desk_of(paths), ["monitor"], "stop")) == {"monitor"}


def test_without_an_engine_nobody_is_let_through(tmp_path: Path):
    with pytest.raises(EngineError):
        check_owner(desk_of(make_paths(tmp_path)), ["web"], "stop")


def test_without_a_policy_others_containers_and_gpus_stay_out_of_reach(tmp_path: Path):
    gpu = inspected("train", labels={"ds01.user": "alice", "ds01.allocation": "abc"})
    web = inspected("web", labels={"ds01.user": "bob"})
    paths = make_paths(tmp_path)
    with engine_with(paths.engine, gpu, web, inspected("old")):
        check_without_policy(paths, ["old", "none", "train"], "alice", starts=False)
        with pytest.raises(RefusedError, match="container owned by bob"):
            check_without_policy(paths, ["old", "web"], "alice", starts=False)
        with pytest.raises(RefusedError, match="train had a GPU"):
            check_without_policy(paths, ["train"], "alice", starts=True)


OLD, SAID = inspected("old"), inspected("said", labels={"ds01.user": "bob"})


def claim_for(paths: HostPaths, user: str, *containers: dict[str, object]) -> None:
    paths.claims.parent.mkdir(parents=True, exist_ok=True)
    for each in containers:
        write_claim(paths, Claim(str(each["Id"]), user, "root", datetime(2026, 3, 1, tzinfo=UTC), "name"))


@pytest.mark.parametrize("unowned", ["allow", "deny"])
def test_what_an_administrator_claimed_is_its_accounts_whatever_a_label_says(
    tmp_path: Path, student: str, unowned: str
):
    paths = make_paths(tmp_path, policy(unowned=unowned), me=student)
    claim_for(paths, student, OLD, SAID)
    with engine_with(paths.engine, OLD, SAID):
        assert set(check_owner(desk_of(paths), ["old", "said"], "stop")) == {"old", "said"}
    assert events(paths) == []


def test_what_is_claimed_for_another_is_anothers(tmp_path: Path, capfd: pytest.CaptureFixture[str], student: str):
    paths = make_paths(tmp_path, me=student)
    claim_for(paths, "alice", OLD, SAID)
    with engine_with(paths.engine, OLD, SAID):
        for name in ("old", "said"):
            with pytest.raises(DeniedError):
                check_owner(desk_of(paths), [name], "stop")
            assert capfd.readouterr().err == f"Permission denied: container owned by alice ({name})\n"
            with pytest.raises(RefusedError, match="container owned by alice"):
                check_without_policy(paths, [name], student, starts=False)


def test_claims_that_cannot_be_read_keep_all_off_what_no_label_gives_to_anybody(tmp_path: Path, student: str):
    mine = inspected("mine", labels={"ds01.user": student})
    paths = make_paths(tmp_path, me=student)
    paths.claims.parent.mkdir(parents=True)
    paths.claims.write_text("{")
    with engine_with(paths.engine, OLD, SAID, mine):
        assert set(check_owner(desk_of(paths), ["mine"], "stop")) == {"mine"}
        with pytest.raises(DeniedError):
            check_owner(desk_of(paths), ["said"], "stop")
        with pytest.raises(StateError, match=r"claims\.json"):
            check_owner(desk_of(paths), ["old"], "stop")
        with pytest.raises(StateError, match=r"claims\.json"):
            check_without_policy(paths, ["old"], student, starts=False)


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_where_the_rule_is_not_enforced_claims_that_cannot_be_read_stop_nobody(tmp_path: Path, student: str, mode: str):
    paths = make_paths(tmp_path, policy(mode), me=student)
    paths.claims.parent.mkdir(parents=True)
    paths.claims.write_text("{")
    with engine_with(paths.engine, OLD):
        assert set(check_owner(desk_of(paths), ["old"], "stop")) == {"old"}
    assert [each["event_type"] for each in events(paths)] == ["admission.fail_open", "ownership.unowned"]


def test_refusals_are_counted_and_the_log_is_not_flooded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], student: str
):
    paths = make_paths(tmp_path, me=student)
    with engine_with(paths.engine, inspected("web", labels={"ds01.user": "bob"})):
        for _ in range(13):
            with pytest.raises(DeniedError):
                check_owner(desk_of(paths), ["web"], "stop")
    assert capfd.readouterr().err == "Permission denied: container owned by bob (web)\n" * 13
    told = events(paths)
    assert len(told) == 11
    assert told[-1]["details"] == {"text": "more refusals of this hour are only counted"}
