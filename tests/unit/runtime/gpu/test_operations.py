"""Each operation is one transaction, done twice it is done once, and it is told of when it is on disk."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.runtime.gpu.hosts import LAB, ask, split, whole
from tests.unit.runtime.gpu.sites import Site

from ds01.core.value import replace
from ds01.runtime.gpu.answer import Grant, Reason, Refusal
from ds01.runtime.gpu.hardware import Devices
from ds01.runtime.gpu.ledger import Allocation, Reservation
from ds01.runtime.gpu.operations import Gpus, new_id
from ds01.runtime.gpu.reconcile import Present
from ds01.runtime.gpu.request import Named, Request
from ds01.runtime.gpu.state import GpuStateError
from ds01.runtime.identity import ProcessRef
from ds01.runtime.machine import Machine

ID = "f" * 64


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def grant(site: Site, user: str = "alice", wanted: str = "1", name: str = "train") -> Allocation:
    answer = site.gpus.allocate(ask(user, wanted, name=name), site.me)
    assert isinstance(answer, Grant)
    return answer.allocation


def container(of: Allocation, *, running: bool, since: datetime | None = None) -> Present:
    now = datetime.now(UTC)
    return Present(of.container, ID, of.user, of.id, of.slots, of.uuids, running, now, since or now)


def held(site: Site) -> dict[str, tuple[str, ...]]:
    return {name: each.slots for name, each in site.gpus.state.read().allocations.items()}


def test_ids_are_long_and_never_the_same() -> None:
    ids = {new_id() for _ in range(1000)}
    assert (len(ids), {len(each) for each in ids}) == (1000, {32})


# --- Allocating -------------------------------------------------------------------------------------------------------


def test_what_is_granted_is_written_down_reserved_and_told(site: Site) -> None:
    there = grant(site)
    assert there.reservation == Reservation(site.me)
    assert site.gpus.state.read().allocations["train"] == replace(
        there, allocated_at=there.allocated_at.replace(microsecond=0)
    )
    assert site.events() == [("gpu.allocated", "alice", "train")]


def test_the_same_request_twice_is_one_allocation_kept_by_who_asked_last(site: Site) -> None:
    first = grant(site)
    with subprocess.Popen(["sleep", "60"]) as other:
        keeper = site.machine.process(other.pid)
        assert keeper is not None
        again = site.gpus.allocate(replace(ask("alice", name="train"), id=new_id()), keeper)
        other.kill()
    assert isinstance(again, Grant)
    assert (again.allocation.id, again.allocation.reservation, again.fresh) == (first.id, Reservation(keeper), False)
    assert held(site) == {"train": ("2:0",)}
    assert len(site.events()) == 1


def test_a_refusal_writes_nothing_but_that_the_host_was_looked_at(site: Site) -> None:
    grant(site)
    before = site.paths.gpu_state.read_bytes()
    refusal = site.gpus.allocate(ask("bob", "device=2:0", name="nb"), site.me)
    assert isinstance(refusal, Refusal)
    assert (site.paths.gpu_state.read_bytes(), len(site.events())) == (before, 1)


def test_what_would_be_answered_changes_nothing(site: Site) -> None:
    grant(site)
    before = site.paths.gpu_state.read_bytes()
    answers = [
        site.gpus.would_answer(ask("alice", wanted, name="other"), site.devices) for wanted in ("1", "device=2:0")
    ]
    assert [isinstance(each, Grant) for each in answers] == [True, False]
    assert site.paths.gpu_state.read_bytes() == before


def test_without_docker_nothing_is_handed_out_as_long_as_nothing_is_known(site: Site) -> None:
    site.docker = None
    with pytest.raises(GpuStateError, match="who holds which is not known"):
        site.gpus.allocate(ask("alice"), site.me)
    assert not site.paths.gpu_state.exists()
    site.docker = ()
    grant(site)
    site.docker = None
    grant(site, name="second")
    assert site.asked == 2, "once before there was a state, once when there was none and Docker did not answer"


def test_units_that_docker_shows_in_use_are_not_given_first_thing(site: Site) -> None:
    units = [unit for unit in LAB.units if not unit.is_whole]
    now = datetime.now(UTC)
    site.docker = tuple(
        Present(f"stray{number}", f"{number:064}", None, None, (unit.slot,), (unit.uuid,), True, now, now)  # noqa: FBT003 - fields of a value
        for number, unit in enumerate(units[:-1])
    )
    assert grant(site).uuids == (units[-1].uuid,)


def test_who_asks_for_a_held_containers_name_again_has_its_units_until_the_new_container_is_there(site: Site) -> None:
    """docker rm and docker run under the same name: nobody has told that the old one is gone."""
    old = grant(site)
    site.gpus.confirm(old.id, "train", ID)
    site.gpus.mark_stopped("train")
    again = site.gpus.allocate(replace(ask("alice", name="train"), id=new_id()), site.me)
    assert isinstance(again, Grant)
    assert (again.allocation.stopped_at, again.allocation.reservation) == (None, Reservation(site.me))
    after(site, hours=9)
    assert site.gpus.reconcile() == ()
    assert held(site) == {"train": ("2:0",)}
    site.docker = (replace(container(old, running=True), id="a" * 64),)
    assert site.gpus.reconcile() == ()
    assert site.gpus.state.read().allocations["train"].container_id == "a" * 64
    assert [each[0] for each in site.events()] == ["gpu.allocated", "gpu.held", "gpu.resumed"]


def test_who_asks_for_a_running_containers_name_again_keeps_the_units_if_it_is_gone_by_now(site: Site) -> None:
    there = grant(site)
    site.docker = (container(there, running=True),)
    site.gpus.reconcile()
    assert site.gpus.state.read().allocations["train"].reservation is None
    assert isinstance(site.gpus.allocate(ask("alice", name="train"), site.me), Grant)
    site.docker = ()
    assert site.gpus.reconcile() == ()
    assert held(site) == {"train": ("2:0",)}


# --- Releasing and holding --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name_of", [lambda each: each.container, lambda each: each.id, lambda _: ID[:12]])
def test_release_frees_exactly_what_was_granted_and_once(site: Site, name_of: Callable[[Allocation], str]) -> None:
    there = grant(site)
    grant(site, name="other")
    site.gpus.confirm(there.id, "train", ID)
    freed = site.gpus.release(name_of(there))
    assert freed is not None
    assert (freed.uuids, held(site)) == (there.uuids, {"other": ("3:0",)})
    assert site.gpus.release(name_of(there)) is None
    assert site.events()[-1] == ("gpu.released", "alice", "train")
    assert len(site.events()) == 3


def test_a_stopped_container_holds_until_it_starts_and_each_is_said_once(site: Site) -> None:
    there = grant(site)
    stopped = site.gpus.mark_stopped("train")
    assert stopped is not None
    assert stopped.stopped_at is not None
    assert stopped.reservation is None
    assert site.gpus.mark_stopped("train") == replace(
        stopped, stopped_at=stopped.stopped_at.replace(microsecond=0), allocated_at=stopped.allocated_at
    )
    resumed = site.gpus.clear_stopped("train", site.me)
    assert isinstance(resumed, Grant)
    assert (resumed.allocation.uuids, resumed.allocation.stopped_at) == (there.uuids, None)
    assert resumed.allocation.reservation == Reservation(site.me), "it does not run yet"
    assert isinstance(site.gpus.clear_stopped("train", site.me), Grant)
    assert [each[0] for each in site.events()] == ["gpu.allocated", "gpu.held", "gpu.resumed"]


def test_who_starts_a_container_that_somebody_else_was_about_to_start_keeps_it_reserved(site: Site) -> None:
    """Also one that never said that it stopped: its units must not be freed between the word and the start."""
    with subprocess.Popen(["sleep", "60"]) as gone:
        keeper = site.machine.process(gone.pid)
        assert keeper is not None
        there = site.gpus.allocate(ask("alice", name="train"), keeper)
        assert isinstance(there, Grant)
        gone.kill()
    resumed = site.gpus.clear_stopped("train", site.me)
    assert isinstance(resumed, Grant)
    assert resumed.allocation.reservation == Reservation(site.me)
    assert site.gpus.state.read().allocations["train"].reservation == Reservation(site.me)
    long_ago = datetime.now(UTC) - timedelta(days=3)
    site.docker = (container(there.allocation, running=False, since=long_ago),)
    assert site.gpus.reconcile() == ()
    assert held(site) == {"train": ("2:0",)}


def test_what_was_looked_up_is_meant_and_nothing_that_is_called_so(site: Site) -> None:
    victim = grant(site, "alice", name="train")
    trick = site.gpus.allocate(replace(ask("bob", name="trick"), id="train"), site.me)
    assert isinstance(trick, Grant)
    assert (trick.allocation.id, trick.allocation.container) == ("train", "trick")
    resumed = site.gpus.clear_stopped(trick.allocation, site.me)
    assert isinstance(resumed, Grant)
    assert resumed.allocation.uuids == trick.allocation.uuids
    stopped = site.gpus.mark_stopped(trick.allocation)
    assert stopped is not None
    assert stopped.container == "trick"
    assert site.gpus.release(trick.allocation) is not None
    assert site.gpus.release(trick.allocation) is None
    assert held(site) == {"train": victim.slots}


def test_a_whole_id_of_dockers_is_no_name_of_anothers(site: Site) -> None:
    victim = grant(site, "alice", name="train")
    site.gpus.confirm(victim.id, "train", ID)
    grant(site, "bob", name=ID)
    stopped = site.gpus.mark_stopped(ID)
    assert stopped is not None
    assert stopped.container == "train"


def test_what_a_container_had_is_not_given_back_as_what_another_account_has_by_now(site: Site) -> None:
    again = replace(ask("alice", name="train"), id="token-of-old", wanted=Named((LAB.units[3].uuid,)))
    grant(site, "bob", "device=2:0", name="train")
    answer = site.gpus.clear_stopped("train", site.me, again)
    assert isinstance(answer, Refusal)
    assert answer.reason is Reason.NAME_TAKEN


@pytest.mark.parametrize("act", ["release", "mark_stopped"])
def test_what_holds_nothing_is_no_error(site: Site, act: str) -> None:
    assert getattr(site.gpus, act)("ghost") is None
    assert site.gpus.clear_stopped("ghost", site.me) is None
    assert site.gpus.rename("ghost", "new") is None
    assert site.gpus.confirm("ghost", "x", ID) is None
    assert site.events() == []


def test_after_its_hold_a_container_gets_the_same_units_if_they_are_free(site: Site) -> None:
    there = grant(site)
    again = replace(ask("alice", name="train"), id=there.id, wanted=Named(there.uuids))
    site.gpus.release("train")
    answer = site.gpus.clear_stopped("train", site.me, again)
    assert isinstance(answer, Grant)
    assert answer.allocation.uuids == there.uuids


def test_after_its_hold_a_container_whose_units_are_taken_has_to_be_made_anew(site: Site) -> None:
    there = grant(site)
    site.gpus.release("train")
    grant(site, "bob", "device=2:0", name="nb")
    again = replace(ask("alice", name="train"), id=there.id, wanted=Named(there.uuids))
    answer = site.gpus.clear_stopped("train", site.me, again)
    assert isinstance(answer, Refusal)
    assert answer.text == "train had GPU 2:0 and its hold is over: GPU 2:0 is held by bob's nb"
    assert answer.fix == "re-create it to get another one (docker rm train, docker run …)"


def test_resuming_counts_in_the_quota_like_any_request(site: Site) -> None:
    there = grant(site, name="old")
    site.gpus.release("old")
    for number in range(3):
        grant(site, name=f"c{number}", wanted=f"device=3:{number}")
    again = replace(ask("alice", name="old"), id=there.id, wanted=Named(there.uuids))
    answer = site.gpus.clear_stopped("old", site.me, again)
    assert isinstance(answer, Refusal)
    assert answer.reason is Reason.QUOTA


# --- What nobody has heard of -----------------------------------------------------------------------------------------


class BrokenOffError(Exception):
    """What ends a block."""


def break_off(site: Site, act: Callable[[Gpus], object]) -> None:
    """Do something whose answer nobody hears."""

    def begin() -> None:
        with site.gpus.taken_back_on_failure() as gpus:
            act(gpus)
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        begin()


def test_what_nobody_has_heard_of_is_taken_back(site: Site) -> None:
    grant(site, name="other")
    before = site.gpus.state.read()
    break_off(site, lambda gpus: gpus.allocate(ask("alice", name="train"), site.me))
    assert site.gpus.state.read() == before
    assert [each[0] for each in site.events()] == ["gpu.allocated", "gpu.allocated", "gpu.released"]


def test_what_a_container_held_before_it_holds_again(site: Site) -> None:
    """With its old keeper, or for the rest of its hold: not for as long as the one lives that was broken off."""
    with subprocess.Popen(["sleep", "60"]) as other:
        keeper = site.machine.process(other.pid)
        assert keeper is not None
        wish = ask("alice", name="train")
        assert isinstance(site.gpus.allocate(wish, keeper), Grant)
        for act in (
            lambda gpus: gpus.allocate(wish, site.me),
            lambda gpus: gpus.allocate(replace(wish, id=new_id()), site.me),
            lambda gpus: gpus.clear_stopped("train", site.me),
            lambda gpus: (gpus.allocate(wish, site.me), gpus.clear_stopped("train", site.me)),
        ):
            before = site.gpus.state.read()
            break_off(site, act)
            assert site.gpus.state.read() == before
        site.gpus.mark_stopped("train")
        before = site.gpus.state.read()
        break_off(site, lambda gpus: gpus.clear_stopped("train", site.me))
        assert site.gpus.state.read() == before
        other.kill()
    assert [each[0] for each in site.events()] == ["gpu.allocated", "gpu.held", "gpu.resumed", "gpu.held"]


def test_what_others_did_meanwhile_stays(site: Site) -> None:
    def served_and_started(gpus: Gpus) -> None:
        answer = gpus.allocate(ask("alice", name="train"), site.me)
        assert isinstance(answer, Grant)
        site.docker = (container(answer.allocation, running=True),)
        site.gpus.reconcile()

    break_off(site, served_and_started)
    assert held(site) == {"train": ("2:0",)}


def test_what_is_told_and_what_was_never_written_is_not_taken_back(site: Site) -> None:
    with site.gpus.taken_back_on_failure() as gpus:
        assert isinstance(gpus.allocate(ask("alice", name="train"), site.me), Grant)
    taken = site.paths.gpu_state.with_name(f".{site.paths.gpu_state.name}.ds01-tmp")
    taken.mkdir()
    with pytest.raises(GpuStateError), site.gpus.taken_back_on_failure() as gpus:
        gpus.allocate(ask("alice", name="late"), site.me)
    taken.rmdir()
    assert (held(site), site.events()) == ({"train": ("2:0",)}, [("gpu.allocated", "alice", "train")])


def test_what_cannot_be_taken_back_is_said_and_hides_no_other_failure(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    def on_a_disk_that_fills(gpus: Gpus) -> None:
        gpus.allocate(ask("alice", name="train"), site.me)
        site.paths.gpu_state.with_name(f".{site.paths.gpu_state.name}.ds01-tmp").mkdir()

    break_off(site, on_a_disk_that_fills)
    assert held(site) == {"train": ("2:0",)}
    assert [each.getMessage().partition(": ")[0] for each in caplog.records] == [
        "what was reserved for train could not be taken back"
    ]


# --- Names ------------------------------------------------------------------------------------------------------------


def test_a_container_gets_its_name_and_id_and_follows_a_rename(site: Site) -> None:
    there = grant(site, name="train")
    named = site.gpus.confirm(there.id, "eager_turing", ID)
    assert named is not None
    assert (named.container, named.container_id, site.gpus.confirm(there.id, "eager_turing", ID)) == (
        "eager_turing",
        ID,
        named,
    )
    assert site.gpus.rename(ID, "final") is not None
    assert held(site) == {"final": ("2:0",)}
    assert site.gpus.rename("eager_turing", "final") is None


def test_a_name_that_docker_has_given_again_is_the_new_containers(site: Site) -> None:
    old, new = grant(site, name="train"), grant(site, name="other")
    site.gpus.rename("other", "train")
    assert {name: each.id for name, each in site.gpus.state.read().allocations.items()} == {
        f"?{old.id}": old.id,
        "train": new.id,
    }


def test_a_container_named_like_anothers_allocation_is_in_nobodys_way(site: Site) -> None:
    old, new = grant(site, name="train"), grant(site, "bob", name="other")
    trick = grant(site, "bob", name=old.id)
    site.gpus.rename("other", "train")
    assert {name: each.id for name, each in site.gpus.state.read().allocations.items()} == {
        f"?{old.id}": old.id,
        old.id: trick.id,
        "train": new.id,
    }
    assert site.gpus.release(old) is not None
    assert set(held(site)) == {old.id, "train"}


def test_a_container_that_is_called_as_anothers_allocation_is_not_taken_for_it(site: Site) -> None:
    mine = grant(site, name="mine")
    trick = grant(site, "bob", "device=3:2", name=mine.id)
    for act in (site.gpus.mark_stopped, site.gpus.release):
        done = act(mine)
        assert done is not None
        assert done.id == mine.id
    assert set(held(site)) == {trick.container}


def test_a_container_that_is_made_anew_has_its_units_reserved_again(site: Site) -> None:
    there = grant(site)
    site.docker = (container(there, running=True),)
    site.gpus.reconcile()
    site.docker = ()  # removed, and nobody said so
    again = site.gpus.allocate(ask("alice", name="train"), site.me)
    assert isinstance(again, Grant)
    assert again.allocation.reservation == Reservation(site.me)
    assert site.gpus.reconcile() == ()
    assert held(site) == {"train": ("2:0",)}


def test_a_label_that_names_a_living_allocation_gives_no_other_units(site: Site) -> None:
    living = grant(site, name="living")
    grant(site, "bob", "device=3:2", name="victim")
    label = replace(ask("alice", "device=3:2", name="old"), id=living.id)
    answer = site.gpus.clear_stopped("old", site.me, label)
    assert isinstance(answer, Refusal)
    assert "3:2 is held by bob's victim" in answer.text


# --- What time frees --------------------------------------------------------------------------------------------------


def after(site: Site, **time: float) -> None:
    machine = Machine(now=lambda: datetime.now(UTC) + timedelta(**time))
    site.machine = machine


def test_a_hold_that_is_over_is_freed_for_who_asks_once_docker_was_asked(site: Site) -> None:
    there = grant(site, wanted="device=2:0")
    site.gpus.mark_stopped("train")
    site.docker = (container(there, running=False, since=datetime.now(UTC)),)
    after(site, seconds=890)
    asked = site.asked
    assert isinstance(site.gpus.allocate(ask("bob", "device=2:0"), site.me), Refusal)
    assert site.asked == asked, "nothing was due"
    after(site, seconds=901)
    answer = site.gpus.allocate(ask("bob", "device=2:0"), site.me)
    assert isinstance(answer, Grant)
    assert [each[0] for each in site.events()] == ["gpu.allocated", "gpu.held", "gpu.expired", "gpu.allocated"]


def test_a_hold_that_is_over_stays_while_docker_shows_the_container_running(site: Site) -> None:
    there = grant(site, wanted="device=2:0")
    site.gpus.mark_stopped("train")
    site.docker = (container(there, running=True),)
    after(site, hours=9)
    assert isinstance(site.gpus.allocate(ask("bob", "device=2:0"), site.me), Refusal)
    assert site.gpus.state.read().allocations["train"].stopped_at is None


def test_a_hold_that_is_over_stays_while_docker_does_not_answer(site: Site) -> None:
    grant(site, wanted="device=2:0")
    site.gpus.mark_stopped("train")
    site.docker = None
    after(site, hours=9)
    assert isinstance(site.gpus.allocate(ask("bob", "device=2:0"), site.me), Refusal)
    assert held(site) == {"train": ("2:0",)}


BLOCKED = {
    "its unit": ask("bob", "device=2:0", name="new"),
    "the quota": ask("alice", name="new"),
    "its name, with other units": ask("alice", "device=3:2", name="c0"),
    "its name, another account's": ask("bob", "device=3:2", name="c0"),
}


def three_run(site: Site) -> None:
    """As many as a student may have, the first on 2:0."""
    made = [grant(site, name=f"c{number}", wanted=f"device=2:{number}") for number in range(3)]
    site.docker = tuple(replace(container(each, running=True), id=f"{each.container:0<64}") for each in made)
    site.gpus.reconcile()


@pytest.mark.parametrize("wish", BLOCKED.values(), ids=BLOCKED)
def test_a_container_that_is_gone_without_a_word_is_in_nobodys_way(site: Site, wish: Request) -> None:
    three_run(site)
    asked = site.asked
    assert isinstance(site.gpus.allocate(wish, site.me), Refusal)
    assert site.asked == asked, "the containers are as they are written: nothing more is asked"
    assert site.docker is not None
    site.docker = site.docker[1:]
    answer = site.gpus.allocate(wish, site.me)
    assert isinstance(answer, Grant)
    assert (site.asked, answer.fresh) == (asked + 1, True)
    assert [each for each in site.events() if each[0] != "gpu.allocated"] == [("gpu.freed", "alice", "c0")]


@pytest.mark.parametrize("wish", BLOCKED.values(), ids=BLOCKED)
def test_while_docker_does_not_answer_what_is_in_the_way_stays(site: Site, wish: Request) -> None:
    three_run(site)
    site.docker = None
    assert isinstance(site.gpus.allocate(wish, site.me), Refusal)
    assert set(held(site)) == {"c0", "c1", "c2"}


def test_a_hold_that_began_without_a_word_and_is_over_is_in_nobodys_way(site: Site) -> None:
    three_run(site)
    assert site.docker is not None
    long_ago = datetime.now(UTC) - timedelta(hours=9)
    first, *others = site.docker
    site.docker = (replace(first, running=False, created_at=long_ago, since=long_ago), *others)
    assert isinstance(site.gpus.allocate(BLOCKED["its unit"], site.me), Grant)


def test_events_are_told_when_the_ledger_is_on_disk_and_never_of_what_did_not_happen(site: Site) -> None:
    grant(site)
    site.paths.gpu_state.with_name(f".{site.paths.gpu_state.name}.ds01-tmp").mkdir()
    for act in (
        lambda: site.gpus.allocate(ask("bob", name="nb"), site.me),
        lambda: site.gpus.release("train"),
        lambda: site.gpus.mark_stopped("train"),
        site.gpus.reconcile,
    ):
        with pytest.raises(GpuStateError, match="nothing was changed"):
            act()
    assert held(site) == {"train": ("2:0",)}
    assert site.events() == [("gpu.allocated", "alice", "train")]


def test_reconcile_says_what_it_found_and_the_second_time_nothing(site: Site) -> None:
    there = grant(site)
    site.docker = (replace(container(there, running=True), name="renamed"),)
    assert site.gpus.reconcile() == ()  # the container came, under whichever name
    site.docker = ()
    assert site.gpus.reconcile() == ("renamed: Docker has its container no more",)
    assert site.gpus.reconcile() == ()
    assert held(site) == {}


def test_a_reservation_of_a_process_that_is_gone_lapses_and_one_that_lives_does_not(site: Site) -> None:
    with subprocess.Popen(["sleep", "60"]) as gone:
        keeper = site.machine.process(gone.pid)
        assert keeper is not None
        assert isinstance(site.gpus.allocate(ask("alice", name="dead"), keeper), Grant)
        gone.kill()
    grant(site, name="alive")
    assert site.gpus.reconcile() == ()
    uptime = site.machine.boot_seconds()
    site.machine = Machine(boot_seconds=lambda: uptime + 62)
    assert site.gpus.reconcile() == ("dead: no container came of it",)
    assert set(held(site)) == {"alive"}


# --- Hardware ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "reason"),
    [
        (Devices((whole(0),)), Reason.NO_SUCH_GPU),
        (Devices((whole(0), split(2, 2, 2, 2, problem="it fell off the bus"))), Reason.BROKEN),
    ],
)
@pytest.mark.parametrize("stopped", [True, False])
def test_a_container_whose_unit_is_gone_or_broken_is_not_started_and_goes_on_to_hold_it(
    site: Site, devices: Devices, reason: Reason, *, stopped: bool
) -> None:
    grant(site)
    if stopped:
        site.gpus.mark_stopped("train")
    before = site.gpus.state.read()
    site.devices = devices
    answer = site.gpus.clear_stopped("train", site.me)
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.fix) == (reason, "re-create it to get another one (docker rm train, docker run …)")
    assert answer.text.startswith("train has GPU 2:0: ")
    assert site.gpus.state.read() == before
    site.devices = LAB
    assert isinstance(site.gpus.clear_stopped("train", site.me), Grant), "a reset brought it back"


def test_a_container_that_is_made_anew_gets_another_unit_for_one_that_is_broken(site: Site) -> None:
    """docker rm and docker run under the same name: nobody has told that the old one is gone."""
    old = grant(site)
    site.docker = (container(old, running=True),)
    site.gpus.reconcile()
    site.devices = Devices((*LAB.gpus[:2], split(2, 2, 2, 2, problem="it fell off the bus"), LAB.gpus[3]))
    wish = replace(ask("alice", name="train"), id=new_id())
    assert isinstance(site.gpus.allocate(wish, site.me), Refusal)
    site.docker = ()
    answer = site.gpus.allocate(wish, site.me)
    assert isinstance(answer, Grant)
    assert (answer.allocation.slots, answer.fresh) == (("3:0",), True)


def test_the_line_is_left_by_who_is_served_and_by_who_leaves(site: Site) -> None:
    grant(site, "bob", "device=2:0", name="nb")
    me = ProcessRef(os.getpid(), site.me.started, site.me.boot)
    wish = ask("alice", "device=2:0", name="train")
    for _ in range(2):
        assert isinstance(site.gpus.allocate_or_wait(wish, site.me, me), Refusal)
    assert [each.id for each in site.gpus.state.read().queue] == [wish.id]
    site.gpus.leave(wish.id)
    site.gpus.leave(wish.id)
    assert site.gpus.state.read().queue == ()
    site.gpus.allocate_or_wait(wish, site.me, me)
    site.gpus.release("nb")
    assert isinstance(site.gpus.allocate_or_wait(wish, site.me, me), Grant)
    assert site.gpus.state.read().queue == ()


def test_nobody_leaves_the_line_or_is_served_by_another_accounts_request(site: Site) -> None:
    grant(site, "root", "device=2:0", name="nb")
    wish = ask("alice", "device=2:0", name="train")
    site.gpus.allocate_or_wait(wish, site.me, site.me)
    for wanted in ("device=2:1", "device=2:0"):
        trick = replace(ask("bob", wanted, name="trick"), id=wish.id)
        for answer in (site.gpus.allocate(trick, site.me), site.gpus.allocate_or_wait(trick, site.me, site.me)):
            assert isinstance(answer, Refusal)
            assert (answer.reason, answer.waitable) == (Reason.NAME_TAKEN, False)
    assert [(each.id, each.user) for each in site.gpus.state.read().queue] == [(wish.id, "alice")]
    site.gpus.release("nb")
    assert isinstance(site.gpus.allocate(wish, site.me), Grant)


def test_every_event_about_gpus_stands_in_the_page_about_events() -> None:
    checkout = Path(__file__).resolve().parents[4]
    sources = [path.read_text() for path in (checkout / "scripts/ds01/runtime").rglob("*.py")]
    told = {name for text in sources for name in re.findall(r'"(gpu\.[a-z_]+)"', text)}
    page = (checkout / "docs/events.md").read_text()
    assert len(told) > 8
    assert [name for name in sorted(told) if f"`{name}`" not in page] == []
