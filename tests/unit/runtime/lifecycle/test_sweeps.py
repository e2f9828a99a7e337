"""The five jobs put together: what each looks at and remembers, and that a dry run leaves everything as it was."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.fake_nvml.samples import instance_uuid, shipped_host
from tests.unit.runtime.gpu.hosts import held
from tests.unit.runtime.lifecycle.sites import ADMIN, ALICE, Site
from tests.unit.runtime.lifecycle.subjects import NOON, id_of

from ds01.core.events import Event, read_events
from ds01.core.value import replace
from ds01.runtime.accounts import uid_of
from ds01.runtime.containers.engine import EngineError
from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.gpu.record import parse_ledger
from ds01.runtime.lifecycle.decision import Action, Decision, Decisions, LifecycleRule
from ds01.runtime.lifecycle.enforce import End, Outcome
from ds01.runtime.lifecycle.memory import path_of
from ds01.runtime.lifecycle.notices import MOST_BINDING, Notice, Weight, format_notices, parse_notices
from ds01.runtime.lifecycle.stale_containers import ALL_KEY
from ds01.runtime.lifecycle.sweeps import JOBS, Plan, Report, run_sweep

if TYPE_CHECKING:
    from tests.fake_nvml.fixture import FakeNvml

FIRST, SECOND = instance_uuid(2, 0), instance_uuid(3, 0)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def lab(site: Site, loaded_nvml: FakeNvml) -> Site:
    """The site on the shipped hardware: two whole GPUs, and two split in three."""
    loaded_nvml.write(shipped_host())
    return site


def swept(site: Site, job: str, *, dry_run: bool = False) -> Report:
    with site.engine():
        return run_sweep(job, site.sights, dry_run=dry_run)


def files(site: Site) -> dict[str, bytes]:
    return {os.fspath(path): path.read_bytes() for path in site.root.rglob("*") if path.is_file()}


def events(site: Site) -> list[tuple[str, str | None, Any]]:
    if not site.paths.events.exists():
        return []
    found = (each for each in read_events(site.paths.events) if isinstance(each, Event))
    return [(each.event_type, each.user, each.details["container"]) for each in found]


def remembered(site: Site, job: str) -> Any:
    return json.loads(path_of(site.paths, job).read_text())["memory"]


# --- Every job --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("job", JOBS)
def test_a_dry_run_changes_nothing(lab: Site, job: str):
    lab.has("web", pid=os.getpid())
    lab.has("old", status="exited")
    lab.ledger(replace(held(ALICE, "2:0", name="gone"), uuids=(GpuUuid(FIRST),)))
    swept(lab, job, dry_run=True)
    before = files(lab)
    report = swept(lab, job, dry_run=True)
    assert files(lab) == before
    assert (report.dry_run, report.outcomes) == (True, ())


@pytest.mark.parametrize("job", JOBS)
def test_where_docker_does_not_answer_nothing_is_concluded(lab: Site, job: str):
    lab.ledger(held(ALICE, "2:0", name="gone"))
    before = files(lab)
    with pytest.raises(EngineError):
        run_sweep(job, lab.sights, dry_run=False)
    assert {name: content for name, content in files(lab).items() if name in before} == before


@pytest.mark.parametrize("job", JOBS)
def test_a_record_that_cannot_be_believed_is_kept_aside(lab: Site, job: str):
    lab.has("web", pid=os.getpid())
    path = path_of(lab.paths, job)
    path.parent.mkdir(parents=True)
    path.write_text("torn")
    report = swept(lab, job)
    assert report.plan.damage is not None
    assert [each.read_text() for each in path.parent.glob(f"{job}.json.damaged-*")] == ["torn"]
    assert swept(lab, job).plan.damage is None


@pytest.mark.parametrize("job", JOBS)
def test_a_dry_run_leaves_such_a_record_where_it_is(lab: Site, job: str):
    path = path_of(lab.paths, job)
    path.parent.mkdir(parents=True)
    path.write_text("torn")
    assert swept(lab, job, dry_run=True).plan.damage is not None
    assert [each.name for each in path.parent.iterdir()] == [f"{job}.json"]


# --- Each job ---------------------------------------------------------------------------------------------------------


def test_idle_watches_what_runs_from_its_first_sweep_on(site: Site):
    made = site.has("web", pid=os.getpid())
    report = swept(site, "idle")
    assert report.summary == "1 looked at: nothing to do"
    assert [each.words for each in report.plan.decisions.remarks] == ["it is watched from now on"]
    assert list(remembered(site, "idle")["spells"]) == [made]


def test_max_runtime_warns_who_is_over_it(site: Site):
    site.change(defaults={"max_runtime_seconds": 0})
    site.has("train", pid=os.getpid())
    report = swept(site, "max-runtime")
    assert report.summary == "1 looked at: 1 warned"
    assert events(site) == [("lifecycle.warned", ALICE, "train")]
    assert remembered(site, "max-runtime")["runs"][site.id_of("train")]["share"] == 1.0


def test_stale_containers_tells_of_what_is_stopped(site: Site):
    site.has("old", status="exited")
    site.has("live")
    report = swept(site, "stale-containers")
    assert report.summary == "2 looked at: 1 warned"
    assert events(site) == [("lifecycle.warned", ALICE, "old")]
    assert list(remembered(site, "stale-containers")["kept"]) == [site.id_of("old")]


def notices(site: Site) -> tuple[Notice, ...]:
    uid = uid_of(ALICE)
    assert uid is not None
    path = site.paths.notices(uid)
    return parse_notices(path.read_bytes()) if path.exists() else ()


def test_no_number_of_stopped_containers_hides_the_end_of_one_that_runs(site: Site):
    site.change(defaults={"max_runtime_seconds": 0})
    site.has("train", pid=os.getpid())
    assert swept(site, "max-runtime").summary == "1 looked at: 1 warned"
    for number in range(25):
        site.has(f"c{number}", status="exited")
    assert swept(site, "stale-containers").summary == "26 looked at: 25 warned"
    end, hold = notices(site)
    assert (end.key, end.weight) == (f"max_runtime:{site.id_of('train')}", Weight.END)
    assert (hold.key, hold.weight) == (ALL_KEY, Weight.HOLD)
    assert hold.text.startswith("25 stopped containers are removed, the first, c0, after ")
    # Told once more only what changes, and nothing of those that are gone.
    del site.docker[2:]
    swept(site, "stale-containers")
    end, hold = notices(site)
    assert hold.text.startswith("container c0 is removed after ")
    del site.docker[1:]
    swept(site, "stale-containers")
    assert notices(site) == (end,)


def test_who_has_no_place_for_a_warning_is_not_warned_and_is_tried_again(site: Site):
    site.change(defaults={"max_runtime_seconds": 0})
    made = site.has("train", pid=os.getpid())
    uid = uid_of(ALICE)
    assert uid is not None
    path, until = site.paths.notices(uid), datetime.now(UTC) + timedelta(days=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = [Notice(NOON, "t", f"idle:{each}", until, Weight.END) for each in range(MOST_BINDING)]
    path.write_bytes(format_notices(waiting))
    report = swept(site, "max-runtime")
    assert [each.words for each in report.failures] == [
        f"{ALICE} could not be told: too many warnings of other things to come wait already"
    ]
    assert remembered(site, "max-runtime")["runs"][made]["warned_at"] is None
    path.write_bytes(format_notices(waiting[1:]))
    assert swept(site, "max-runtime").summary == "1 looked at: 1 warned"


def test_unmanaged_tells_of_what_ds01_did_not_make(site: Site):
    site.has("stranger", user=None)
    report = swept(site, "unmanaged")
    assert report.summary == "1 looked at: 1 warned"
    assert events(site) == [("lifecycle.warned", None, "stranger")]
    assert remembered(site, "unmanaged")["strangers"][site.id_of("stranger")]["alerts"] == 1


def gone(name: str = "gone", **changes: Any) -> Any:
    return replace(held(ALICE, "2:0", name=name), uuids=(GpuUuid(FIRST),), **changes)


def test_stale_gpu_frees_what_docker_has_no_more(lab: Site):
    lab.ledger(gone())
    assert swept(lab, "stale-gpu", dry_run=True).summary == "1 looked at: 1 would be released"
    report = swept(lab, "stale-gpu")
    assert report.summary == "1 looked at: 1 released"
    assert parse_ledger(lab.paths.gpu_state.read_bytes()).allocations == {}
    assert events(lab) == [("gpu.freed", ALICE, "gone"), ("lifecycle.released", ALICE, "gone")]
    assert swept(lab, "stale-gpu").summary == "0 looked at: nothing to do"


def stopped(site: Site) -> None:
    """Let a container have stopped in March, which holds a GPU still."""
    made = site.has("old", status="exited", devices=[FIRST], labels={"ds01.allocation": "id-old"})
    site.ledger(gone("old", container_id=made, stopped_at=datetime(2026, 3, 1, 11, 0, 0, tzinfo=UTC)))


def test_stale_gpu_ends_holds(lab: Site):
    stopped(lab)
    report = swept(lab, "stale-gpu")
    assert [(each.action, each.reason) for each in report.plan.decisions.wanted] == [
        (Action.RELEASE, "its container stopped and the hold is over")
    ]
    assert events(lab) == [("gpu.expired", ALICE, "old"), ("lifecycle.released", ALICE, "old")]


def test_where_holds_do_not_end_it_is_said_once(lab: Site):
    rules = json.loads(lab.paths.policy.read_text())["enforcement"]["rules"]
    lab.change(enforcement={"rules": rules | {"gpu_hold": "warn"}})
    stopped(lab)
    assert swept(lab, "stale-gpu", dry_run=True).summary == "1 looked at: 1 would be warned"
    assert swept(lab, "stale-gpu").summary == "1 looked at: 1 warned"
    assert swept(lab, "stale-gpu").summary == "1 looked at: nothing to do"
    assert len(parse_ledger(lab.paths.gpu_state.read_bytes()).allocations) == 1
    assert events(lab) == [("lifecycle.overruled", ALICE, "old")]
    lab.change(enforcement={"rules": rules | {"gpu_hold": "off"}})
    assert swept(lab, "stale-gpu").summary == "1 looked at: nothing to do"
    assert remembered(lab, "stale-gpu") == {"told": {}}


def test_where_no_gpu_was_ever_handed_out_there_is_nothing_to_free(lab: Site):
    assert swept(lab, "stale-gpu", dry_run=True).summary == "0 looked at: nothing to do"
    assert not lab.paths.gpu_state.exists()


# --- What is remembered, and said -------------------------------------------------------------------------------------


def test_who_was_warned_before_a_failure_stays_warned(site: Site):
    """The second account has no place for notices; the first one's warning counts all the same."""
    site.change(defaults={"max_runtime_seconds": 0})
    first, second = site.has("a", pid=os.getpid()), site.has("b", user="daemon", pid=os.getpid())
    site.change(defaults={"max_runtime_seconds": 0}, access_control={"admin_users": []})
    uid = uid_of("daemon")
    assert uid is not None
    # A folder is no file into which anybody could write a notice.
    (site.paths.notices_folder / f".{uid}.lock").mkdir(parents=True)
    report = swept(site, "max-runtime")
    assert report.summary == "2 looked at: 1 warned, 1 failed"
    assert [each.decision.name for each in report.failures] == ["b"]
    runs = remembered(site, "max-runtime")["runs"]
    assert runs[first]["warned_at"] is not None
    assert runs[second]["warned_at"] is None


def decision(action: Action, name: str) -> Decision:
    return Decision(id_of(name), name, ALICE, action, LifecycleRule.IDLE, "idle", state_since=NOON)


def test_a_summary_counts_what_became_of_everything():
    wanted = tuple(decision(action, f"c{number}") for number, action in enumerate((*Action, Action.STOP, Action.STOP)))
    plan = Plan(Decisions(wanted), 12, lambda _: None)
    assert Report("idle", dry_run=True, plan=plan).summary == (
        "12 looked at: 1 would be warned, 1 would be released, 1 would be removed, 3 would be stopped"
    )
    ends = (End.DONE, End.DONE, End.DONE, End.DONE, End.FAILED, End.NOT_NEEDED)
    outcomes = tuple(Outcome(each, end, "why") for each, end in zip(wanted, ends, strict=True))
    report = Report("idle", dry_run=False, plan=plan, outcomes=outcomes)
    assert report.summary == ("12 looked at: 1 warned, 1 released, 1 removed, 1 stopped, 1 left after all, 1 failed")
    assert report.failures == (outcomes[4],)
    assert Report("idle", dry_run=True, plan=Plan(Decisions(), 0, lambda _: None)).summary == (
        "0 looked at: nothing to do"
    )


def test_times_of_a_sweep_are_those_of_the_machine(site: Site):
    before = datetime.now(UTC) - timedelta(seconds=1)
    swept(site, "unmanaged")
    assert datetime.fromisoformat(remembered(site, "unmanaged")["at"]["now"]) > before


# --- What Docker cannot describe --------------------------------------------------------------------------------------


@pytest.mark.parametrize("job", JOBS)
def test_one_that_docker_cannot_describe_is_named_and_holds_up_no_job(lab: Site, job: str):
    lab.has("web", pid=os.getpid())
    lab.has("stuck", pid=os.getpid())
    lab.ledger(held(ALICE, "2:0", name="gone"))
    lab.broken = {"stuck"}
    report = swept(lab, job)
    assert report.summary.startswith("1 looked at: ")
    assert report.summary.endswith(", 1 that Docker could not describe: stuck")
    assert not any(each.name == "stuck" for each in report.plan.decisions.wanted)


def test_why_it_is_left_alone_is_said_with_whose_it_was(site: Site):
    site.has("web", pid=os.getpid())
    site.has("stuck", pid=os.getpid())
    site.broken = {"stuck"}
    (said,) = [each for each in swept(site, "idle").plan.decisions.remarks if each.name == "stuck"]
    assert said.words.startswith("Docker could not describe it: ")


def test_many_of_them_are_counted_and_some_named():
    names = tuple("abcdefg")
    report = Report("idle", dry_run=True, plan=Plan(Decisions(), 3, lambda _: None, unseen=names))
    assert report.summary == "3 looked at: nothing to do, 7 that Docker could not describe: a, b, c, d, e and 2 more"


def test_its_gpu_stays_held_and_that_of_one_that_is_gone_is_released(lab: Site):
    made = lab.has("stuck", status="exited")
    lab.has("web")
    mine = replace(held(ALICE, "2:0", name="stuck"), uuids=(GpuUuid(FIRST),), container_id=made)
    gone = replace(held(ALICE, "3:0", name="gone"), uuids=(GpuUuid(SECOND),))
    lab.ledger(replace(mine, stopped_at=datetime(2026, 1, 1, tzinfo=UTC)), gone)
    lab.broken = {"stuck"}
    assert swept(lab, "stale-gpu").summary == "2 looked at: 1 released, 1 that Docker could not describe: stuck"
    assert set(parse_ledger(lab.paths.gpu_state.read_bytes()).allocations) == {"stuck"}


def set_modes(site: Site, mode: str) -> None:
    """Have all rules in a mode, and everything that runs be over its time."""
    rules = site.policy.document["enforcement"]["rules"]  # type: ignore[index] # as the policy has it
    site.change(enforcement={"rules": dict.fromkeys(rules, mode)}, defaults={"max_runtime_seconds": 0})


@pytest.mark.parametrize(
    ("job", "rows", "status"),
    [
        ("idle", "spells", "running"),
        ("max-runtime", "runs", "running"),
        ("stale-containers", "kept", "exited"),
        ("unmanaged", "strangers", "running"),
    ],
)
@pytest.mark.parametrize("mode", ["enforce", "warn"])
def test_what_was_said_to_its_owner_holds_while_it_cannot_be_described(
    site: Site, job: str, rows: str, status: str, mode: str
):
    set_modes(site, mode)
    pid = os.getpid() if status == "running" else None
    site.has("web", pid=pid, status=status)
    made = site.has("train", pid=pid, status=status)
    for _ in range(2):
        swept(site, job)
    before = remembered(site, job)[rows][made]
    site.broken = {"train"}
    assert swept(site, job).plan.decisions.cleared == ()
    assert remembered(site, job)[rows][made] == before


@pytest.mark.parametrize(
    ("job", "rows", "rule", "status"),
    [
        ("max-runtime", "runs", "max_runtime", "running"),
        ("stale-containers", "kept", "container_hold", "exited"),
        ("unmanaged", "strangers", "unmanaged", "running"),
    ],
)
def test_a_rule_that_is_enforced_no_more_takes_back_its_word_to_it_too(
    site: Site, job: str, rows: str, rule: str, status: str
):
    set_modes(site, "enforce")
    pid = os.getpid() if status == "running" else None
    made = site.has("train", pid=pid, status=status)
    site.has("web", pid=pid, status=status)
    swept(site, job)
    before = remembered(site, job)[rows][made]
    site.broken = {"train"}
    set_modes(site, "warn")
    assert (ALICE, f"{rule}:{made}") in swept(site, job).plan.decisions.cleared
    after = remembered(site, job)[rows][made]
    assert (after != before, after["user"]) == (True, ALICE)


def rebuilt(site: Site) -> dict[str, tuple[str, ...]]:
    """Who holds what, once a lost record was made anew from Docker."""
    site.paths.gpu_state.unlink(missing_ok=True)
    swept(site, "stale-gpu")
    return {name: each.slots for name, each in parse_ledger(site.paths.gpu_state.read_bytes()).allocations.items()}


def test_after_a_boot_gpus_are_handed_out_beside_one_that_never_came_to_run(lab: Site):
    """As one whose start waits for a file server: it runs nowhere, and has nothing."""
    lab.has("stuck", status="created")
    lab.has("web", devices=[FIRST])
    lab.broken = {"stuck"}
    assert rebuilt(lab) == {"web": ("2:0",)}


def test_one_that_runs_and_tells_nothing_takes_what_nobody_else_has_until_it_tells(lab: Site):
    lab.has("stuck")
    lab.has("web", devices=[FIRST])
    lab.broken = {"stuck"}
    held_by = rebuilt(lab)
    assert held_by["web"] == ("2:0",)
    assert set(held_by["stuck"]) == {"0", "1", "2:1", "2:2", "3:0", "3:1", "3:2"}
    lab.broken = set()
    assert swept(lab, "stale-gpu").summary == "2 looked at: 1 released"
    assert set(parse_ledger(lab.paths.gpu_state.read_bytes()).allocations) == {"web"}


def test_what_is_shown_at_login_of_one_that_cannot_be_described_stays(site: Site):
    set_modes(site, "enforce")
    site.has("train", status="exited")
    site.has("web", status="exited", user=ADMIN)
    swept(site, "stale-containers")
    before = notices(site)
    assert any("train" in each.text for each in before)
    site.broken = {"train"}
    swept(site, "stale-containers")
    assert notices(site) == before
