"""The one decision: each rule by its own numbers, the order they are asked in, and what no account can ever pass."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ds01.core.gpurequest import Asked, GpuRequest
from ds01.core.limits import AGGREGATES, LIMITS, LimitValue, ResolvedLimits
from ds01.core.names import SliceName
from ds01.core.rules import Mode, Rule, Rules
from ds01.core.value import replace
from ds01.runtime.containers.admission import Admission, Refusal, admit, settings_for
from ds01.runtime.containers.request import AccountRules, ContainerRequest, Settings, Usage, Verb
from ds01.runtime.identity import Caller

GIB = 1024**3
ALICE, ADMIN = Caller(1001, "alice", is_admin=False), Caller(1, "root", is_admin=True)
RUN = ContainerRequest(Verb.RUN)
BUILT_IN: dict[str, Any] = {limit.name: limit.builtin for limit in (*LIMITS, *AGGREGATES)}
STUDENT: dict[str, Any] = {
    "memory": 32 * GIB, "max_cpus": 4, "shm_size": 16 * GIB, "pids_limit": 4096, "max_containers": 3,
    "aggregate.memory_max": 96 * GIB, "aggregate.tasks_max": 12288,
}  # fmt: skip


def holds(modes: dict[Rule, Mode] | None = None, **limits: Any) -> AccountRules:
    values = BUILT_IN | STUDENT | {name.replace("__", "."): value for name, value in limits.items()}
    resolved = ResolvedLimits(
        "alice", "student", listed=True, slice_name=SliceName("ds01-student-alice.slice"),
        values={name: LimitValue(value, "group:student", 1) for name, value in values.items()},
    )  # fmt: skip
    return AccountRules(resolved, Rules({rule: (modes or {}).get(rule, Mode.ENFORCE) for rule in Rule}))


def no_gpu() -> Refusal:
    raise AssertionError("nobody asked for a GPU")


def decide(
    request: ContainerRequest = RUN, rules: AccountRules | None = None, usage: Usage | None = None, who: Caller = ALICE
) -> Admission | Refusal:
    return admit(request, who, rules or holds(), usage or Usage(), no_gpu)


def refused(answer: Admission | Refusal) -> Rule | None:
    return answer.rule if isinstance(answer, Refusal) else None


FILLED = Settings(32 * GIB, 4 * 10**9, 4096, 16 * GIB, None)


def test_what_is_not_said_is_filled_in():
    assert decide() == Admission(FILLED, 32 * GIB)


@pytest.mark.parametrize(
    ("request_", "settings"),
    [
        (replace(RUN, memory_bytes=GIB), replace(FILLED, memory_bytes=GIB)),
        (replace(RUN, nano_cpus=5), replace(FILLED, nano_cpus=5)),
        (replace(RUN, pids=7), replace(FILLED, pids=7)),
        (replace(RUN, shm_bytes=1), replace(FILLED, shm_bytes=1)),
        (replace(RUN, ipc_mode="private"), replace(FILLED, ipc_mode="private")),
        (replace(RUN, ipc_mode="container:x"), replace(FILLED, ipc_mode="container:x", shm_bytes=None)),
    ],
)
def test_what_is_said_stays(request_: ContainerRequest, settings: Settings):
    assert settings_for(request_, holds()) == settings


def test_the_machines_shared_memory_and_a_size_never_come_together():
    shares = holds(ipc_mode="host", shm_size=None)
    assert settings_for(RUN, shares) == replace(FILLED, ipc_mode="host", shm_bytes=None)
    assert settings_for(replace(RUN, shm_bytes=5), shares) == replace(FILLED, ipc_mode=None, shm_bytes=5)


def test_without_the_rule_nothing_is_filled_in():
    assert settings_for(replace(RUN, pids=-1), holds({Rule.LIMITS: Mode.OFF})) == Settings(pids=-1)


# --- Each rule by itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("containers", "most", "live", "rule"),
    [
        (2, 3, False, None),
        (3, 3, False, Rule.CONTAINERS),
        (9, 3, True, None),
        (9, None, False, None),
        (None, 3, False, None),
        (0, 0, False, Rule.CONTAINERS),
    ],
)
def test_number_of_containers(containers: int | None, most: int | None, rule: Rule | None, *, live: bool):
    request = replace(RUN, is_live=live)
    assert refused(decide(request, holds(max_containers=most), Usage(containers=containers))) is rule


def test_the_box_of_containers_names_them():
    answer = decide(replace(RUN, container="web"), usage=Usage(containers=3, names=("a", "b")))
    assert isinstance(answer, Refusal)
    assert answer.rows == (
        ("Current usage", "3 containers (a, b)"), ("Requested", "1 more (web)"), ("Your limit", "3 containers")
    )  # fmt: skip
    assert answer.figures == {"current": 3, "requested": 1, "limit": 3}
    many = decide(usage=Usage(containers=6, names=tuple("abcdef")))
    assert isinstance(many, Refusal)
    assert many.rows[0] == ("Current usage", "6 containers (a, b, c, d, e, …)")


@pytest.mark.parametrize(
    ("request_", "title"),
    [
        (replace(RUN, memory_bytes=32 * GIB), None),
        (replace(RUN, memory_bytes=32 * GIB + 1), "DS01 Container Memory Limit Exceeded"),
        (replace(RUN, nano_cpus=4 * 10**9), None),
        (replace(RUN, nano_cpus=4 * 10**9 + 1), "DS01 Container CPU Limit Exceeded"),
        (replace(RUN, shm_bytes=16 * GIB), None),
        (replace(RUN, shm_bytes=16 * GIB + 1), "DS01 Container Shared Memory Limit Exceeded"),
        (replace(RUN, pids=4096), None),
        (replace(RUN, pids=4097), "DS01 Container Process Limit Exceeded"),
        (replace(RUN, pids=0), "DS01 Container Process Limit Exceeded"),
        (replace(RUN, pids=-1), "DS01 Container Process Limit Exceeded"),
        (replace(RUN, ipc_mode="shareable"), None),
        (replace(RUN, ipc_mode="host"), "DS01 Shared Memory Limit Exceeded"),
    ],
)
def test_limits_of_one_container(request_: ContainerRequest, title: str | None):
    answer = decide(request_, holds(aggregate__memory_max=None))
    assert (answer.title if isinstance(answer, Refusal) else None) == title
    assert refused(answer) is (None if title is None else Rule.LIMITS)


def test_what_is_unlimited_refuses_nobody():
    unlimited = holds(**dict.fromkeys(STUDENT, None) | {"ipc_mode": "host"})
    request = replace(RUN, memory_bytes=2**60, nano_cpus=2**60, shm_bytes=2**60, pids=-1, ipc_mode="host")
    assert isinstance(decide(request, unlimited, Usage(99, (), 2**60, 2**60, 10**9)), Admission)


@pytest.mark.parametrize(
    ("usage", "words"),
    [
        (Usage(committed_bytes=64 * GIB, working_set_bytes=64 * GIB), None),
        (Usage(committed_bytes=64 * GIB + 1), "(your containers may use that much)"),
        (Usage(working_set_bytes=64 * GIB + 1), "64G (in use right now)"),
        (Usage(working_set_bytes=65 * GIB + 512 * 1024**2 + 1), "65.5G (in use right now)"),
        (Usage(committed_bytes=None, working_set_bytes=64 * GIB + 1), "64G (in use right now)"),
        (Usage(committed_bytes=64 * GIB + 1, working_set_bytes=None), "(your containers may use that much)"),
        (Usage(committed_bytes=None, working_set_bytes=None), None),
    ],
)
def test_memory_over_all_is_refused_by_whichever_half_says_so(usage: Usage, words: str | None):
    answer = decide(usage=usage)
    assert refused(answer) is (None if words is None else Rule.MEMORY)
    if isinstance(answer, Refusal):
        assert words is not None
        assert answer.title == "DS01 Aggregate Memory Quota Exceeded"
        assert answer.rows[0][1].endswith(words)
        assert answer.rows[1:] == (("Requested", "32G"), ("Your limit", "96G"))
        assert [step for step in answer.steps if "docker stop <name>" in step]
        assert answer.figures["limit"] == 96 * GIB


def test_what_runs_already_is_not_counted_again():
    request = ContainerRequest(Verb.UNPAUSE, "web", memory_bytes=GIB, is_live=True)
    assert decide(request, usage=Usage(3, (), 96 * GIB, 96 * GIB)) == Admission(
        replace(FILLED, memory_bytes=GIB), reserved_bytes=0
    )


@pytest.mark.parametrize(("pids", "noted"), [(11059, False), (11060, True), (20000, True), (None, False)])
def test_nearly_all_processes_is_a_note_and_refuses_nobody(pids: int | None, *, noted: bool):
    answer = decide(usage=Usage(pids=pids))
    assert isinstance(answer, Admission)
    assert bool(answer.notes) is noted
    off = decide(rules=holds({Rule.PIDS: Mode.OFF}), usage=Usage(pids=pids))
    assert isinstance(off, Admission)
    assert off.notes == ()


# --- Order, modes, administrators, GPUs -------------------------------------------------------------------------------

EVERYTHING_WRONG = Usage(3, (), 96 * GIB, 96 * GIB, 12288)
ALL_ASKED = replace(RUN, memory_bytes=33 * GIB, gpu=GpuRequest(Asked.ALL))


def test_rules_are_asked_in_their_order():
    modes: dict[Rule, Mode] = {}
    for rule in (Rule.CONTAINERS, Rule.LIMITS, Rule.MEMORY):
        assert refused(decide(ALL_ASKED, holds(modes), EVERYTHING_WRONG)) is rule
        modes[rule] = Mode.OFF


def test_what_would_be_refused_is_told_where_the_rule_only_warns():
    modes = dict.fromkeys((Rule.CONTAINERS, Rule.LIMITS, Rule.MEMORY), Mode.WARN)
    answer = decide(replace(ALL_ASKED, gpu=None), holds(modes), EVERYTHING_WRONG)
    assert isinstance(answer, Admission)
    assert [each.rule for each in answer.overruled] == [Rule.CONTAINERS, Rule.LIMITS, Rule.MEMORY]


def test_administrators_are_refused_nothing():
    answer = decide(replace(ALL_ASKED, gpu=None), usage=EVERYTHING_WRONG, who=ADMIN)
    assert isinstance(answer, Admission)
    assert answer.overruled == ()
    assert answer.reserved_bytes == 33 * GIB


def test_a_gpu_is_asked_for_last_and_only_by_who_wants_one():
    no = Refusal(Rule.GPU, "DS01 No GPU Free", (), "", ())
    asked = []

    def gpu() -> Refusal:
        asked.append("gpu")
        return no

    want = replace(RUN, gpu=GpuRequest(Asked.ALL))
    assert refused(admit(want, ALICE, holds(), Usage(containers=3), gpu)) is Rule.CONTAINERS
    assert asked == []
    assert admit(want, ALICE, holds(), Usage(), gpu) is no
    assert admit(want, ADMIN, holds(), Usage(), gpu) is no
    assert asked == ["gpu", "gpu"]


def test_with_the_shipped_values_containers_come_before_memory():
    full = Usage(containers=3, committed_bytes=96 * GIB)
    assert refused(decide(usage=full)) is Rule.CONTAINERS
    assert refused(decide(usage=Usage(containers=2, committed_bytes=64 * GIB))) is None


AMOUNTS = st.integers(0, 200 * GIB)


@given(
    st.builds(Usage, containers=st.integers(0, 5) | st.none(), committed_bytes=AMOUNTS | st.none(),
              working_set_bytes=AMOUNTS | st.none(), pids=st.integers(0, 20000) | st.none()),
    st.builds(lambda memory, shm, pids: ContainerRequest(Verb.RUN, None, memory, None, pids, shm),
              AMOUNTS | st.none(), AMOUNTS | st.none(), st.integers(-1, 9999) | st.none()),
)  # fmt: skip
def test_nobody_passes_a_limit_and_more_in_use_never_helps(usage: Usage, request_: ContainerRequest):
    answer = decide(request_, usage=usage)
    if isinstance(answer, Admission):
        assert (usage.containers or 0) + 1 <= 3
        assert (usage.committed_bytes or 0) + answer.reserved_bytes <= 96 * GIB
        assert (usage.working_set_bytes or 0) + answer.reserved_bytes <= 96 * GIB
        assert answer.settings.memory_bytes is not None
        assert answer.settings.memory_bytes <= 32 * GIB
        assert answer.settings.pids is not None
        assert 0 < answer.settings.pids <= 4096
        return
    more = Usage(
        None if usage.containers is None else usage.containers + 1,
        (),
        None if usage.committed_bytes is None else usage.committed_bytes + 1,
        None if usage.working_set_bytes is None else usage.working_set_bytes + 1,
    )
    assert isinstance(decide(request_, usage=more), Refusal)
