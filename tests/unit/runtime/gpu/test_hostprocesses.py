"""What becomes of a process outside containers: the table of verdicts, grace, grants, and what is never condemned."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.gpu.hosts import LAB, NOON

from ds01.core.value import replace
from ds01.runtime.gpu.announced import Announced, announced_after, ends_told
from ds01.runtime.gpu.baremetal import Access, BareMetal
from ds01.runtime.gpu.grants import Grant
from ds01.runtime.gpu.hardware import Devices, GpuProcess, GpuUuid
from ds01.runtime.gpu.hostprocesses import (
    HostProcess,
    Key,
    Meant,
    Moment,
    Rules,
    Verdict,
    doubted,
    forgiven,
    judge,
    meant_by,
    newly_warned,
    slot_of,
)

BOOT = 5000.0
GRACE = 900
SINCE = NOON - timedelta(hours=2)
GRANTED = Grant("alice", "sysop", NOON, NOON + timedelta(hours=1))
KEY = (4711, 77)


def rules(access: Access = Access.TERMINATE, grants: Any = (), grace: int = GRACE) -> Rules:
    return Rules(BareMetal(access, frozenset({"exempt"}), True, grace, 86400), grants, {"boss"}.__contains__)  # noqa: FBT003 - a value's fields


def process(user: str = "alice", uid: int = 1000, uuid: str = "GPU-0", **changes: Any) -> GpuProcess:
    made = GpuProcess(4711, GpuUuid(uuid), user, "python", None, 5, uid=uid, started=77, since=SINCE)
    return replace(made, **changes)


def host(*processes: GpuProcess) -> Devices:
    return Devices(LAB.gpus, processes)


def after(seconds: float) -> Moment:
    return Moment(NOON + timedelta(seconds=seconds), BOOT + seconds)


def look(
    before: dict[Key, HostProcess], held_against: Rules, seconds: float, *processes: GpuProcess
) -> dict[Key, HostProcess]:
    return {each.key: each for each in judge(before, host(*(processes or (process(),))), held_against, after(seconds))}


def verdicts(held_against: Rules, *seconds: float) -> list[Verdict]:
    before: dict[Key, HostProcess] = {}
    found = []
    for each in seconds:
        before = look(before, held_against, each)
        found.append(before[KEY].verdict)
    return found


# --- The table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("access", "user", "uid", "granted", "verdict"),
    [
        *((Access.ALLOW, user, uid, False, Verdict.ALLOWED) for user, uid in (("alice", 1000), ("root", 0))),
        *(
            (access, user, uid, granted, verdict)
            for access in (Access.WARN, Access.TERMINATE)
            for user, uid, granted, verdict in (
                ("root", 0, False, Verdict.EXEMPT),
                ("boss", 1001, False, Verdict.EXEMPT),
                ("exempt", 1002, False, Verdict.EXEMPT),
                ("alice", 1000, True, Verdict.GRANTED),
                ("bob", 1003, True, Verdict.WARNED),
                ("alice", 1000, False, Verdict.WARNED),
            )
        ),
        (Access.ALLOW, "alice", 1000, True, Verdict.ALLOWED),
    ],
)
def test_verdicts_at_the_first_look(access: Access, user: str, uid: int, granted: bool, verdict: Verdict) -> None:  # noqa: FBT001 - of a table
    held_against = rules(access, (GRANTED,) if granted else ())
    assert look({}, held_against, 0, process(user, uid))[KEY].verdict is verdict


def test_a_warned_process_with_all_that_is_known_of_it() -> None:
    assert look({}, rules(), 0)[KEY] == HostProcess(
        pid=4711,
        started=77,
        uid=1000,
        user="alice",
        command="python",
        gpu_uuids=(GpuUuid("GPU-0"),),
        slots=("0",),
        memory_bytes=5,
        since=SINCE,
        sightings=1,
        verdict=Verdict.WARNED,
        warned_at=NOON,
        ends_seconds=BOOT + GRACE,
        ends_at=NOON + timedelta(seconds=GRACE),
    )


def test_where_the_policy_only_warns_nothing_ends() -> None:
    found = look(look({}, rules(Access.WARN), 0), rules(Access.WARN), 10 * GRACE)[KEY]
    assert (found.verdict, found.warned_at, found.ends_at, found.sightings) == (Verdict.WARNED, NOON, None, 2)


def test_it_ends_when_the_grace_is_over_and_not_before() -> None:
    warned, ends = Verdict.WARNED, Verdict.TERMINATE
    assert verdicts(rules(), 0, 30, GRACE - 1, GRACE, GRACE + 30) == [warned, warned, warned, ends, ends]


def test_nothing_ends_at_its_first_sighting_also_without_any_grace() -> None:
    assert verdicts(rules(grace=0), 0, 30) == [Verdict.WARNED, Verdict.TERMINATE]


def test_a_wall_clock_that_jumps_ends_nothing() -> None:
    before = look({}, rules(), 0)
    jumped = Moment(NOON + timedelta(days=1), BOOT + 30)
    (found,) = judge(before, host(process()), rules(), jumped)
    assert (found.verdict, found.ends_at) == (Verdict.WARNED, jumped.now + timedelta(seconds=GRACE - 30))


def test_another_process_with_the_same_number_is_warned_anew() -> None:
    before = look({}, rules(), 0)
    found = look(before, rules(), GRACE, process(started=99))
    assert [(key, each.verdict, each.sightings) for key, each in found.items()] == [((4711, 99), Verdict.WARNED, 1)]


# --- What the driver means by a number -------------------------------------------------------------------------------


def gone(*pids: int) -> Devices:
    return replace(host(), gone=frozenset(pids))


@pytest.mark.parametrize(
    ("looks", "meant"),
    [
        ([host(process())], {4711: 77}),
        ([host(process(), process(uuid="GPU-1"))], {4711: 77}),
        ([gone(4711)], {4711: None}),
        # It goes on naming the number: it means what it meant, whoever has that by now.
        ([host(process()), gone(4711)], {4711: 77}),
        ([host(process()), host(process(started=99))], {4711: 77}),
        ([gone(4711), host(process(started=99))], {4711: None}),
        ([host(process(container_id="c" * 64)), host(process(started=99))], {4711: 77}),
        ([host(process()), replace(host(), unknown="NVML fails"), host(process(started=99))], {4711: 77}),
        # It let go of it between.
        ([host(process()), host(), host(process(started=99))], {4711: 99}),
        # It ended while it was looked at on a second unit.
        ([replace(host(process()), gone=frozenset({4711}))], {4711: 77}),
    ],
)
def test_a_number_means_what_it_meant_as_long_as_the_driver_names_it(looks: list[Devices], meant: object) -> None:
    found: Meant = {}
    for each in looks:
        found = meant_by(found, each)
    assert found == meant


def test_another_process_with_a_number_that_the_driver_goes_on_naming_is_doubted() -> None:
    mine, other = process(started=99), process(started=99, container_id="c" * 64)
    doubt = "the driver named its number already for one that has ended, of which a child may hold the GPU"
    for meant in ({4711: 77}, {4711: None}):
        assert doubted(host(mine, other), meant) == host(replace(mine, doubt=doubt), other)
    for known in ({4711: 99}, {}):
        assert doubted(host(mine, other), known) == host(mine, other)


# --- What is never condemned ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "grants", "note"),
    [
        (process("uid 1000"), (), "whose it is cannot be told"),
        (process(uid=None), (), "whose it is cannot be told"),
        (process(doubt="it may run in a container"), (), "it may run in a container"),
        (process(), None, "who has a grant cannot be told"),
    ],
)
def test_what_is_not_wholly_known_is_warned_and_never_ended(seen: GpuProcess, grants: Any, note: str) -> None:
    before = look({}, rules(grants=grants), 0, seen)
    found = look(before, rules(grants=grants), 10 * GRACE, seen)[KEY]
    assert (found.verdict, found.ends_at, found.note) == (Verdict.WARNED, None, note)


def test_a_uid_without_a_name_is_on_no_list() -> None:
    held_against = Rules(
        BareMetal(Access.WARN, frozenset({"uid 1000"}), True, GRACE, 86400),  # noqa: FBT003 - a value's fields
        (replace(GRANTED, user="uid 1000"),),
        lambda _: True,
    )
    assert look({}, held_against, 0, process("uid 1000"))[KEY].verdict is Verdict.WARNED


def test_processes_in_containers_and_those_that_cannot_be_known_again_are_left_out() -> None:
    inside, unknown = process(container_id="f" * 64), process(started=None)
    assert judge({}, host(inside, unknown), rules(), after(0)) == ()


_LOOKS = st.lists(
    st.tuples(
        st.integers(0, 2000),  # seconds since the look before
        st.sampled_from(Access),
        st.sampled_from(["nobody", "alice", "unreadable"]),  # who has a grant
        st.sampled_from(["alice", "uid 1000", "boss"]),
        st.booleans(),  # doubt
    ),
    min_size=1,
    max_size=8,
)


@given(_LOOKS)
def test_no_process_is_condemned_without_a_notice_that_named_the_time(looks: list[tuple[Any, ...]]) -> None:
    """Whatever becomes of policy, grants and account meanwhile."""
    before: dict[Key, HostProcess] = {}
    announced: Mapping[str, Announced] = {}
    told: float | None = None
    seconds = 0
    for pause, access, grants, user, doubt in looks:
        seconds += pause
        listed = {"nobody": (), "alice": (replace(GRANTED, until=NOON + timedelta(days=9)),), "unreadable": None}
        seen = process(user, doubt="it may run in a container" if doubt else None)
        held_against, at = rules(access, listed[grants]), after(seconds)
        found = judge(before, host(seen), held_against, at, ends_told(announced, at))
        now = {each.key: each for each in found}
        announced = announced_after(announced, found, held_against, at)
        for each in newly_warned(before, now.values()):
            told = each.ends_seconds
        if now[KEY].verdict is Verdict.TERMINATE:
            assert access is Access.TERMINATE
            assert (grants, user, doubt) == ("nobody", "alice", False)
            assert told is not None
            assert told <= BOOT + seconds
            assert now[KEY].sightings > 1
        before = now


# --- Grants and a policy that changes ---------------------------------------------------------------------------------


def test_when_a_grant_is_over_the_notice_and_the_grace_come_then() -> None:
    held_against = rules(grants=(GRANTED,))
    looks = [0, 3599, 3600, 3600 + GRACE - 1, 3600 + GRACE]
    assert [each.value for each in verdicts(held_against, *looks)] == [
        "granted",
        "granted",
        "warned",
        "warned",
        "terminate",
    ]


def test_a_grant_spares_one_that_was_warned_and_is_said() -> None:
    before = look({}, rules(), 0)
    found = look(before, rules(grants=(GRANTED,)), GRACE)[KEY]
    assert (found.verdict, found.granted_until, found.warned_at, found.ends_at) == (
        Verdict.GRANTED,
        GRANTED.until,
        None,
        None,
    )


def test_a_policy_that_begins_to_end_processes_gives_those_that_were_only_warned_their_grace() -> None:
    before = look({}, rules(Access.WARN), 0)
    found = look(before, rules(), 10 * GRACE)
    assert (found[KEY].verdict, found[KEY].ends_seconds) == (Verdict.WARNED, BOOT + 11 * GRACE)
    assert newly_warned(before, found.values()) == (found[KEY],)


def test_an_end_that_was_announced_stands_when_the_policy_allows_less_or_more() -> None:
    before = look({}, rules(), 0)
    assert [look(before, rules(grace=grace), 60)[KEY].ends_seconds for grace in (0, 10 * GRACE)] == [BOOT + GRACE] * 2


def test_each_is_told_once() -> None:
    first = look({}, rules(Access.WARN), 0)
    second = look(first, rules(Access.WARN), 30)
    assert newly_warned({}, first.values()) == (first[KEY],)
    assert newly_warned(first, second.values()) == ()
    allowed = look({}, rules(Access.ALLOW), 0)
    assert newly_warned({}, allowed.values()) == ()


def test_one_that_becomes_certain_is_told_also_at_the_time_of_a_notice():
    before = look({}, rules(), 0, process(doubt="it may run in a container"))
    found = judge(before, host(process()), rules(), replace(after(30), now=NOON), {"alice": BOOT + 20})
    assert newly_warned(before, found) == found
    assert (found[0].verdict, found[0].warned_at, found[0].ends_seconds) == (Verdict.WARNED, NOON, BOOT + 20)


def test_one_that_is_forgiven_is_told_anew_with_its_whole_grace():
    warned = look({}, rules(), 0)
    before = {KEY: forgiven(warned[KEY])}
    found = look(before, rules(), GRACE)
    assert (found[KEY].verdict, found[KEY].ends_seconds) == (Verdict.WARNED, BOOT + 2 * GRACE)
    assert newly_warned(before, found.values()) == (found[KEY],)


# --- One process on several units -------------------------------------------------------------------------------------


def test_a_process_on_several_units_is_one() -> None:
    found = look({}, rules(), 0, process(uuid="MIG-20"), process(uuid="GPU-1"), process(uuid="GPU-0"))[KEY]
    assert (found.gpu_uuids, found.slots, found.memory_bytes) == (("GPU-0", "GPU-1", "MIG-20"), ("0", "1", "2:0"), 15)
    dark = look({}, rules(), 0, process(uuid="GPU-1", memory_bytes=None), process())[KEY]
    assert dark.memory_bytes is None


def test_a_unit_that_is_none_has_the_gpus_number_or_its_own_name() -> None:
    assert [slot_of(LAB, GpuUuid(uuid)) for uuid in ("GPU-2", "MIG-21", "MIG-gone")] == ["2", "2:1", "MIG-gone"]


def test_since_when_it_runs_stays_what_it_was() -> None:
    before = look({}, rules(), 0)
    assert look(before, rules(), 30, process(since=SINCE + timedelta(seconds=1)))[KEY].since == SINCE
    assert look({}, rules(), 30, process(since=None))[KEY].since == after(30).now
