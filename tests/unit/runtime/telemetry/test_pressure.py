"""Pressure and stalls over simulated hours: what is said when, how often, and what is lifted and put back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core.policy import Policy, PolicyError, read_policy
from ds01.core.rules import Mode
from ds01.core.value import replace
from ds01.runtime.cgroup.pressure import Pressure, Resource, Stall
from ds01.runtime.cgroup.tree import CannotTell, Cause, LimitReading, Reading
from ds01.runtime.telemetry.pressure import (
    Change,
    Figures,
    High,
    Lifted,
    Over,
    PressureRules,
    Release,
    Restore,
    Stalled,
    Wait,
    Watch,
    What,
    Why,
    ended,
    interrupted,
    read_pressure_rules,
    released,
    restored,
    step,
)

POLICY = Path(__file__).resolve().parents[4] / "tests/golden/lab/expected/root/etc/ds01/policy.json"
GIB = 2**30
HIGH, MAX = 86 * GIB, 96 * GIB
RULES = PressureRules(Mode.ENFORCE, 40, 20, 300, 120, releases=False)
RELEASES = replace(RULES, releases=True)
MINUTE = 60.0
UNKNOWN = CannotTell(Cause.NO_FILE, Path("/x"), "nobody knows")


def figures(
    some: float = 0,
    full: float = 0,
    used: Reading = 0,
    high: LimitReading = HIGH,
    full10: float | None = None,
    current: Reading | None = None,
) -> Figures:
    now = full if full10 is None else full10
    stalls = Stall(some, some, some, 0), Stall(now, full, full, 0)
    return Figures(Pressure(*stalls), used if current is None else current, used, high, MAX)


STUCK = figures(60, 50, 90 * GIB)
LIFTED = figures(60, 50, 90 * GIB, high=None)
CALM = figures(1, 0, 10 * GIB)
Said = list[tuple[int, Change]]


def over_minutes(
    looks: Iterable[Figures], rules: PressureRules = RULES, watch: Watch | None = None
) -> tuple[Watch, Said]:
    """Look once a minute; returns what is remembered at the end, and what followed in which minute."""
    now, said = watch or Watch(), list[tuple[int, Change]]()
    for minute, look in enumerate(looks):
        now, changes = step(now, look, rules, 1000 + minute * MINUTE, killed=False)
        said += [(minute, each) for each in changes]
    return now, said


# --- Pressure ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "looks", "said"),
    [
        ("nothing for hours", [CALM] * 180, []),
        ("at the threshold, not above", [figures(40, 20)] * 60, []),
        ("for less than five minutes", [figures(41)] * 5 + [CALM] * 5, []),
        ("some, for five minutes", [figures(41)] * 6, [(5, High(300))]),
        ("full, for hours, is said once", [figures(20, 21)] * 240, [(5, High(300))]),
        (
            "over when well below, and said again the next time",
            [figures(90)] * 10 + [CALM] * 10 + [figures(90)] * 10,
            [(5, High(300)), (10, Over(What.HIGH, 600)), (25, High(300))],
        ),
        ("a little below is not over", [figures(90)] * 10 + [figures(33, 17)] * 60, [(5, High(300))]),
        ("below by one of the two is not over", [figures(90)] * 10 + [figures(0, 17)] * 60, [(5, High(300))]),
        (
            "below by both is",
            [figures(90)] * 10 + [figures(32, 16)],
            [(5, High(300)), (10, Over(What.HIGH, 600))],
        ),
        ("every other minute never is for five", [figures(90), CALM] * 60, []),
    ],
)
def test_pressure_is_reported_once(case: str, looks: list[Figures], said: Said) -> None:
    assert over_minutes(looks)[1] == said


def test_with_no_time_to_wait_the_first_look_reports() -> None:
    assert over_minutes([figures(41)], replace(RULES, report_after_seconds=0))[1] == [(0, High(0))]


def test_a_threshold_of_0_is_passed_by_any_pressure_and_left_without_any() -> None:
    rules = replace(RULES, some_avg60=0, full_avg60=0, report_after_seconds=0)
    looks = [figures(0), figures(0.01), figures(0.01), figures(0)]
    assert over_minutes(looks, rules)[1] == [(1, High(0)), (3, Over(What.HIGH, 120))]


def test_what_nobody_can_tell_is_neither_high_nor_over() -> None:
    blind = replace(figures(), memory=UNKNOWN)
    half_blind = replace(figures(), memory=Pressure(Stall(99, 99, 99, 0), UNKNOWN))
    assert over_minutes([blind] * 60)[1] == over_minutes([half_blind] * 60)[1] == []
    assert over_minutes([*[figures(90)] * 4, blind, *[figures(90)] * 4])[1] == []
    assert over_minutes([*[figures(90)] * 6, *[blind] * 60])[1] == [(5, High(300))]


def waiting(cpu: float = 0, disk: float = 0, *, full: bool = True) -> Figures:
    """Percent in which all waited for CPU or the disk; or some for CPU, with a kernel that knows no other."""

    def pressure(percent: float) -> Pressure:
        stall = Stall(percent, percent, percent, 0)
        return Pressure(stall, stall if full else UNKNOWN)

    return replace(CALM, others={Resource.CPU: pressure(cpu), Resource.IO: pressure(disk)})


@pytest.mark.parametrize(
    ("case", "looks", "said"),
    [
        ("below", [waiting(20, 20)] * 60, []),
        ("for CPU", [waiting(cpu=21)] * 60, [(5, High(300, Resource.CPU))]),
        ("for the disk, with an end", [waiting(disk=90)] * 10 + [waiting(disk=17)] * 5 + [waiting()],
         [(5, High(300, Resource.IO)), (15, Over(What.HIGH, 900, Resource.IO))]),
        ("each by itself", [waiting(cpu=90)] * 3 + [waiting(90, 90)] * 6,
         [(5, High(300, Resource.CPU)), (8, High(300, Resource.IO))]),
        ("never for five minutes", [waiting(cpu=90), waiting(disk=90)] * 60, []),
        ("by some alone where the kernel tells no more", [waiting(cpu=41, full=False)] * 6,
         [(5, High(300, Resource.CPU))]),
        ("less than that, by some alone", [waiting(cpu=40, full=False)] * 60, []),
        ("of the disk it always tells", [waiting(disk=90, full=False)] * 60, []),
        ("not known", [CALM] * 60, []),
        ("not known in between", [*[waiting(cpu=90)] * 4, CALM, *[waiting(cpu=90)] * 4], []),
        ("not known afterwards", [*[waiting(cpu=90)] * 6, *[CALM] * 60], [(5, High(300, Resource.CPU))]),
    ],
)  # fmt: skip
def test_waiting_for_cpu_or_disk_is_reported_as_for_memory(case: str, looks: list[Figures], said: Said) -> None:
    assert over_minutes(looks)[1] == said


def test_waiting_for_cpu_or_disk_is_no_stall_and_lifts_nothing() -> None:
    looks = [replace(waiting(99, 99), current_bytes=HIGH, working_set_bytes=HIGH)] * 60
    found = over_minutes(looks, RELEASES)[1]
    assert found == [(5, High(300, Resource.CPU)), (5, High(300, Resource.IO))]


def test_with_the_rule_off_or_the_slice_gone_it_is_over() -> None:
    watch = Watch(others={Resource.CPU: Wait(None, 400.0), Resource.IO: Wait(900.0, None)})
    over = (Over(What.HIGH, 600, Resource.CPU),)
    assert ended(watch, 1000) == over
    assert step(watch, waiting(99), replace(RULES, mode=Mode.OFF), 1000, killed=False) == (Watch(), over)
    assert interrupted(watch) == Watch(others={Resource.CPU: Wait(None, 400.0)})


def test_while_nobody_looked_nothing_lasted() -> None:
    watch, said = over_minutes([figures(90)] * 4)
    assert said == []
    assert interrupted(watch) == Watch()
    told = Watch(high_since=1.0, stalled_since=2.0, lifted=Lifted(HIGH))
    assert interrupted(replace(told, above_since=1.0, stuck_since=1.0, eased_since=1.0)) == told


# --- Stalls -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "looks", "said"),
    [
        ("for less than two minutes", [STUCK] * 2 + [CALM] * 5, []),
        ("for hours, told once", [STUCK] * 5, [(2, Stalled(120))]),
        ("at the limit without pressure", [figures(0, 0, 90 * GIB)] * 60, []),
        ("pressure below the limit", [figures(60, 19, 40 * GIB, full10=90)] * 4, []),
        ("a hair below the limit", [figures(0, 0, HIGH - HIGH // 200, full10=90)] * 3, [(2, Stalled(120))]),
        (
            "page cache alone holds it at the limit",
            [figures(0, 0, 0, full10=90, current=HIGH)] * 3,
            [(2, Stalled(120))],
        ),
        ("without a limit", [figures(0, 0, 90 * GIB, high=None, full10=90)] * 60, []),
        (
            "over after two minutes of ease, and told again the next time",
            [STUCK] * 3 + [CALM] * 4 + [STUCK] * 3,
            [(2, Stalled(120)), (5, Over(What.STALLED, 300)), (9, Stalled(120))],
        ),
        ("eased for a moment", ([STUCK] * 3 + [figures(0, 0, 90 * GIB)]) * 4, [(2, Stalled(120))]),
    ],
)
def test_a_stalled_account_is_told_once(case: str, looks: list[Figures], said: Said) -> None:
    watch, found = over_minutes(looks)
    assert [(minute, each) for minute, each in found if not isinstance(each, High)] == said
    assert watch.lifted is None


@pytest.mark.parametrize(
    "blind",
    [replace(STUCK, memory=UNKNOWN), replace(STUCK, current_bytes=UNKNOWN), replace(STUCK, high_bytes=UNKNOWN)],
)
def test_nobody_is_stalled_on_what_is_not_known(blind: Figures) -> None:
    for looks in ([blind] * 60, [STUCK, STUCK, blind, STUCK, STUCK]):
        assert not [each for _, each in over_minutes(looks, RELEASES)[1] if not isinstance(each, High)]


def test_a_stalled_account_is_let_go_on() -> None:
    watch, said = over_minutes([STUCK] * 3, RELEASES)
    assert said == [(2, Stalled(120)), (2, Release(HIGH))]
    # That it could be done is for the one who did it to say.
    assert watch == Watch(above_since=1000, stalled_since=1000)
    assert released(watch, HIGH) == Watch(above_since=1000, lifted=Lifted(HIGH))


def test_what_could_not_be_lifted_is_tried_again_and_told_once() -> None:
    assert over_minutes([STUCK] * 5, RELEASES)[1] == [
        (2, Stalled(120)),
        (2, Release(HIGH)),
        (3, Release(HIGH)),
        (4, Release(HIGH)),
    ]


def test_a_rule_that_only_warns_lifts_nothing() -> None:
    assert over_minutes([STUCK] * 5, replace(RELEASES, mode=Mode.WARN))[1] == [(2, Stalled(120))]


def test_a_rule_that_is_off_says_nothing_and_takes_back_what_was_said() -> None:
    off = replace(RELEASES, mode=Mode.OFF)
    assert over_minutes([STUCK] * 60, off) == (Watch(), [])
    watch = Watch(high_since=400, stalled_since=700, lifted=Lifted(HIGH))
    assert step(watch, LIFTED, off, 1000, killed=False) == (
        Watch(lifted=Lifted(HIGH)),
        (Over(What.HIGH, 600), Over(What.STALLED, 300), Restore(HIGH, Why.POLICY)),
    )


WHILE_LIFTED = Watch(lifted=Lifted(HIGH))


@pytest.mark.parametrize(
    ("case", "look", "killed", "why"),
    [
        ("still above", LIFTED, False, None),
        ("a process was ended", LIFTED, True, Why.OOM_KILL),
        ("a process was ended, and with its container systemd put it back", STUCK, True, Why.OOM_KILL),
        ("below again", figures(0, 0, HIGH - 1, high=None), False, Why.BELOW),
        ("with page cache above, without it below", figures(0, 0, GIB, high=None, current=MAX), False, Why.BELOW),
        ("nobody knows how much is used", figures(0, 0, UNKNOWN, high=None), False, None),
        ("systemd put it back", STUCK, False, Why.ELSEWHERE),
        ("nobody knows the limit", replace(LIFTED, high_bytes=UNKNOWN), False, None),
    ],
)
def test_a_lifted_limit_is_put_back(case: str, look: Figures, *, killed: bool, why: Why | None) -> None:
    watch, changes = step(replace(WHILE_LIFTED, high_since=1), look, RELEASES, 1000, killed=killed)
    expected = () if why is None else (Restore(HIGH, why),)
    assert [each for each in changes if not isinstance(each, Over)] == list(expected)
    assert watch.lifted == Lifted(HIGH)
    assert restored(watch).lifted is None


@pytest.mark.parametrize("rules", [RULES, replace(RELEASES, mode=Mode.WARN)])
def test_a_policy_that_lifts_nothing_any_more_puts_it_back(rules: PressureRules) -> None:
    assert step(WHILE_LIFTED, LIFTED, rules, 1000, killed=False)[1] == (Restore(HIGH, Why.POLICY),)


def test_an_account_that_fills_its_room_again_is_let_go_on_again() -> None:
    """As it is done: lifted, a process ended, put back, and the same once more."""
    watch, said = Watch(), list[Change]()
    for minute in range(12):
        lifted = watch.lifted is not None
        watch, changes = step(watch, LIFTED if lifted else STUCK, RELEASES, minute * MINUTE, killed=lifted)
        for each in changes:
            match each:
                case Release(was):
                    watch = released(watch, was)
                case Restore():
                    watch = restored(watch)
        said += [each for each in changes if not isinstance(each, High)]
    assert said == [Stalled(120), Release(HIGH), Restore(HIGH, Why.OOM_KILL)] * 3


def test_what_was_said_is_over_with_its_slice() -> None:
    assert ended(Watch(above_since=1, stuck_since=1), 1000) == ()
    assert ended(Watch(high_since=400, stalled_since=700, lifted=Lifted(HIGH)), 1000) == (
        Over(What.HIGH, 600),
        Over(What.STALLED, 300),
        Restore(HIGH, Why.GONE),
    )


LOOKS = st.builds(
    figures,
    some=st.sampled_from([0.0, 33, 39, 41, 99]),
    full=st.sampled_from([0.0, 9, 11, 17, 21, 80]),
    used=st.sampled_from([0, HIGH // 2, HIGH - 1, HIGH, MAX]),
    high=st.sampled_from([HIGH, None]),
) | st.just(Figures(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN))


@given(looks=st.lists(LOOKS, max_size=60), mode=st.sampled_from(list(Mode)), releases=st.booleans())
def test_each_is_said_once_until_it_is_over(looks: list[Figures], mode: Mode, *, releases: bool) -> None:
    _, said = over_minutes(looks, replace(RULES, mode=mode, releases=releases))
    highs = [each for _, each in said if isinstance(each, High) or getattr(each, "what", None) is What.HIGH]
    stalls = [each for _, each in said if isinstance(each, Stalled) or getattr(each, "what", None) is What.STALLED]
    for told in (highs, stalls):
        assert all(isinstance(each, Over) == (place % 2 == 1) for place, each in enumerate(told))
    if mode is Mode.OFF:
        assert said == []
    if mode is not Mode.ENFORCE or not releases:
        assert not any(isinstance(each, Release) for _, each in said)


# --- The policy -------------------------------------------------------------------------------------------------------


def test_the_rules_are_those_of_the_policy() -> None:
    assert read_pressure_rules(read_policy(POLICY)) == PressureRules(Mode.ENFORCE, 30, 20, 300, 120, releases=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pressure": None}, "None for pressure.stall"),
        ({"pressure": {"stall": "kill"}}, "'kill' for pressure.stall"),
        ({"pressure": {"stall": "notify"}}, "None for pressure.some_avg60"),
        ({"pressure": {"stall": "notify", "some_avg60": True}}, "True for pressure.some_avg60"),
        ({"enforcement": {"rules": {"pressure": "maybe"}}}, "'maybe' for enforcement.rules.pressure"),
        ({"enforcement": None}, "None for enforcement.rules.pressure"),
    ],
)
def test_a_policy_without_them_is_named(changes: Mapping[str, object], words: str) -> None:
    policy: Policy = read_policy(POLICY)
    with pytest.raises(PolicyError, match=words.replace(".", r"\.")):
        read_pressure_rules(replace(policy, document={**policy.document, **changes}))
