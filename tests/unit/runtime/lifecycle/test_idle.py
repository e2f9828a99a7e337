"""The idle rule: what is quiet, what cannot be told, the warning before the stop, and all that holds it off."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.runtime.lifecycle.subjects import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    RULES,
    TIMES,
    brought_back,
    id_of,
    mode,
    moment,
    subject,
    waiting,
)  # fmt: skip

from ds01.core.rules import Mode
from ds01.core.value import replace
from ds01.runtime.containers.container import State
from ds01.runtime.lifecycle.decision import Action, Decision, Decisions, LifecycleRule, Remark, clock
from ds01.runtime.lifecycle.idle import IdleSight, busy_since_then, sweep_idle
from ds01.runtime.lifecycle.idle_memory import GpuSign, IdleMemory, settle
from ds01.runtime.lifecycle.settings import LifecycleRules

STEP = 30 * MINUTE
WATCHED = NOON - timedelta(days=1)


def sign(busy_at: float | None = None, **changes: Any) -> dict[str, GpuSign]:
    """A unit that was last busy so many seconds after noon."""
    at = None if busy_at is None else NOON + timedelta(seconds=busy_at)
    return {"MIG-1": replace(GpuSign(at, WATCHED), **changes)}


@dataclass
class Watch:
    """A container and what sweeps find of it; told is False where nobody can be."""

    rules: LifecycleRules = RULES
    memory: IdleMemory = field(default_factory=IdleMemory)
    cpu: int = 0
    net: int = 0
    last: Decisions = field(default_factory=Decisions)
    settings: dict[str, Any] = field(default_factory=dict)

    def check(self, seconds: float, *, demand: float | None = None, told: bool = True, **found: Any) -> str:
        """Sweep so many seconds after noon; returns what is done, or why nothing is."""
        clocks = {key: found.pop(key) for key in ("boot", "asleep", "jumped") if key in found}
        at = moment(seconds, **clocks)
        busy = found.pop("busy", 0)
        self.cpu += busy
        given = {"cpu_usec": self.cpu, "network_bytes": self.net, "gpus": {}, "keep_alive": False} | {
            key: found.pop(key) for key in ("cpu_usec", "network_bytes", "gpus", "keep_alive") if key in found
        }
        age = found.pop("age", seconds + clocks.get("asleep", 0))
        sight = IdleSight(subject(age=age, **(self.settings | found)), **given)
        sweep = sweep_idle([sight], self.memory, self.rules, at, demand=demand)
        self.last = sweep.decisions
        done = [each for each in sweep.decisions.wanted if told or each.action is not Action.WARN]
        self.memory = settle(sweep.memory, done, at)
        if sweep.decisions.wanted:
            return sweep.decisions.wanted[0].action.value
        return sweep.decisions.remarks[0].words

    def decision(self) -> Decision:
        assert len(self.last.wanted) == 1
        return self.last.wanted[0]


def idle_until_warned(watch: Watch, **found: Any) -> None:
    """Four checks: watched, idle, idle, warned."""
    assert watch.check(0, **found) == "it is watched from now on"
    assert watch.check(STEP, **found) == "idle for 0s of 30m (1 checks in a row)"
    assert watch.check(2 * STEP, **found) == "warn"


# --- The way of an idle one -------------------------------------------------------------------------------------------


def test_an_idle_container_is_warned_and_then_stopped():
    watch = Watch()
    idle_until_warned(watch)
    until = clock(moment(2 * STEP + 3 * MINUTE).now)
    assert watch.decision() == Decision(
        container_id=id_of("web"),
        name="web",
        user="alice",
        action=Action.WARN,
        rule=LifecycleRule.IDLE,
        reason="idle for 30m of 30m (2 checks in a row)",
        text=f"container web is idle and is stopped after {until}, if it stays so; "
        "a file .keep-alive in its workspace keeps it for up to 24h",
        key=f"idle:{id_of('web')}",
        state_since=NOON,
        grace_seconds=60,
        ahead_seconds=3 * MINUTE,
    )
    assert watch.check(3 * STEP) == "stop"
    now = clock(moment(3 * STEP).now)
    assert watch.decision() == Decision(
        container_id=id_of("web"),
        name="web",
        user="alice",
        action=Action.STOP,
        rule=LifecycleRule.IDLE,
        reason="idle for 1h of 30m (3 checks in a row)",
        text=f"container web was stopped {now}: it was idle for 1h; docker start web starts it again",
        key=f"idle:{id_of('web')}",
        state_since=NOON,
        grace_seconds=60,
    )
    assert watch.memory.spells == {}


def test_a_long_timeout_is_waited_for_and_the_check_before_the_last_warns():
    watch = Watch(settings={"times": replace(TIMES, idle_timeout=4 * HOUR)})
    said = [watch.check(number * STEP) for number in range(11)]
    assert [number for number, each in enumerate(said) if each in {"warn", "stop"}] == [8, 9]
    assert said[8:] == ["warn", "stop", "it is watched from now on"]


def test_a_window_of_many_checks_is_waited_for():
    watch = Watch(replace(RULES, idle_window=5))
    said = [watch.check(number * STEP) for number in range(6)]
    assert said[-2:] == ["warn", "stop"]
    assert not {"warn", "stop"} & set(said[:-2])


def test_checks_right_after_another_stop_nobody_before_the_timeout():
    watch = Watch()
    said = [watch.check(HOUR + number * 10) for number in range(183)]
    # Idle from the check at 10 s on: warned a tenth of the timeout before its end, stopped at its end.
    assert [number for number, each in enumerate(said) if each in {"warn", "stop"}] == [163, 181]


def test_the_warning_comes_a_tenth_of_the_timeout_before_the_stop_at_least():
    watch = Watch(settings={"times": replace(TIMES, idle_timeout=10 * HOUR)})
    for number in range(3):
        watch.check(number * HOUR)
    assert watch.check(12 * HOUR) == "warn"
    assert watch.check(12 * HOUR + 60).endswith("its owner was told")
    assert watch.check(13 * HOUR - 1).endswith("its owner was told")
    assert watch.check(13 * HOUR) == "stop"


def test_a_check_within_a_second_counts_for_nothing():
    watch = Watch()
    watch.check(0)
    before = watch.memory
    assert watch.check(0.5) == "it was looked at a moment ago"
    assert watch.memory == before


def test_who_could_not_be_told_is_not_stopped():
    watch = Watch()
    said = [watch.check(number * STEP, told=False) for number in range(40)]
    assert set(said[2:]) == {"warn"}
    assert watch.check(40 * STEP) == "warn"
    assert watch.check(41 * STEP) == "stop"


def test_a_stop_that_failed_is_tried_again():
    watch = Watch()
    idle_until_warned(watch)
    before = watch.memory
    assert watch.check(3 * STEP) == "stop"
    watch.memory = before
    assert watch.check(4 * STEP) == "stop"


# --- What is busy -----------------------------------------------------------------------------------------------------

UNTIL = clock(moment(3 * STEP + DAY).now)
BUSY = [
    # CPU: 5 % of one CPU over half an hour.
    ({"busy": int(0.05 * STEP * 1e6)}, "it used 5.0 % of a CPU"),
    ({"cpu_usec": "no such file"}, "its CPU time cannot be told: no such file"),
    ({"network_bytes": int(10_000 * STEP)}, "it moved 10.0 kB/s over the network"),
    ({"network_bytes": "gone"}, "its network traffic cannot be told: gone"),
    ({"gpus": sign(2.5 * STEP)}, f"GPU MIG-1 was at 5 % or more at {clock(moment(2.5 * STEP).now)}"),
    ({"gpus": "the file is too old"}, "GPU activity cannot be told: the file is too old"),
    ({"gpus": sign(unknown="no DCGM")}, "activity of MIG-1 cannot be told: no DCGM"),
    ({"gpus": sign(since=NOON)}, "MIG-1 has not been watched since the last check"),
    ({"gpus": {"MIG-2": GpuSign(None, WATCHED)}}, "MIG-2 has not been watched since the last check"),
    ({"keep_alive": True}, f"its .keep-alive file holds until {UNTIL}"),
    (
        {"keep_alive": "permission denied"},
        f"whether it has a .keep-alive file cannot be told: permission denied; it holds until {UNTIL}",
    ),
    ({"age": None}, "it cannot be told how long it has run"),
]


@pytest.mark.parametrize(("found", "words"), BUSY)
def test_activity_and_what_cannot_be_told_after_the_warning_clear_it(found: dict[str, Any], words: str):
    watch = Watch()
    idle_until_warned(watch, gpus=sign())
    assert watch.check(3 * STEP, **({"gpus": sign()} | found)) == words
    assert watch.last.cleared == (("alice", f"idle:{id_of('web')}"),)
    assert watch.last.remarks == (Remark("web", "alice", words),)


@pytest.mark.parametrize(
    "found",
    [
        {"busy": int(0.0499 * STEP * 1e6)},
        {"network_bytes": int(9_999 * STEP)},
        {"network_bytes": None},
        {"gpus": {}},
    ],
)
def test_what_is_below_the_thresholds_is_quiet(found: dict[str, Any]):
    watch = Watch()
    idle_until_warned(watch, gpus=sign())
    assert watch.check(3 * STEP, **({"gpus": sign()} | found)) == "stop"


def test_after_being_busy_everything_is_counted_anew():
    watch = Watch()
    idle_until_warned(watch)
    watch.check(3 * STEP, busy=10**10)
    assert watch.last.cleared == (("alice", f"idle:{id_of('web')}"),)
    assert watch.check(4 * STEP) == "idle for 0s of 30m (1 checks in a row)"
    assert watch.last.cleared == ()
    assert watch.check(5 * STEP) == "warn"
    assert watch.check(6 * STEP) == "stop"


def test_a_counter_that_went_back_is_no_silence():
    watch = Watch(cpu=10**9, net=10**9)
    watch.check(0)
    assert watch.check(STEP, cpu_usec=5) == "its CPU time was not counted at the last check"
    watch.check(2 * STEP)
    assert watch.check(3 * STEP, network_bytes=5) == "its network traffic was not counted at the last check"


def test_a_counter_that_was_unknown_before_is_no_silence():
    watch = Watch()
    watch.check(0, network_bytes="gone", age=HOUR)
    assert watch.check(STEP) == "its network traffic was not counted at the last check"
    watch.check(2 * STEP, cpu_usec="gone")
    assert watch.check(3 * STEP) == "its CPU time was not counted at the last check"


def test_traffic_on_the_hosts_network_is_ignored_and_that_is_said():
    watch = Watch()
    watch.check(0, network_bytes=None)
    said = watch.check(STEP, network_bytes=None)
    assert said == "idle for 0s of 30m (1 checks in a row, the host's network)"


def test_a_unit_is_busy_by_a_sighting_that_changed_not_by_what_a_clock_says():
    watch = Watch()
    watch.check(0, gpus=sign(-60), age=HOUR)
    assert watch.check(STEP, gpus=sign(-60)) == "idle for 0s of 30m (1 checks in a row)"
    # The clock was set back in between: the time is earlier than the last check's, and the unit was busy.
    assert watch.check(2 * STEP, gpus=sign(-3600)).startswith("GPU MIG-1 was at 5 % or more")


def test_a_unit_that_nobody_watched_for_a_while_may_have_been_busy_then():
    watch = Watch()
    watch.check(0, gpus=sign(), age=HOUR)
    assert watch.check(STEP, gpus=sign(since=NOON)) == "MIG-1 has not been watched since the last check"
    assert watch.check(2 * STEP, gpus=sign(since=NOON)) == "idle for 0s of 30m (1 checks in a row)"


def test_one_busy_unit_of_two_is_enough():
    watch = Watch()
    both = sign() | {"MIG-2": GpuSign(None, WATCHED)}
    watch.check(0, gpus=both, age=HOUR)
    said = watch.check(STEP, gpus=both | {"MIG-2": GpuSign(NOON, WATCHED)})
    assert said.startswith("GPU MIG-2 was at 5 % or more")


# --- Demand -----------------------------------------------------------------------------------------------------------


def test_in_high_demand_a_container_with_a_gpu_is_stopped_sooner():
    times = replace(TIMES, idle_timeout=4 * HOUR)
    calm, pressed = Watch(settings={"times": times}), Watch(settings={"times": times})
    without = Watch(settings={"times": times})
    said = {"calm": [], "pressed": [], "without": []}  # type: dict[str, list[str]]
    for number in range(11):
        said["calm"].append(calm.check(number * STEP, gpus=sign(), demand=0.79))
        said["pressed"].append(pressed.check(number * STEP, gpus=sign(), demand=0.8))
        said["without"].append(without.check(number * STEP, demand=1.0))
    assert {key: each.index("stop") for key, each in said.items()} == {"calm": 9, "pressed": 5, "without": 9}
    assert said["pressed"][3].endswith("(3 checks in a row); 80 % of the GPUs are taken, so it is shorter")


def test_demand_that_becomes_high_after_the_warning_stops_nobody_before_the_time_that_was_told():
    watch = Watch(settings={"times": replace(TIMES, idle_timeout=4 * HOUR)})
    said = [watch.check(number * STEP, gpus=sign(), demand=0.5) for number in range(9)]
    assert said[-1] == "warn"
    told = clock(moment(9 * STEP).now)
    assert f"is stopped after {told}," in str(watch.decision().text)
    early = watch.check(9 * STEP - 2 * MINUTE, gpus=sign(), demand=1.0)
    assert early == (
        "idle for 3h58m of 2h (9 checks in a row); 100 % of the GPUs are taken, so it is shorter; its owner was told"
    )
    assert watch.check(9 * STEP, gpus=sign(), demand=1.0) == "stop"


def test_demand_that_cannot_be_told_is_not_high():
    watch = Watch(settings={"times": replace(TIMES, idle_timeout=2 * HOUR)})
    said = [watch.check(number * STEP, gpus=sign(), demand=None) for number in range(6)]
    assert said.index("stop") == 5


# --- What holds it off ------------------------------------------------------------------------------------------------


def test_a_container_is_not_idle_in_its_grace():
    watch = Watch(settings={"times": replace(TIMES, idle_timeout=0)})
    assert watch.check(10) == "it is watched from now on"
    assert watch.check(5 * MINUTE) == "it started 5m ago; 30m are its grace"
    assert watch.check(30 * MINUTE - 1) == "it started 29m ago; 30m are its grace"
    assert watch.check(30 * MINUTE + 1).startswith("idle for 0s")


def test_sleep_of_the_machine_does_not_use_up_the_grace():
    watch = Watch()
    watch.check(60)
    assert watch.check(5 * MINUTE, asleep=9 * HOUR) == "it started 5m ago; 30m are its grace"
    assert watch.check(31 * MINUTE, asleep=9 * HOUR).startswith("idle for 0s")


def test_of_a_sleep_before_the_first_look_nobody_knows_so_it_does_not_count():
    watch = Watch()
    watch.check(60, asleep=HOUR, age=HOUR + 60)
    assert watch.check(29 * MINUTE, asleep=HOUR, age=89 * MINUTE) == "it started 29m ago; 30m are its grace"


def test_sleep_of_the_machine_is_no_silence():
    watch = Watch(settings={"times": replace(TIMES, idle_timeout=4 * HOUR)})
    for number in range(3):
        watch.check(number * STEP)
    said = watch.check(3 * STEP, asleep=12 * HOUR)
    assert said == "idle for 1h of 4h (3 checks in a row)"


@pytest.mark.parametrize("jumped", [-400 * DAY, -HOUR, HOUR, 400 * DAY])
def test_a_jump_of_the_wall_clock_changes_nothing(jumped: float):
    watch = Watch()
    watch.check(0)
    assert watch.check(STEP, jumped=jumped) == "idle for 0s of 30m (1 checks in a row)"
    assert watch.check(2 * STEP, jumped=jumped) == "warn"
    assert watch.check(3 * STEP, jumped=-jumped) == "stop"


def test_after_a_boot_watching_begins_anew():
    watch = Watch()
    idle_until_warned(watch)
    assert watch.check(3 * STEP, boot="boot-2", age=3 * STEP) == "it is watched from now on"
    assert watch.last.cleared == (("alice", f"idle:{id_of('web')}"),)


def test_after_a_new_start_watching_begins_anew_and_the_warning_is_cleared():
    watch = Watch()
    idle_until_warned(watch)
    again = {"started_at": NOON + timedelta(hours=1), "age": STEP}
    assert watch.check(3 * STEP, **again) == "it is watched from now on"
    assert watch.last.cleared == (("alice", f"idle:{id_of('web')}"),)
    assert watch.check(4 * STEP, **again | {"age": 2 * STEP}) == "idle for 0s of 30m (1 checks in a row)"


def test_whoever_it_counts_for_now_was_not_warned():
    watch = Watch()
    idle_until_warned(watch)
    assert watch.check(3 * STEP, user="bob") == "it is watched from now on"
    assert watch.last.cleared == (("alice", f"idle:{id_of('web')}"),)


def test_a_lost_record_stops_nobody():
    watch = Watch()
    idle_until_warned(watch)
    watch.memory = IdleMemory()
    assert watch.check(3 * STEP) == "it is watched from now on"
    assert watch.check(4 * STEP) == "idle for 0s of 30m (1 checks in a row)"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"protected": True}, "it is protected"),
        ({"of_site": True}, "it is the site's own"),
        ({"user": None}, "nobody can be charged for it, so nobody's limits hold"),
        ({"asserted": True}, "nobody can be charged for it, so nobody's limits hold"),
        ({"times": replace(TIMES, idle_timeout=None)}, "no idle timeout holds for it"),
        ({"state": State.EXITED}, "it is exited"),
        ({"state": State.CREATED}, "it is created"),
    ],
)
def test_who_is_exempt_is_watched_no_more_and_its_warning_is_cleared(found: dict[str, Any], words: str):
    watch = Watch()
    idle_until_warned(watch)
    assert watch.check(3 * STEP, **found) == words
    assert watch.last.cleared == (("alice", f"idle:{id_of('web')}"),)
    assert watch.memory.spells == {}


def test_a_container_that_is_gone_takes_its_warning_with_it():
    watch = Watch()
    idle_until_warned(watch)
    sweep = sweep_idle([], watch.memory, RULES, moment(3 * STEP), demand=None)
    assert sweep.decisions == Decisions(cleared=(("alice", f"idle:{id_of('web')}"),))
    assert sweep.memory == IdleMemory("boot-1")


def test_a_paused_container_is_idle_too():
    watch = Watch(settings={"state": State.PAUSED})
    idle_until_warned(watch)
    assert watch.check(3 * STEP) == "stop"


# --- What its restart policy brings back ------------------------------------------------------------------------------


def came_back(seconds: float, *, asked: float | None = 0) -> dict[str, Any]:
    """A container that ends every 25 minutes and comes back by itself, as a check finds it."""
    restarts = int(seconds // (25 * MINUTE))
    begun = restarts * 25 * MINUTE
    return brought_back(restarts, begun, asked=asked) | {"age": seconds - begun}


@pytest.mark.parametrize("asked", [0, None])
def test_one_that_comes_back_again_and_again_is_idle_as_if_it_had_never_ended(asked: float | None):
    """Each check finds another process, younger than the grace of a start; also where no daemon saw when it began."""
    watch, whole = Watch(), Watch()
    said = [watch.check(at * STEP, cpu_usec=50, **came_back(at * STEP, asked=asked)) for at in range(6)]
    assert said == [whole.check(at * STEP, cpu_usec=50) for at in range(6)]
    assert said[1:4] == ["idle for 0s of 30m (1 checks in a row)", "warn", "stop"]


@pytest.mark.parametrize("demand", [None, 1.0])
def test_one_that_only_waits_to_come_back_is_idle_with_its_gpu(demand: float | None):
    """`docker run -d --restart always --gpus 1 IMAGE brokencmd`: at each check it waits, and has no process."""
    watch = Watch()
    nothing = {"cpu_usec": "it has no process", "network_bytes": "it has no process", "keep_alive": None}
    said = [
        watch.check(at * STEP, gpus=sign(), demand=demand, **nothing, **waiting(at * 30, at * STEP - 10))
        for at in range(1, 6)
    ]
    words = "; 100 % of the GPUs are taken, so it is shorter" if demand else ""
    assert said == [
        "it is watched from now on",
        f"idle for 0s of {'15m' if demand else '30m'} (1 checks in a row){words}",
        "warn",
        "stop",
        "it is watched from now on",
    ]


def test_the_warning_holds_while_its_restart_policy_brings_it_back():
    watch = Watch()
    idle_until_warned(watch)
    early = watch.check(2 * STEP + MINUTE, cpu_usec=0, age=0.5, **brought_back(1, 2 * STEP + MINUTE))
    assert early.endswith("its owner was told")
    assert watch.last.cleared == ()
    assert watch.check(3 * STEP, cpu_usec=0, age=STEP - MINUTE, **brought_back(1, 2 * STEP + MINUTE)) == "stop"
    assert watch.decision().restarts == 1


def test_a_gpu_that_was_busy_before_it_came_back_was_busy():
    watch = Watch()
    watch.check(0, gpus=sign(), age=HOUR)
    said = watch.check(STEP, gpus=sign(STEP - 400), **came_back(STEP))
    assert said.startswith("GPU MIG-1 was at 5 % or more")


def test_what_it_does_since_it_came_back_counts_from_then():
    """5 minutes old, with 20 s of CPU: more than 5 %, and much less in the 30 minutes since the last check."""
    watch = Watch()
    watch.check(0, age=HOUR)
    assert watch.check(STEP, cpu_usec=20_000_000, **came_back(STEP)) == "it used 6.7 % of a CPU"
    moved = Watch()
    moved.check(0, age=HOUR)
    moved.net = 4_000_000
    assert moved.check(STEP, cpu_usec=0, **came_back(STEP)) == "it moved 13.3 kB/s over the network"


def test_what_cannot_be_read_of_it_is_not_idle_either():
    watch = Watch()
    watch.check(0, age=HOUR)
    assert watch.check(STEP, cpu_usec="no group", **came_back(STEP)) == "its CPU time cannot be told: no group"


def test_one_whose_process_ended_during_the_check_waits_to_come_back():
    watch = Watch()
    watch.check(0, age=HOUR)
    said = watch.check(STEP, cpu_usec="it is gone", keep_alive=None, **(came_back(STEP) | {"age": None}))
    assert said == "idle for 0s of 30m (1 checks in a row)"


def test_a_start_that_somebody_asked_for_begins_anew_with_its_grace():
    watch = Watch()
    idle_until_warned(watch)
    assert watch.check(3 * STEP, age=60, **brought_back(0, 3 * STEP - 60, asked=3 * STEP - 60)) == (
        "it is watched from now on"
    )
    assert watch.last.cleared == (("alice", f"idle:{id_of('web')}"),)
    again = brought_back(2, 3 * STEP + 60, asked=3 * STEP - 60)
    assert watch.check(3 * STEP + 5 * MINUTE, age=4 * MINUTE, **again) == "it started 6m ago; 30m are its grace"


def test_right_before_the_stop_it_is_looked_at_as_it_came_back():
    watch = Watch()
    idle_until_warned(watch)
    spell = watch.memory.spells[id_of("web")]
    came = brought_back(1, 2 * STEP + MINUTE)
    for cpu, why in ((0, None), (30_000_000, "it used 50.0 % of a CPU")):
        sight = IdleSight(subject(age=MINUTE, **came), cpu, 0, {})
        assert busy_since_then(sight, spell, RULES, moment(2 * STEP + 2 * MINUTE)) == why
    gone = IdleSight(subject(**waiting(1, 2 * STEP + MINUTE)), "none", "none", {}, keep_alive=None)
    assert busy_since_then(gone, spell, RULES, moment(2 * STEP + 2 * MINUTE)) is None


def test_a_keep_alive_file_holds_while_it_waits_to_come_back():
    watch = Watch()
    watch.check(0, age=HOUR, keep_alive=True)
    nothing = {"cpu_usec": "it has no process", "network_bytes": "it has no process", "keep_alive": None}
    until = clock(moment(DAY).now)
    assert watch.check(STEP, **nothing, **waiting(3, STEP - 10)) == f"its .keep-alive file holds until {until}"
    fresh = Watch()
    fresh.check(0, **nothing, **waiting(3, -10))
    assert fresh.memory.spells[id_of("web")].kept_since is None


# --- .keep-alive ------------------------------------------------------------------------------------------------------


def test_a_keep_alive_file_holds_for_so_long_and_then_the_timeout_begins():
    watch = Watch()
    said = [watch.check(number * STEP, keep_alive=True) for number in range(60)]
    assert said.index("idle for 0s of 30m (1 checks in a row)") == 48
    assert said[49:51] == ["warn", "stop"]


def test_touching_it_again_extends_nothing():
    watch = Watch()
    for number in range(48):
        watch.check(number * STEP, keep_alive=True, busy=10**10 if number % 7 == 0 else 0)
    assert watch.check(48 * STEP, keep_alive=True).startswith("idle")


def test_one_that_was_gone_at_a_check_begins_anew():
    watch = Watch()
    for number in range(40):
        watch.check(number * STEP, keep_alive=True)
    watch.check(40 * STEP)
    assert watch.check(41 * STEP, keep_alive=True) == (
        f"its .keep-alive file holds until {clock(moment(41 * STEP + DAY).now)}"
    )


# --- Modes ------------------------------------------------------------------------------------------------------------


def test_a_rule_that_only_warns_says_once_what_it_would_do():
    watch = Watch(mode(LifecycleRule.IDLE, Mode.WARN))
    said = [watch.check(number * STEP) for number in range(8)]
    assert [number for number, each in enumerate(said) if each == "warn"] == [3]
    assert not {"stop"} & set(said)
    watch.check(8 * STEP, busy=10**10)
    assert watch.last.cleared == (("alice", f"idle:{id_of('web')}"),)
    assert [watch.check(number * STEP) for number in range(9, 12)].count("warn") == 1


def test_what_it_says_then_announces_nothing():
    watch = Watch(mode(LifecycleRule.IDLE, Mode.WARN))
    for number in range(4):
        watch.check(number * STEP)
    assert watch.decision() == Decision(
        container_id=id_of("web"),
        name="web",
        user="alice",
        action=Action.WARN,
        rule=LifecycleRule.IDLE,
        reason="would be stopped: idle for 1h of 30m (3 checks in a row)",
        text="container web would be stopped now, were the rule enforced: idle for 1h of 30m (3 checks in a row)",
        key=f"idle:{id_of('web')}",
        state_since=NOON,
        grace_seconds=60,
        binding=False,
    )
    # Enforced from now on: what was said was no warning.
    watch.rules = RULES
    assert watch.check(4 * STEP) == "warn"
    assert watch.decision().binding
    assert watch.check(5 * STEP) == "stop"


def test_a_warning_of_before_the_rule_only_warned_is_taken_back_and_stops_nobody_later():
    watch = Watch()
    idle_until_warned(watch)
    watch.rules = mode(LifecycleRule.IDLE, Mode.WARN)
    assert watch.check(3 * STEP) == "warn"
    assert (watch.decision().binding, watch.last.cleared) == (False, (("alice", f"idle:{id_of('web')}"),))
    watch.rules = RULES
    assert watch.check(4 * STEP) == "warn"
    assert watch.decision().binding
    assert watch.check(5 * STEP) == "stop"


def test_a_rule_that_is_off_is_silent_and_takes_back_what_it_said():
    watch = Watch()
    idle_until_warned(watch)
    sweep = sweep_idle(
        [IdleSight(subject(age=3 * STEP), 0, 0, {})],
        watch.memory,
        mode(LifecycleRule.IDLE, Mode.OFF),
        moment(3 * STEP),
        demand=None,
    )
    assert sweep.decisions == Decisions(cleared=(("alice", f"idle:{id_of('web')}"),))
    assert sweep.memory == IdleMemory("boot-1")


# --- Right before the stop --------------------------------------------------------------------------------------------


def test_the_look_before_the_stop_sees_what_happened_since_the_sweep():
    watch = Watch()
    idle_until_warned(watch)
    spell = watch.memory.spells[id_of("web")]
    quiet = IdleSight(subject(age=3 * STEP), watch.cpu, watch.net, {})
    assert busy_since_then(quiet, spell, RULES, moment(2 * STEP + 20)) is None
    busy = replace(quiet, cpu_usec=watch.cpu + 10_000_000)
    assert busy_since_then(busy, spell, RULES, moment(2 * STEP + 20)) == "it used 50.0 % of a CPU"
    assert busy_since_then(busy, spell, RULES, moment(2 * STEP + 0.5)) is None


def test_a_keep_alive_file_that_comes_between_the_sweep_and_the_stop_holds_it():
    watch = Watch()
    idle_until_warned(watch)
    spell = watch.memory.spells[id_of("web")]
    asked = IdleSight(subject(age=3 * STEP), watch.cpu, watch.net, {}, keep_alive=True)
    assert busy_since_then(asked, spell, RULES, moment(2 * STEP + 20)) == "it has a .keep-alive file now"
    used_up = replace(spell, kept_since=0.0)
    assert busy_since_then(asked, used_up, RULES, moment(2 * STEP + 20)) is None


@pytest.mark.parametrize("enforced", [True, False])
def test_one_that_cannot_be_told_more_of_is_neither_idle_nor_busy(*, enforced: bool):
    watch = Watch()
    idle_until_warned(watch)
    rules = watch.rules if enforced else mode(LifecycleRule.IDLE, Mode.WARN)
    at, known = moment(3 * STEP), watch.memory.spells[id_of("web")]
    sweep = sweep_idle((), watch.memory, rules, at, demand=None, unseen={id_of("web")})
    assert sweep.decisions.wanted == ()
    assert sweep.decisions.cleared == (() if enforced else (("alice", f"idle:{id_of('web')}"),))
    left = known if enforced else replace(known, warned_at=None, promised=None)
    assert sweep.memory.spells == {id_of("web"): left}
