"""Busy and idle look by look, clocks that are set, units that come and go, and what is never taken for idle."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.gpu.hosts import LAB, NOON, outside, split, whole

from ds01.core.value import replace
from ds01.runtime.gpu.activity import (
    Activity,
    Readings,
    UnitActivity,
    from_document,
    observe,
    recall,
    to_document,
    trouble_in,
    unknown_in,
)
from ds01.runtime.gpu.hardware import Devices, GpuProcess, GpuUuid, Usage

W0, W1, M20, M21 = (GpuUuid(name) for name in ("GPU-0", "GPU-1", "MIG-20", "MIG-21"))
SMALL = Devices((whole(0), split(2, 2, 2)))
IDLE = {W0: Usage(0, 0)}
LOOK = timedelta(seconds=30)
THRESHOLD = 5.0
NO_EXPORTER = "no DCGM exporter answers"


def at(number: float) -> Any:
    return NOON + number * LOOK


def computing(*uuids: str, devices: Devices = SMALL) -> Devices:
    for uuid in uuids:
        devices = outside(devices, uuid)
    return devices


def readings(
    *, on: tuple[str, ...] = (), percent: int | None = 0, exporter: Any = NO_EXPORTER, devices: Devices = SMALL
) -> Readings:
    return Readings(computing(*on, devices=devices), {W0: Usage(percent, 0)}, exporter)


def test_a_first_look_knows_whole_gpus_by_the_driver_and_empty_instances_without_anybody() -> None:
    assert observe(Activity(), readings(percent=97), THRESHOLD, NOON).units == {
        W0: UnitActivity(97.0, NOON, NOON, known_at=NOON),
        M20: UnitActivity(0.0, None, NOON, known_at=NOON),
        M21: UnitActivity(0.0, None, NOON, known_at=NOON),
    }


@pytest.mark.parametrize(("percent", "busy"), [(0.0, False), (4.9, False), (5.0, True), (5.1, True), (100.0, True)])
def test_busy_is_at_the_threshold_and_above(percent: float, *, busy: bool) -> None:
    seen = readings(on=("MIG-20",), exporter={("GPU-2", 3): 0.0, ("GPU-2", 0): percent / 100})
    unit = observe(Activity(), seen, THRESHOLD, NOON).units[M20]
    assert (unit.percent, unit.busy_at) == (percent, NOON if busy else None)


def test_the_busier_of_two_figures_of_a_whole_gpu_counts() -> None:
    exporter = {(W0, None): 0.4}
    looks = (readings(percent=percent, exporter=exporter) for percent in (0, 90, None))
    assert [observe(Activity(), each, THRESHOLD, NOON).units[W0].percent for each in looks] == [40.0, 90.0, 40.0]
    silent = observe(Activity(), readings(percent=None), THRESHOLD, NOON).units[W0]
    assert silent == UnitActivity(None, None, NOON, "the driver does not say how busy it is")


def test_the_last_busy_time_stays_while_it_is_idle() -> None:
    activity = Activity()
    for number, percent in enumerate((0, 80, 3, 0)):
        activity = observe(activity, readings(percent=percent), THRESHOLD, at(number))
    assert activity.units[W0] == UnitActivity(0.0, at(1), at(0), known_at=at(3))


@pytest.mark.parametrize(
    ("exporter", "why"),
    [
        (NO_EXPORTER, f"how busy a MIG instance is only DCGM can tell, and {NO_EXPORTER}"),
        (
            {(W0, None): 0.0, ("GPU-2", 1): 0.5},
            "how busy a MIG instance is only DCGM can tell, and its exporter does not name this one: restart it",
        ),
    ],
)
def test_an_instance_with_a_process_is_not_known_without_the_exporter(exporter: Any, why: str) -> None:
    units = observe(Activity(), readings(on=("MIG-20",), exporter=exporter), THRESHOLD, NOON).units
    assert units[M20] == UnitActivity(None, None, NOON, why)
    assert units[M21].percent == 0


def test_a_process_of_which_the_driver_names_the_whole_gpu_may_be_on_each_of_its_instances() -> None:
    units = observe(Activity(), readings(on=("GPU-2",)), THRESHOLD, NOON).units
    assert (units[M20].percent, units[M21].percent) == (None, None)


def test_where_not_all_processes_are_known_no_instance_is_called_empty() -> None:
    seen = readings(devices=replace(SMALL, unknown="processes are hidden"))
    assert observe(Activity(), seen, THRESHOLD, NOON).units[M20].percent is None
    told = replace(seen, exporter={("GPU-2", 0): 0.0})
    units = observe(Activity(), told, THRESHOLD, NOON).units
    assert (units[M20].percent, units[M21].percent) == (0.0, None)


def test_a_process_in_a_container_is_one_too() -> None:
    inside = GpuProcess(7, M20, "alice", "python", "f" * 64)
    seen = readings(devices=Devices(SMALL.gpus, (inside,)))
    assert observe(Activity(), seen, THRESHOLD, NOON).units[M20].percent is None


def test_units_of_a_broken_gpu_are_not_known() -> None:
    broken = Devices((whole(0, problem="fell off the bus"), split(2, 2, problem="needs a reset")))
    units = observe(Activity(), Readings(broken, {W0: Usage(0, 0)}, {}), THRESHOLD, NOON).units
    assert {uuid: (each.percent, each.unknown) for uuid, each in units.items()} == {
        W0: (None, "fell off the bus"),
        M20: (None, "needs a reset"),
    }


def test_a_unit_that_is_gone_is_left_out_and_a_new_one_begins() -> None:
    before = observe(Activity(), readings(), THRESHOLD, at(0))
    after = observe(before, readings(devices=Devices((split(2, 2, 2, 2),))), THRESHOLD, at(1))
    assert {uuid: each.since for uuid, each in after.units.items()} == {M20: at(0), M21: at(0), "MIG-22": at(1)}
    # A GPU that is split now is no unit any more; whole again, it begins anew.
    back = observe(after, readings(), THRESHOLD, at(2))
    assert back.units[W0].since == at(2)


def test_a_look_that_failed_makes_every_unit_unknown_and_forgets_none() -> None:
    before = observe(Activity(), readings(percent=80), THRESHOLD, at(0))
    failed = observe(before, "the driver hangs", THRESHOLD, at(1))
    assert failed.units[W0] == UnitActivity(None, at(0), at(0), "the driver hangs", at(0))
    assert set(failed.units) == set(before.units)
    assert observe(failed, readings(), THRESHOLD, at(2)).units[W0] == UnitActivity(0.0, at(0), at(0), known_at=at(2))


@pytest.mark.parametrize("failed_looks", [5, 9])
def test_after_a_long_time_in_which_nothing_was_seen_watching_begins_anew(failed_looks: int) -> None:
    activity = observe(Activity(), readings(), THRESHOLD, at(0))
    for number in range(1, failed_looks + 1):
        activity = observe(activity, "the driver hangs", THRESHOLD, at(number))
    assert activity.units[W0] == UnitActivity(None, None, at(failed_looks), "the driver hangs")
    found = observe(activity, readings(), THRESHOLD, at(failed_looks + 1)).units[W0]
    assert found == UnitActivity(0.0, None, at(failed_looks + 1), known_at=at(failed_looks + 1))


@pytest.mark.parametrize("jump", [-3600.0, -1.0, 121.0, 86400.0])
def test_a_clock_that_was_set_makes_no_idle_time(jump: float) -> None:
    before = observe(Activity(), readings(percent=80), THRESHOLD, at(10))
    before = observe(before, readings(), THRESHOLD, at(11))
    now = at(11) + timedelta(seconds=jump)
    assert observe(before, readings(), THRESHOLD, now).units[W0] == UnitActivity(0.0, None, now, known_at=now)


@given(st.lists(st.tuples(st.integers(-200, 400), st.one_of(st.none(), st.integers(0, 100))), max_size=30))
def test_never_is_more_idle_time_claimed_than_was_seen(steps: list[tuple[int, int | None]]) -> None:
    """Whatever clock and driver do: between the last busy time, or the beginning, and now lie looks without a gap."""
    activity, now, quiet = Activity(), NOON, [NOON]
    for seconds, percent in steps:
        now += timedelta(seconds=seconds)
        seen = "the driver hangs" if percent is None else readings(percent=percent)
        activity = observe(activity, seen, THRESHOLD, now)
        if percent is not None:
            follows = quiet and timedelta(0) <= now - quiet[-1] <= timedelta(minutes=2)
            quiet = [*quiet, now] if follows and percent < THRESHOLD else [now]
        unit = activity.units.get(W0)
        if unit is not None and unit.percent is not None:
            assert (unit.busy_at or unit.since) >= quiet[0]
            assert (unit.busy_at or unit.since) <= now


# --- An exporter that is wrong ----------------------------------------------------------------------------------------


def test_an_exporter_that_says_0_of_a_busy_gpu_time_and_again_is_not_believed_of_instances() -> None:
    zeros = {(W0, None): 0.0, ("GPU-2", 0): 0.0, ("GPU-2", 1): 0.0}
    activity, found = Activity(), []
    for number in range(4):
        activity = observe(activity, readings(on=("MIG-20",), percent=90, exporter=zeros), THRESHOLD, at(number))
        found.append((activity.units[M20].percent, activity.units[M21].percent, activity.units[W0].percent))
    assert found == [(0.0, 0.0, 90.0)] * 2 + [(None, 0.0, 90.0)] * 2
    assert (activity.units[M20].unknown or "").startswith("how busy a MIG instance is only DCGM can tell, and the DCGM")
    right = readings(on=("MIG-20",), percent=90, exporter=zeros | {(W0, None): 0.8})
    after = observe(activity, right, THRESHOLD, at(4))
    assert (after.doubts, after.units[M20].percent) == (0, 0.0)


@pytest.mark.parametrize(
    ("percent", "exporter"),
    [(49, {(W0, None): 0.0}), (90, {(W0, None): 0.001}), (90, {("GPU-9", None): 0.0}), (90, NO_EXPORTER), (None, {})],
)
def test_what_is_no_contradiction_raises_no_doubt(percent: int | None, exporter: Any) -> None:
    assert observe(Activity(), readings(percent=percent, exporter=exporter), THRESHOLD, NOON).doubts == 0


# --- The file ---------------------------------------------------------------------------------------------------------


def watched() -> Activity:
    first = observe(Activity(), readings(on=("MIG-20",), percent=80), THRESHOLD, at(0))
    return replace(observe(first, readings(on=("MIG-20",)), THRESHOLD, at(1)), doubts=2)


TROUBLE = {"exporter": "nobody answers"}


def document(**changes: object) -> dict[str, Any]:
    made = json.loads(json.dumps(to_document(watched(), at(1), "boot-1", THRESHOLD, TROUBLE)))
    assert isinstance(made, dict)
    return made | changes


def test_the_file_reads_back_to_the_same() -> None:
    assert recall(document(), "boot-1") == watched()
    assert from_document(document(), at(2), "boot-1") == watched().units
    assert from_document(document(), at(2)) == watched().units


def test_the_file_is_as_others_read_it() -> None:
    assert document()["units"]["GPU-0"] == {
        "percent": 0.0,
        "busy_at": "2026-03-01T12:00:00.000Z",
        "since": "2026-03-01T12:00:00.000Z",
        "unknown": None,
        "known_at": "2026-03-01T12:00:30.000Z",
    }
    assert {key: value for key, value in document().items() if key != "units"} == {
        "version": 1,
        "updated_at": "2026-03-01T12:00:30.000Z",
        "boot": "boot-1",
        "threshold_percent": 5.0,
        "doubts": 2,
        "trouble": TROUBLE,
    }


def test_trouble_is_read_back_and_a_file_from_before_it_was_written_has_none() -> None:
    assert trouble_in(document()) == TROUBLE
    older = document()
    del older["trouble"]
    assert (trouble_in(older), trouble_in(document(trouble=["odd"]))) == ({}, {})
    assert recall(older, "boot-1") == watched()
    assert unknown_in(older) == unknown_in(document())


def test_why_units_are_not_known_is_read_back() -> None:
    lost = observe(watched(), "the driver hangs", THRESHOLD, at(2))
    document = to_document(lost, at(2), "boot-1", THRESHOLD, {})
    assert unknown_in(document) == ("the driver hangs",) * len(watched().units)
    assert unknown_in({**document, "units": {}}) == ()


@pytest.mark.parametrize("looks", [-5, 6, 1000])
def test_a_file_of_another_time_says_nothing(looks: int) -> None:
    assert from_document(document(), at(1 + looks)) == (
        "it is from 2026-03-01T12:00:30.000Z; systemctl status ds01-gpuwatch says why nobody writes it"
    )


def test_a_file_of_another_boot_says_nothing() -> None:
    assert from_document(document(), at(1), "boot-2") == "it is from before the machine was started"


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"updated_at": "soon"},
        {"units": []},
        {"units": {"GPU-0": None}},
        {"units": {"GPU-0": {}}},
        {"doubts": "many"},
        *(
            {"units": {"GPU-0": document()["units"]["GPU-0"] | wrong}}
            for wrong in (
                {"percent": None},
                {"percent": -1},
                {"percent": True},
                {"percent": "0"},
                {"percent": float("nan")},
                {"unknown": "why"},
                {"unknown": 1},
                {"since": None},
                {"since": "yesterday"},
                {"busy_at": 5},
            )
        ),
    ],
)
def test_a_damaged_file_says_nothing_of_any_unit(changes: dict[str, object]) -> None:
    assert isinstance(from_document(document(**changes), at(1)), str)


@pytest.mark.parametrize("key", ["version", "updated_at", "units", "doubts"])
def test_a_file_that_lacks_something_says_nothing(key: str) -> None:
    lacking = document()
    del lacking[key]
    assert isinstance(from_document(lacking, at(1)), str)


def test_the_lab_has_eight_units() -> None:
    assert len(observe(Activity(), Readings(LAB, {}, NO_EXPORTER), THRESHOLD, NOON).units) == len(LAB.units)
