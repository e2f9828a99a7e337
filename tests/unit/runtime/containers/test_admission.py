"""Whether a container may run: each rule with its own numbers, their order and modes, and what always holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.containers.samples import ADMIN, ALICE, GIB, GRANT, LIMITS, NO_GPU, account, shipped

from ds01.core.gpurequest import Asked, GpuRequest
from ds01.core.rules import Mode, Rule
from ds01.core.value import replace
from ds01.runtime.containers.admission import Admission, Refusal, admit, settings_for
from ds01.runtime.containers.request import AccountRules, ContainerRequest, Settings, Usage, Verb
from ds01.runtime.gpu.answer import Grant
from ds01.runtime.identity import Caller

RUN = ContainerRequest(Verb.RUN)
ONE_GPU = GpuRequest(Asked.COUNT, ("0",))
DEFAULTS = Settings(8 * GIB, 4 * 10**9, 500, 2 * GIB, None)
ADMITTED = Admission(DEFAULTS, 8 * GIB)
STOP = "Stop a running container: docker stop <name>"
LOOK = ("Check your containers: docker ps", "Check your limits: check-limits")
ONLY_LIMITS = LOOK[1]


def never() -> Grant | Refusal:
    raise AssertionError("nobody may be asked for a GPU")


def ask(
    request: ContainerRequest = RUN,
    usage: Usage = Usage(),  # noqa: B008 - a value that nobody can change
    rules: AccountRules | None = None,
    who: Caller = ALICE,
    gpu: Callable[[], Grant | Refusal] = never,
) -> Admission | Refusal:
    return admit(request, who, rules or account(), usage, gpu)


def request(verb: Verb = Verb.RUN, **wishes: object) -> ContainerRequest:
    return replace(ContainerRequest(verb), **wishes)


# --- The number of containers -----------------------------------------------------------------------------------------


def too_many(current: str, requested: str, number: int, most: int = 3) -> Refusal:
    limit = f"{most} container{'s' * (most != 1)}"
    return Refusal(
        Rule.CONTAINERS,
        "DS01 Container Quota Exceeded",
        (("Current usage", current), ("Requested", requested), ("Your limit", limit)),
        "Running and paused containers count, and those that are just being started.",
        (STOP, *LOOK),
        {"current": number, "requested": 1, "limit": most},
    )


CONTAINERS: dict[str, tuple[ContainerRequest, Usage, AccountRules, Admission | Refusal]] = {
    "the first": (RUN, Usage(), account(), ADMITTED),
    "the last": (RUN, Usage(containers=2), account(), ADMITTED),
    "one too many": (RUN, Usage(containers=3), account(), too_many("3 containers", "1 more", 3)),
    "far too many": (RUN, Usage(containers=9), account(), too_many("9 containers", "1 more", 9)),
    "one too many, with names": (
        request(container="late"),
        Usage(containers=3, names=("a", "b")),
        account(),
        too_many("3 containers (a, b)", "1 more (late)", 3),
    ),
    "five names are shown": (
        RUN,
        Usage(containers=5, names=tuple("abcde")),
        account(),
        too_many("5 containers (a, b, c, d, e)", "1 more", 5),
    ),
    "of six names five are shown": (
        RUN,
        Usage(containers=6, names=tuple("abcdef")),
        account(),
        too_many("6 containers (a, b, c, d, e, …)", "1 more", 6),
    ),
    "one is allowed": (RUN, Usage(containers=1), account(max_containers=1), too_many("1 container", "1 more", 1, 1)),
    "none is allowed": (RUN, Usage(), account(max_containers=0), too_many("0 containers", "1 more", 0, 0)),
    "without a limit": (RUN, Usage(containers=99), account(max_containers=None), ADMITTED),
    "nobody can tell": (RUN, Usage(containers=None), account(), ADMITTED),
    "a new one that is not started": (
        request(Verb.CREATE),
        Usage(containers=3),
        account(),
        too_many("3 containers", "1 more", 3),
    ),
    "an old one that is to run": (
        request(Verb.START),
        Usage(containers=3),
        account(),
        too_many("3 containers", "1 more", 3),
    ),
    "one that runs already": (
        request(Verb.RESTART, is_live=True),
        Usage(containers=3),
        account(),
        replace(ADMITTED, reserved_bytes=0),
    ),
    "a paused one": (
        request(Verb.UNPAUSE, is_live=True),
        Usage(containers=3),
        account(),
        replace(ADMITTED, reserved_bytes=0),
    ),
}


@pytest.mark.parametrize(("wish", "usage", "rules", "answer"), CONTAINERS.values(), ids=CONTAINERS)
def test_no_more_containers_than_the_limit(
    wish: ContainerRequest, usage: Usage, rules: AccountRules, answer: Admission | Refusal
) -> None:
    assert ask(wish, usage, rules) == answer


# --- What one container may have --------------------------------------------------------------------------------------


def above(what: str, option: str, requested: str, limit: str, figures: tuple[float, float]) -> Refusal:
    return Refusal(
        Rule.LIMITS,
        f"DS01 Container {what} Limit Exceeded",
        (("Requested", f"{option} {requested}"), ("Your limit", f"{limit} a container")),
        "No single container of yours may have more than that.",
        (f"Ask for no more: {option} {limit}, or leave {option} out to get that", ONLY_LIMITS),
        {"requested": figures[0], "limit": figures[1]},
    )


def shares_the_machines(shm: str, limit: int | None) -> Refusal:
    return Refusal(
        Rule.LIMITS,
        "DS01 Shared Memory Limit Exceeded",
        (("Requested", "--ipc=host, the machine's own"), ("Your limit", f"--shm-size {shm} a container")),
        "Shared memory of the machine has no limit of yours.",
        (f"Leave --ipc out: /dev/shm of your container then has {shm}", ONLY_LIMITS),
        {"requested": "host", "limit": limit},
    )


ONE: dict[str, tuple[ContainerRequest, AccountRules, Settings | Refusal]] = {
    "nothing": (RUN, account(), DEFAULTS),
    "all there is": (
        request(memory_bytes=8 * GIB, nano_cpus=4 * 10**9, pids=500, shm_bytes=2 * GIB),
        account(),
        DEFAULTS,
    ),
    "less": (
        request(memory_bytes=GIB, nano_cpus=10**9, pids=7, shm_bytes=3),
        account(),
        Settings(GIB, 10**9, 7, 3, None),
    ),
    "memory": (
        request(memory_bytes=8 * GIB + 1),
        account(),
        above("Memory", "--memory", str(8 * GIB + 1), "8G", (8 * GIB + 1, 8 * GIB)),
    ),
    "memory without a limit": (
        request(memory_bytes=2**60),
        account(memory=None, memory_max=None),
        replace(DEFAULTS, memory_bytes=2**60),
    ),
    "CPUs": (request(nano_cpus=4_500_000_000), account(), above("CPU", "--cpus", "4.5", "4", (4.5, 4))),
    "CPUs by a billionth": (
        request(nano_cpus=1_500_000_001),
        account(max_cpus=1.5),
        above("CPU", "--cpus", "1.5", "1.5", (1.500000001, 1.5)),
    ),
    "CPUs without a limit": (request(nano_cpus=10**12), account(max_cpus=None), replace(DEFAULTS, nano_cpus=10**12)),
    "nobody says CPUs": (RUN, account(max_cpus=None), replace(DEFAULTS, nano_cpus=None)),
    "shared memory": (
        request(shm_bytes=3 * GIB),
        account(),
        above("Shared Memory", "--shm-size", "3G", "2G", (3 * GIB, 2 * GIB)),
    ),
    "processes": (request(pids=501), account(), above("Process", "--pids-limit", "501", "500", (501, 500))),
    "any number of processes": (
        request(pids=-1),
        account(),
        above("Process", "--pids-limit", "unlimited", "500", (-1, 500)),
    ),
    "processes, 0 of which are any number": (
        request(pids=0),
        account(),
        above("Process", "--pids-limit", "unlimited", "500", (0, 500)),
    ),
    "processes without a limit": (request(pids=-1), account(pids_limit=None), replace(DEFAULTS, pids=-1)),
    "the machine's shared memory": (request(ipc_mode="host"), account(), shares_the_machines("2G", 2 * GIB)),
    "the machine's shared memory, where none is limited": (
        request(ipc_mode="host"),
        account(shm_size=None),
        shares_the_machines("unlimited", None),
    ),
    "the machine's, where the policy says so": (
        request(ipc_mode="host"),
        account(ipc_mode="host", shm_size=None),
        Settings(8 * GIB, 4 * 10**9, 500, None, "host"),
    ),
    "nothing, where the policy says the machine's": (
        RUN,
        account(ipc_mode="host", shm_size=None),
        Settings(8 * GIB, 4 * 10**9, 500, None, "host"),
    ),
    "an own size, where the policy says the machine's": (
        request(shm_bytes=GIB),
        account(ipc_mode="host", shm_size=None),
        Settings(8 * GIB, 4 * 10**9, 500, GIB, None),
    ),
    "shareable": (request(ipc_mode="shareable"), account(), replace(DEFAULTS, ipc_mode="shareable")),
    "that of another container": (
        request(ipc_mode="container:other"),
        account(),
        replace(DEFAULTS, ipc_mode="container:other", shm_bytes=None),
    ),
    "none": (request(ipc_mode="none"), account(), replace(DEFAULTS, ipc_mode="none", shm_bytes=None)),
}


@pytest.mark.parametrize(("wish", "rules", "answer"), ONE.values(), ids=ONE)
def test_no_container_has_more_than_one_may_have(
    wish: ContainerRequest, rules: AccountRules, answer: Settings | Refusal
) -> None:
    expected = answer if isinstance(answer, Refusal) else Admission(answer, answer.memory_bytes or 0)
    assert ask(wish, rules=rules) == expected


def test_the_limits_of_one_container_hold_for_one_that_runs_already() -> None:
    answer = ask(request(Verb.UNPAUSE, is_live=True, memory_bytes=9 * GIB))
    assert answer == above("Memory", "--memory", "9G", "8G", (9 * GIB, 8 * GIB))


def test_what_is_unlimited_refuses_nobody() -> None:
    unlimited = account(**{name.removeprefix("aggregate."): None for name in LIMITS})
    wish = request(memory_bytes=2**60, nano_cpus=2**60, shm_bytes=2**60, pids=-1, ipc_mode="private")
    assert ask(wish, Usage(99, (), 2**60, 2**60, 10**9), unlimited) == Admission(
        Settings(2**60, 2**60, -1, 2**60, "private"), 2**60
    )


def test_where_the_limits_of_one_are_off_a_container_has_what_it_asks_for_and_no_more_is_added() -> None:
    asked = request(memory_bytes=9 * GIB, nano_cpus=10**11, pids=-1, shm_bytes=9 * GIB, ipc_mode="host")
    off = account({Rule.LIMITS: Mode.OFF})
    assert settings_for(asked, off) == Settings(9 * GIB, 10**11, -1, 9 * GIB, "host")
    assert ask(RUN, rules=off) == Admission(Settings(), 0)


# --- Memory over all containers ---------------------------------------------------------------------------------------


def no_memory(current: str, requested: str, figures: tuple[int, int]) -> Refusal:
    return Refusal(
        Rule.MEMORY,
        "DS01 Aggregate Memory Quota Exceeded",
        (("Current usage", current), ("Requested", requested), ("Your limit", "20G")),
        "This container would exceed your aggregate memory quota.",
        (STOP, "Ask for less memory: docker run --memory <size> …", *LOOK),
        {"current": figures[0], "requested": figures[1], "limit": 20 * GIB},
    )


MAY_USE = "your containers may use that much"
MEMORY: dict[str, tuple[ContainerRequest, Usage, AccountRules, Admission | Refusal]] = {
    "just enough is left to be promised": (RUN, Usage(committed_bytes=12 * GIB), account(), ADMITTED),
    "a byte too much is promised": (
        RUN,
        Usage(committed_bytes=12 * GIB + 1),
        account(),
        no_memory(f"12G ({MAY_USE})", "8G", (12 * GIB + 1, 8 * GIB)),
    ),
    "just enough is not in use": (RUN, Usage(working_set_bytes=12 * GIB), account(), ADMITTED),
    "a byte too much is in use": (
        RUN,
        Usage(working_set_bytes=12 * GIB + 1),
        account(),
        no_memory("12G (in use right now)", "8G", (12 * GIB + 1, 8 * GIB)),
    ),
    "in use, part of a GiB": (
        RUN,
        Usage(working_set_bytes=12 * GIB + GIB // 2 + 1),
        account(),
        no_memory("12.5G (in use right now)", "8G", (12 * GIB + GIB // 2 + 1, 8 * GIB)),
    ),
    "in use, MiB": (
        request(memory_bytes=5 * 2**20),
        Usage(working_set_bytes=2**20),
        account(memory_max=5 * 2**20),
        replace(
            no_memory("1M (in use right now)", "5M", (2**20, 5 * 2**20)),
            rows=(("Current usage", "1M (in use right now)"), ("Requested", "5M"), ("Your limit", "5M")),
            figures={"current": 2**20, "requested": 5 * 2**20, "limit": 5 * 2**20},
        ),
    ),
    "both are too much": (
        RUN,
        Usage(committed_bytes=13 * GIB, working_set_bytes=14 * GIB),
        account(),
        no_memory(f"13G ({MAY_USE})", "8G", (13 * GIB, 8 * GIB)),
    ),
    "more than everything, with nothing running": (
        request(memory_bytes=21 * GIB),
        Usage(),
        account(memory=None),
        no_memory("0 (nothing of yours runs)", "21G", (0, 21 * GIB)),
    ),
    "a smaller wish fits": (
        request(memory_bytes=GIB),
        Usage(committed_bytes=19 * GIB, working_set_bytes=19 * GIB),
        account(),
        Admission(replace(DEFAULTS, memory_bytes=GIB), GIB),
    ),
    "promises cannot be told, and use is too much": (
        RUN,
        Usage(committed_bytes=None, working_set_bytes=13 * GIB),
        account(),
        no_memory("13G (in use right now)", "8G", (13 * GIB, 8 * GIB)),
    ),
    "use cannot be told, and promises are too much": (
        RUN,
        Usage(committed_bytes=13 * GIB, working_set_bytes=None),
        account(),
        no_memory(f"13G ({MAY_USE})", "8G", (13 * GIB, 8 * GIB)),
    ),
    "promises cannot be told": (RUN, Usage(committed_bytes=None), account(), ADMITTED),
    "use cannot be told": (RUN, Usage(working_set_bytes=None), account(), ADMITTED),
    "nothing can be told": (RUN, Usage(None, (), None, None, None, ("why",)), account(), ADMITTED),
    "without a limit over all": (RUN, Usage(committed_bytes=2**60), account(memory_max=None), ADMITTED),
    "a container without any limit asks for nothing": (
        RUN,
        Usage(committed_bytes=20 * GIB, working_set_bytes=20 * GIB),
        account(memory=None),
        Admission(replace(DEFAULTS, memory_bytes=None), 0),
    ),
    "an old one counts for its own limit": (
        request(Verb.START, memory_bytes=2 * GIB),
        Usage(committed_bytes=18 * GIB + 1),
        account(),
        no_memory(f"18G ({MAY_USE})", "2G", (18 * GIB + 1, 2 * GIB)),
    ),
    "one that runs already counts nothing again": (
        request(Verb.RESTART, is_live=True, memory_bytes=8 * GIB),
        Usage(committed_bytes=20 * GIB, working_set_bytes=20 * GIB),
        account(),
        replace(ADMITTED, reserved_bytes=0),
    ),
}


@pytest.mark.parametrize(("wish", "usage", "rules", "answer"), MEMORY.values(), ids=MEMORY)
def test_all_containers_together_have_no_more_memory_than_the_limit(
    wish: ContainerRequest, usage: Usage, rules: AccountRules, answer: Admission | Refusal
) -> None:
    assert ask(wish, usage, rules) == answer


# --- Processes --------------------------------------------------------------------------------------------------------

NO_NEW_ONE = "at the limit no new one can start in any of them"
NOTES: dict[str, tuple[Usage, AccountRules, tuple[str, ...]]] = {
    "few": (Usage(pids=899), account(), ()),
    "90 %": (
        Usage(pids=900),
        account(),
        (f"your containers have 900 of 1000 processes and threads (90%): {NO_NEW_ONE}",),
    ),
    "all": (
        Usage(pids=1000),
        account({Rule.PIDS: Mode.WARN}),
        (f"your containers have 1000 of 1000 processes and threads (100%): {NO_NEW_ONE}",),
    ),
    "all, and nobody looks": (Usage(pids=1000), account({Rule.PIDS: Mode.OFF}), ()),
    "without a limit": (Usage(pids=10**6), account(tasks_max=None), ()),
    "nobody can tell": (Usage(pids=None), account(), ()),
}


@pytest.mark.parametrize(("usage", "rules", "notes"), NOTES.values(), ids=NOTES)
def test_a_user_is_told_when_processes_run_short(usage: Usage, rules: AccountRules, notes: tuple[str, ...]) -> None:
    assert ask(RUN, usage, rules) == replace(ADMITTED, notes=notes)


# --- GPUs, and the order of it all ------------------------------------------------------------------------------------

FULL = Usage(containers=3, committed_bytes=20 * GIB, working_set_bytes=20 * GIB, pids=1000)
GREEDY = request(memory_bytes=9 * GIB, gpu=ONE_GPU)


def test_a_gpu_is_asked_for_once_everything_else_is_settled() -> None:
    asked = count()

    def gpu() -> Grant:
        next(asked)
        return GRANT

    assert ask(request(gpu=ONE_GPU), gpu=gpu) == replace(ADMITTED, grant=GRANT, notes=GRANT.notes)
    assert next(asked) == 1


def test_without_a_gpu_there_is_no_container() -> None:
    for who in (ALICE, ADMIN):
        assert ask(request(gpu=ONE_GPU), who=who, gpu=lambda: NO_GPU) == NO_GPU


def test_the_notes_of_a_grant_follow_those_of_the_account() -> None:
    answer = ask(request(gpu=ONE_GPU), Usage(pids=950), gpu=lambda: GRANT)
    assert isinstance(answer, Admission)
    assert [note[:15] for note in answer.notes] == ["your containers", "CUDA uses one o"]


def test_rules_are_asked_in_their_order_and_the_first_that_is_enforced_answers() -> None:
    rules = (Rule.CONTAINERS, Rule.LIMITS, Rule.MEMORY)
    found = []
    for off in range(len(rules) + 1):
        answer = ask(GREEDY, FULL, account(dict.fromkeys(rules[:off], Mode.OFF)), gpu=lambda: NO_GPU)
        assert isinstance(answer, Refusal)
        found.append(answer.rule)
    assert found == [*rules, Rule.GPU]


def test_what_is_only_warned_of_is_said_and_refuses_nobody() -> None:
    rules = (Rule.CONTAINERS, Rule.LIMITS, Rule.MEMORY)
    answer = ask(GREEDY, FULL, account(dict.fromkeys(rules, Mode.WARN)), gpu=lambda: GRANT)
    assert isinstance(answer, Admission)
    assert [each.rule for each in answer.overruled] == list(rules)
    assert (answer.settings.memory_bytes, answer.reserved_bytes, answer.grant) == (9 * GIB, 9 * GIB, GRANT)


@pytest.mark.parametrize("rule", [Rule.CONTAINERS, Rule.LIMITS, Rule.MEMORY])
def test_a_rule_in_another_mode_leaves_the_others_as_they_are(rule: Rule) -> None:
    rest = [each for each in (Rule.CONTAINERS, Rule.LIMITS, Rule.MEMORY) if each is not rule]
    for mode in (Mode.WARN, Mode.OFF):
        answer = ask(GREEDY, FULL, account({rule: mode}))
        assert isinstance(answer, Refusal)
        assert answer.rule is rest[0]


def test_an_administrator_is_refused_nothing_and_counted_like_everybody() -> None:
    answer = ask(GREEDY, FULL, who=ADMIN, gpu=lambda: GRANT)
    assert isinstance(answer, Admission)
    assert (answer.settings, answer.reserved_bytes, answer.overruled) == (
        replace(DEFAULTS, memory_bytes=9 * GIB),
        9 * GIB,
        (),
    )


# --- What always holds ------------------------------------------------------------------------------------------------

sizes = st.integers(0, 24 * GIB) | st.sampled_from([0, 8 * GIB, 12 * GIB, 20 * GIB])
maybe = st.none() | sizes
requests = st.builds(
    ContainerRequest,
    verb=st.sampled_from(Verb),
    memory_bytes=maybe,
    nano_cpus=st.none() | st.integers(0, 10**10),
    pids=st.none() | st.integers(-2, 600),
    shm_bytes=maybe,
    ipc_mode=st.none() | st.sampled_from(["host", "private", "shareable", "none", "container:x"]),
    gpu=st.none() | st.just(ONE_GPU),
    is_live=st.booleans(),
)
usages = st.builds(
    Usage,
    containers=st.none() | st.integers(0, 5),
    committed_bytes=maybe,
    working_set_bytes=maybe,
    pids=st.none() | st.integers(0, 1100),
)
modes = st.dictionaries(st.sampled_from(Rule), st.sampled_from(Mode))
accounts = st.builds(
    lambda found, most, memory, over_all, ipc: account(
        found, max_containers=most, memory=memory, memory_max=over_all, ipc_mode=ipc
    ),
    modes,
    st.none() | st.integers(0, 4),
    maybe,
    maybe,
    st.sampled_from(["host", "private"]),
)


def granted() -> Grant | Refusal:
    return GRANT


@given(requests, usages, accounts)
def test_no_admission_passes_a_limit_that_is_enforced(
    wish: ContainerRequest, usage: Usage, rules: AccountRules
) -> None:
    answer = ask(wish, usage, rules, gpu=granted)
    if isinstance(answer, Refusal):
        assert rules.rules.mode(answer.rule) is Mode.ENFORCE
        return

    def enforced(rule: Rule, name: str) -> int | None:
        return rules.limits.whole(name) if rules.rules.mode(rule) is Mode.ENFORCE else None

    most = enforced(Rule.CONTAINERS, "max_containers")
    if most is not None and usage.containers is not None and not wish.is_live:
        assert usage.containers + 1 <= most
    one = enforced(Rule.LIMITS, "memory")
    made = answer.settings.memory_bytes
    assert one is None or (made is not None and made <= one)
    over_all = enforced(Rule.MEMORY, "aggregate.memory_max")
    if over_all is not None and not wish.is_live:
        for half in (usage.committed_bytes, usage.working_set_bytes):
            assert half is None or half + answer.reserved_bytes <= over_all
    assert answer.reserved_bytes == (0 if wish.is_live else answer.settings.memory_bytes or 0)


@given(requests, usages, accounts, st.integers(0, 3), sizes, sizes)
def test_who_uses_more_is_never_let_in_where_they_were_refused(
    wish: ContainerRequest, usage: Usage, rules: AccountRules, more: int, committed: int, in_use: int
) -> None:
    def plus(value: int | None, extra: int) -> int | None:
        return None if value is None else value + extra

    fuller = replace(
        usage,
        containers=plus(usage.containers, more),
        committed_bytes=plus(usage.committed_bytes, committed),
        working_set_bytes=plus(usage.working_set_bytes, in_use),
    )
    if isinstance(ask(wish, usage, rules, gpu=granted), Refusal):
        assert isinstance(ask(wish, fuller, rules, gpu=granted), Refusal)


@given(requests, usages, accounts)
def test_an_administrator_is_let_in_whatever_there_is(
    wish: ContainerRequest, usage: Usage, rules: AccountRules
) -> None:
    answer = ask(wish, usage, rules, who=ADMIN, gpu=granted)
    assert isinstance(answer, Admission)
    assert answer.settings == settings_for(wish, rules)


@given(requests, accounts)
def test_docker_is_never_told_the_machines_shared_memory_and_a_size(
    wish: ContainerRequest, rules: AccountRules
) -> None:
    made = settings_for(replace(wish, shm_bytes=None), rules)
    assert made.ipc_mode != "host" or made.shm_bytes is None


def until_refused(rules: AccountRules) -> Iterable[Admission | Refusal]:
    """Start containers that say nothing until one is refused."""
    usage = Usage()
    while True:
        answer = ask(RUN, usage, rules)
        yield answer
        if isinstance(answer, Refusal):
            return
        assert usage.containers is not None
        assert usage.committed_bytes is not None
        usage = Usage(usage.containers + 1, committed_bytes=usage.committed_bytes + answer.reserved_bytes)


@pytest.mark.parametrize("name", ["nobody-listed", *(f"student{number:02}" for number in range(1, 4))])
def test_by_the_shipped_policy_the_number_of_containers_is_reached_before_memory(name: str) -> None:
    *admitted, last = until_refused(shipped(name))
    assert [each.reserved_bytes for each in admitted if isinstance(each, Admission)] == [32 * GIB] * 3
    assert isinstance(last, Refusal)
    assert last.rule is Rule.CONTAINERS
