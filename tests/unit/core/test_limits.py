"""The resolver: which limits hold for an account, and where each comes from, rule by rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ds01.core.limits import (
    BY_NAME,
    LimitValue,
    ResolvedLimits,
    UnknownGroupError,
    Value,
    format_value,
    group_of,
    resolve,
    resolve_group,
    resolve_listed,
    stated,
)
from ds01.core.names import BadNameError
from ds01.core.policy import Group, Policy
from ds01.core.units import GIB, MIB, MOST, MOST_PERCENT
from ds01.generator.build import check

CHECKOUT = Path(__file__).resolve().parents[3]
CONTAINER = {"max_cpus": 32, "memory_bytes": 32 * GIB, "pids_limit": 4096, "max_containers": 3}
TABLE = ("aggregate.cpu_quota", "aggregate.memory_max", "aggregate.memory_high", "aggregate.tasks_max")


def make_policy(
    defaults: dict[str, Any] | None = None,
    student: dict[str, Any] | None = None,
    alice: dict[str, Any] | None = None,
    **more: Any,
) -> Policy:
    """Return a policy with one group and one account in it; layers are in canonical units."""
    groups = {"student": student or {}, **more.pop("groups", {})}
    return Policy(
        default_group="student",
        defaults=CONTAINER if defaults is None else defaults,
        groups={name: Group(name, "", more.pop(f"{name}_unix", None), limits) for name, limits in groups.items()},
        users=more.pop("users", {"alice": "student"}),
        overrides={"alice": alice} if alice is not None else {},
        host_cpus=more.pop("host_cpus", 128),
        aggregate_limits=more.pop("aggregate_limits", True),
        document=more,
    )


def told(policy: Policy, name: str, account: str = "alice") -> tuple[Value, str]:
    """Return a limit of an account and where it comes from."""
    found = resolve(policy, account)[name]
    return found.value, found.origin


@pytest.fixture(scope="module")
def shipped() -> Policy:
    return Policy.from_document(check(CHECKOUT, CHECKOUT / "tests/golden/shipped/inventory", "ds01").document)


# --- the table of the documents, from the inventory that is shipped


@pytest.mark.parametrize(
    ("group", "shown"),
    [
        ("student", ("9600%", "96G", "86G", "12288")),
        ("researcher", ("24000%", "320G", "288G", "327680")),
        ("faculty", ("32000%", "640G", "576G", "327680")),
        ("admin", ("unlimited", "unlimited", "unlimited", "unlimited")),
    ],
)
def test_shipped_groups_have_the_limits_of_the_documents(shipped: Policy, group: str, shown: tuple[str, ...]) -> None:
    limits = resolve_group(shipped, group)
    assert tuple(format_value(BY_NAME[name], limits[name].value) for name in TABLE) == shown


def test_shipped_limits_are_what_would_be_computed(shipped: Policy) -> None:
    bare = {
        name: Group(name, "", None, {key: value for key, value in group.limits.items() if key != "aggregate"})
        for name, group in shipped.groups.items()
    }
    computed = make_policy(
        defaults=dict(shipped.defaults), groups={name: dict(group.limits) for name, group in bare.items()}
    )
    for group in shipped.groups:
        stated_values = [resolve_group(shipped, group)[name].value for name in TABLE]
        assert [resolve_group(computed, group)[name].value for name in TABLE] == stated_values


def test_79_of_the_81_shipped_accounts_are_limited(shipped: Policy) -> None:
    unlimited = [name for name in shipped.users if not resolve(shipped, name).has_aggregate]
    assert (len(shipped.users), sorted(unlimited)) == (81, ["n.adeyemi", "sysop"])


def test_every_shipped_account_has_its_own_slice(shipped: Policy) -> None:
    slices = {resolve(shipped, name).slice_name for name in shipped.users}
    assert len(slices) == 81


def test_shipped_override_makes_the_aggregate_anew(shipped: Policy) -> None:
    limits = resolve(shipped, "m.okafor@lab-x.org")
    assert {name: (limits[name].value, limits[name].origin) for name in ("memory", *TABLE)} == {
        "memory": (96 * GIB, "user:m.okafor@lab-x.org"),
        "aggregate.cpu_quota": (24000, "group:researcher"),
        "aggregate.memory_max": (480 * GIB, "user:m.okafor@lab-x.org: 96G memory × 5 containers"),
        "aggregate.memory_high": (432 * GIB, "90% of memory_max"),
        "aggregate.tasks_max": (327680, "group:researcher"),
    }


# --- precedence of a single key


@pytest.mark.parametrize(
    ("defaults", "student", "alice", "value", "origin"),
    [
        ({}, {}, None, 10, "built-in"),
        ({"priority": 20}, {}, None, 20, "default"),
        ({"priority": 20}, {"priority": 30}, None, 30, "group:student"),
        ({"priority": 20}, {"priority": 30}, {}, 30, "group:student"),
        ({"priority": 20}, {"priority": 30}, {"priority": 40}, 40, "user:alice"),
        ({"priority": 20}, {}, {"priority": 5}, 5, "user:alice"),
    ],
)
def test_strongest_layer_that_says_anything_decides(
    defaults: dict[str, Any], student: dict[str, Any], alice: dict[str, Any] | None, value: int, origin: str
) -> None:
    assert told(make_policy(defaults, student, alice), "priority") == (value, origin)


@pytest.mark.parametrize("layer", ["defaults", "student", "alice"])
def test_null_is_unlimited_and_not_inherited(layer: str) -> None:
    layers: dict[str, dict[str, Any]] = {"defaults": {"idle_timeout_seconds": 60}, "student": {}, "alice": {}}
    layers[layer] = {"idle_timeout_seconds": None}
    origin = {"defaults": "default", "student": "group:student", "alice": "user:alice"}[layer]
    assert told(make_policy(**layers), "idle_timeout") == (None, origin)


def test_false_and_zero_are_values_and_not_gaps() -> None:
    override = {"allow_full_gpu": False, "max_mig_instances": 0}
    policy = make_policy({"allow_full_gpu": True, "max_mig_instances": 4}, {}, override)
    assert (told(policy, "allow_full_gpu"), told(policy, "max_mig_instances")) == (
        (False, "user:alice"),
        (0, "user:alice"),
    )  # fmt: skip


def test_what_nobody_says_is_unlimited_or_the_builtin() -> None:
    limits = resolve(make_policy({}), "alice")
    expected: dict[str, Value] = dict.fromkeys(BY_NAME)
    expected |= {"priority": 10, "gpu_unit": "mig", "allow_full_gpu": False, "ipc_mode": "private", "sigterm_grace": 60}
    assert {name: limits[name].value for name in BY_NAME} == expected


# --- CPUs of the host, and ipc_mode beside shm_size


@pytest.mark.parametrize(
    ("cpus", "host_cpus", "value", "origin"),
    [
        (32, 128, 32, "default"),
        (32, 32, 32, "default"),
        (32, 16, 16, "default (32, capped at the host's 16)"),
        (1.5, 1, 1, "default (1.5, capped at the host's 1)"),
        (None, 16, None, "default"),
    ],
)
def test_container_gets_no_more_cpus_than_the_host_has(
    cpus: float | None, host_cpus: int, value: float | None, origin: str
) -> None:
    assert told(make_policy({**CONTAINER, "max_cpus": cpus}, host_cpus=host_cpus), "max_cpus") == (value, origin)


def test_aggregate_is_made_of_what_policy_states_not_of_what_the_host_caps() -> None:
    assert told(make_policy(host_cpus=16), "aggregate.cpu_quota") == (9600, "default: 32 max_cpus × 3 containers")


SHM, HOST = {"shm_size_bytes": GIB}, {"ipc_mode": "host"}


@pytest.mark.parametrize(
    ("defaults", "student", "alice", "ipc", "shm"),
    [
        (SHM, {}, {}, ("private", "built-in"), (GIB, "default")),
        (SHM, HOST, {}, ("host", "group:student"), (None, "group:student shares the host's (ipc_mode: host)")),
        (SHM, {}, HOST, ("host", "user:alice"), (None, "user:alice shares the host's (ipc_mode: host)")),
        (HOST, SHM, {}, ("private", "group:student states shm_size instead"), (GIB, "group:student")),
        (HOST, {}, SHM, ("private", "user:alice states shm_size instead"), (GIB, "user:alice")),
        (
            HOST,
            {"shm_size_bytes": None},
            {},
            ("host", "default"),
            (None, "default shares the host's (ipc_mode: host)"),
        ),
        (HOST, SHM, {"ipc_mode": "shareable"}, ("shareable", "user:alice"), (GIB, "group:student")),
    ],
)
def test_ipc_of_the_host_and_shm_size_never_meet(
    defaults: dict[str, Any],
    student: dict[str, Any],
    alice: dict[str, Any],
    ipc: tuple[Value, str],
    shm: tuple[Value, str],
) -> None:
    policy = make_policy(defaults, student, alice)
    assert (told(policy, "ipc_mode"), told(policy, "shm_size")) == (ipc, shm)


# --- aggregates


def test_aggregate_that_nobody_states_is_one_container_times_their_number() -> None:
    limits = resolve(make_policy(), "alice")
    assert {name: limits[name] for name in TABLE} == {
        "aggregate.cpu_quota": LimitValue(9600, "default: 32 max_cpus × 3 containers", 2),
        "aggregate.memory_max": LimitValue(96 * GIB, "default: 32G memory × 3 containers", 2),
        "aggregate.memory_high": LimitValue(86 * GIB, "90% of memory_max", 2),
        "aggregate.tasks_max": LimitValue(12288, "default: 4096 pids_limit × 3 containers", 2),
    }


@pytest.mark.parametrize(
    ("cpus", "count", "percent"), [(0.01, 1, 1), (0.29, 1, 29), (1.1, 3, 330), (0.5, 5, 250), (99, 10**9, MOST_PERCENT)]
)
def test_fractions_of_cpus_are_counted_exactly(cpus: float, count: int, percent: int) -> None:
    assert told(make_policy({"max_cpus": cpus, "max_containers": count}), "aggregate.cpu_quota")[0] == percent


def test_product_never_leaves_what_the_kernel_can_count() -> None:
    policy = make_policy({"memory_bytes": MOST, "max_containers": 1000})
    assert told(policy, "aggregate.memory_max")[0] == MOST


GROUP_STATES = {"aggregate": {"cpu_quota_percent": 5000, "memory_max_bytes": 64 * GIB, "tasks_max": 9000}}
UNTOUCHED = {
    "aggregate.cpu_quota": (5000, "group:student"),
    "aggregate.memory_max": (64 * GIB, "group:student"),
    "aggregate.memory_high": (57 * GIB, "90% of memory_max"),
    "aggregate.tasks_max": (9000, "group:student"),
}


@pytest.mark.parametrize(
    ("alice", "changed"),
    [
        ({}, {}),
        ({"idle_timeout_seconds": 60, "priority": 99, "max_mig_instances": 6, "shm_size_bytes": GIB}, {}),
        ({"max_cpus": 16}, {"aggregate.cpu_quota": (4800, "user:alice: 16 max_cpus × 3 containers")}),
        ({"pids_limit": 100}, {"aggregate.tasks_max": (300, "user:alice: 100 pids_limit × 3 containers")}),
        (
            {"memory_bytes": 96 * GIB},
            {
                "aggregate.memory_max": (288 * GIB, "user:alice: 96G memory × 3 containers"),
                "aggregate.memory_high": (259 * GIB, "90% of memory_max"),
            },
        ),
        (
            {"max_containers": 1},
            {
                "aggregate.cpu_quota": (3200, "user:alice: 32 max_cpus × 1 containers"),
                "aggregate.memory_max": (32 * GIB, "user:alice: 32G memory × 1 containers"),
                "aggregate.memory_high": (28 * GIB, "90% of memory_max"),
                "aggregate.tasks_max": (4096, "user:alice: 4096 pids_limit × 1 containers"),
            },
        ),
        (
            {"memory_bytes": 96 * GIB, "aggregate": {"memory_max_bytes": 100 * GIB}},
            {
                "aggregate.memory_max": (100 * GIB, "user:alice"),
                "aggregate.memory_high": (90 * GIB, "90% of memory_max"),
            },
        ),
        (
            {"aggregate": {"memory_max_bytes": None}},
            {"aggregate.memory_max": (None, "user:alice"), "aggregate.memory_high": (None, "user:alice")},
        ),
        ({"aggregate": {"cpu_quota_percent": None}}, {"aggregate.cpu_quota": (None, "user:alice")}),
        (
            {"aggregate": None, "memory_bytes": 96 * GIB},
            dict.fromkeys(UNTOUCHED, (None, "user:alice")),
        ),
    ],
)
def test_override_makes_anew_what_it_changes_unless_it_states_it(
    alice: dict[str, Any], changed: dict[str, tuple[Value, str]]
) -> None:
    policy = make_policy(student=GROUP_STATES, alice=alice)
    assert {name: told(policy, name) for name in TABLE} == UNTOUCHED | changed


@pytest.mark.parametrize("group_states", [GROUP_STATES, {}])
def test_override_without_a_container_limit_does_not_lift_the_total(group_states: dict[str, Any]) -> None:
    """`max_containers: null` gives more containers, not the machine: only `aggregate:` itself lifts it."""
    plain = make_policy(student=group_states)
    lifted = make_policy(student=group_states, alice={"memory_bytes": None, "max_containers": None})
    shown = {name: told(plain, name) for name in TABLE}
    after = {name: told(lifted, name) for name in TABLE}
    changes = {
        "aggregate.cpu_quota": "max_containers",
        "aggregate.memory_max": "memory",
        "aggregate.tasks_max": "max_containers",
    }
    expected = {
        name: (value, f"{origin} (user:alice does not change it)" if name in changes else origin)
        for name, (value, origin) in shown.items()
    }
    assert after == expected


def test_account_that_may_have_no_container_keeps_a_slice_that_systemd_takes() -> None:
    policy = make_policy(student=GROUP_STATES, alice={"max_containers": 0})
    assert {name: told(policy, name)[0] for name in TABLE} == {
        "aggregate.cpu_quota": 3200,
        "aggregate.memory_max": 32 * GIB,
        "aggregate.memory_high": 28 * GIB,
        "aggregate.tasks_max": 4096,
    }


def test_group_that_lifts_one_containers_limit_has_none_over_all() -> None:
    policy = make_policy(student={"max_containers": None})
    assert told(policy, "aggregate.memory_max") == (None, "group:student: no limit a container, so none over all")


def test_aggregate_of_the_defaults_holds_for_groups_that_state_none() -> None:
    policy = make_policy({**CONTAINER, "aggregate": {"memory_max_bytes": 50 * GIB}}, {"memory_bytes": GIB})
    assert told(policy, "aggregate.memory_max") == (50 * GIB, "default")


def test_group_without_aggregate_null_is_free_of_the_defaults() -> None:
    policy = make_policy({**CONTAINER, "aggregate": {"memory_max_bytes": 50 * GIB}}, {"aggregate": None})
    assert {name: told(policy, name) for name in TABLE} == dict.fromkeys(TABLE, (None, "group:student"))


def test_total_without_a_limit_in_the_group_stays_so_for_an_override_of_its_parts() -> None:
    policy = make_policy(student={"aggregate": {"memory_max_bytes": None}}, alice={"memory_bytes": 96 * GIB})
    assert told(policy, "aggregate.memory_max") == (None, "group:student")


@pytest.mark.parametrize(
    ("defaults", "student", "alice", "high", "origin"),
    [
        ({}, {}, {}, 86 * GIB, "90% of memory_max"),
        ({"memory_high_bytes": GIB}, {}, {}, GIB, "default"),
        ({"memory_high_bytes": GIB}, {"memory_max_bytes": 20 * GIB}, {}, 18 * GIB, "90% of memory_max"),
        ({}, {"memory_high_bytes": GIB}, {}, GIB, "group:student"),
        ({}, {"memory_high_bytes": GIB}, {"memory_max_bytes": 20 * GIB}, 18 * GIB, "90% of memory_max"),
        ({}, {"memory_high_bytes": GIB}, {"memory_high_bytes": 2 * GIB}, 2 * GIB, "user:alice"),
        ({}, {"memory_high_bytes": GIB}, {"memory_max_bytes": None}, None, "user:alice"),
        ({}, {"memory_max_bytes": 20 * GIB}, {"memory_high_bytes": None}, None, "user:alice"),
        ({}, {"memory_max_bytes": 500 * MIB}, {}, 450 * MIB, "90% of memory_max"),
    ],
)
def test_memory_high_belongs_to_the_memory_max_it_was_written_for(
    defaults: dict[str, Any], student: dict[str, Any], alice: dict[str, Any], high: int | None, origin: str
) -> None:
    policy = make_policy(
        {**CONTAINER, "aggregate": defaults}, {"aggregate": student}, {"aggregate": alice} if alice else None
    )
    assert told(policy, "aggregate.memory_high") == (high, origin)


def test_io_limits_hold_only_where_they_are_configured() -> None:
    policy = make_policy(student={"aggregate": {"io_weight": 50}}, alice={"aggregate": {"io_read_iops_max": 7}})
    io = [name for name in BY_NAME if name.startswith("aggregate.io_")]
    assert {name: told(policy, name) for name in io} == {
        "aggregate.io_weight": (50, "group:student"),
        "aggregate.io_read_bw_max": (None, "not configured"),
        "aggregate.io_write_bw_max": (None, "not configured"),
        "aggregate.io_read_iops_max": (7, "user:alice"),
        "aggregate.io_write_iops_max": (None, "not configured"),
    }


# --- the admin group


ADMINS: dict[str, Any] = {"users": {"alice": "admin"}}


def test_admin_group_has_no_aggregate_even_where_the_defaults_have_one() -> None:
    policy = make_policy({**CONTAINER, "aggregate": {"memory_max_bytes": GIB}}, groups={"admin": {}}, **ADMINS)
    assert (resolve(policy, "alice").has_aggregate, told(policy, "aggregate.memory_max")) == (
        False,
        (None, "group:admin has no aggregate"),
    )


def test_admin_group_is_limited_where_it_says_so() -> None:
    policy = make_policy(groups={"admin": {"aggregate": {"memory_max_bytes": 500 * GIB}}}, **ADMINS)
    assert {name: told(policy, name) for name in TABLE} == {
        "aggregate.cpu_quota": (None, "group:admin has no aggregate"),
        "aggregate.memory_max": (500 * GIB, "group:admin"),
        "aggregate.memory_high": (450 * GIB, "90% of memory_max"),
        "aggregate.tasks_max": (None, "group:admin has no aggregate"),
    }


def test_override_of_an_admins_container_limits_no_total() -> None:
    policy = make_policy(alice={"memory_bytes": GIB, "max_containers": 2}, groups={"admin": {}}, **ADMINS)
    assert (told(policy, "memory"), resolve(policy, "alice").has_aggregate) == ((GIB, "user:alice"), False)


def test_override_may_limit_one_admin() -> None:
    policy = make_policy(alice={"aggregate": {"memory_max_bytes": GIB}}, groups={"admin": {}}, **ADMINS)
    assert told(policy, "aggregate.memory_max") == (GIB, "user:alice")


def test_another_group_is_not_the_admin_group() -> None:
    policy = make_policy(groups={"admins": {}}, users={"alice": "admins"})
    assert told(policy, "aggregate.memory_max")[0] == 96 * GIB


# --- switched off


def test_no_account_has_an_aggregate_when_they_are_switched_off() -> None:
    policy = make_policy(student=GROUP_STATES, alice=GROUP_STATES, aggregate_limits=False)
    off = (None, "enforcement.aggregate_limits is off")
    assert {name: told(policy, name) for name in TABLE} == dict.fromkeys(TABLE, off)


def test_containers_stay_limited_when_aggregates_are_switched_off() -> None:
    assert told(make_policy(aggregate_limits=False), "memory") == (32 * GIB, "default")


# --- groups and slices


def test_override_changes_neither_group_nor_slice() -> None:
    plain, overridden = make_policy(), make_policy(alice={"memory_bytes": None, "priority": 9999})
    both = [resolve(policy, "alice") for policy in (plain, overridden)]
    same = ("student", "ds01-student-alice.slice", True)
    assert [(limits.group, limits.slice_name, limits.listed) for limits in both] == [same, same]


@pytest.mark.parametrize(
    ("account", "unix_groups", "group"),
    [
        ("alice", (), "student"),
        ("alice", ("phds",), "student"),
        ("eve", (), "student"),
        ("eve", ("users", "phds"), "phd"),
        ("eve", ("profs", "phds"), "phd"),
        ("eve", ("profs",), "faculty"),
    ],
)
def test_linux_groups_decide_only_for_accounts_that_nobody_listed(
    account: str, unix_groups: tuple[str, ...], group: str
) -> None:
    policy = make_policy(groups={"phd": {}, "faculty": {}}, phd_unix="phds", faculty_unix="profs")
    assert group_of(policy, account, unix_groups) == group


@pytest.mark.parametrize(
    ("account", "uid", "slice_name"),
    [
        ("eve", 1001, "ds01-student-eve.slice"),
        ("a.lice", 1001, "ds01-student-a_lice_u1001.slice"),
        ("j.doe", 1001, "ds01-student-j_doe_u1001.slice"),
        ("j_doe", 1001, "ds01-student-j_doe_u1001.slice"),
        ("eve_u1", 1001, "ds01-student-eve_u1_u1001.slice"),
        ("Alice", 1001, "ds01-student-Alice_u1001.slice"),
        ("carl", 1001, "ds01-student-carl_u1001.slice"),
        ("eve", None, "ds01-student-eve.slice"),
    ],
)
def test_unlisted_account_never_gets_a_listed_ones_slice(account: str, uid: int | None, slice_name: str) -> None:
    policy = make_policy(groups={"staff": {}}, users={"alice": "student", "j-doe": "staff", "Carl": "staff"})
    limits = resolve(policy, account, uid=uid)
    assert (limits.slice_name, limits.listed, limits.group) == (slice_name, False, "student")


def test_unlisted_account_has_the_limits_of_the_default_group() -> None:
    policy = make_policy(student=GROUP_STATES)
    assert resolve(policy, "eve", uid=7).values == resolve_group(policy, "student").values


def test_override_of_an_unlisted_account_would_still_hold() -> None:
    policy = make_policy(alice={"memory_bytes": GIB}, users={})
    assert told(policy, "memory") == (GIB, "user:alice")


def test_name_that_could_reach_another_path_is_refused() -> None:
    with pytest.raises(BadNameError):
        resolve(make_policy(), "../../root", uid=0)


def test_group_alone_has_the_groups_slice() -> None:
    policy = make_policy(groups={"phd-a": {}})
    limits = resolve_group(policy, "phd-a")
    assert (limits.account, limits.group, limits.slice_name) == (None, "phd-a", "ds01-phd_a.slice")


def test_unknown_group_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownGroupError) as refused:
        resolve_group(make_policy(groups={"admin": {}}), "guests")
    assert refused.value.render() == "there is no group 'guests'\nTo fix: the policy has: student, admin"


def test_resolving_changes_no_layer() -> None:
    policy = make_policy(dict(CONTAINER), {"aggregate": {"memory_max_bytes": GIB}}, {"memory_bytes": GIB})
    before = repr(policy)
    resolve(policy, "alice")
    assert repr(policy) == before


# --- what each layer says, and how it is shown


def test_stated_tells_what_each_layer_says_strongest_first() -> None:
    policy = make_policy(CONTAINER, {"memory_bytes": None}, {"memory_bytes": GIB})
    limits = resolve(policy, "alice")
    assert stated(policy, limits, "memory") == (("user:alice", GIB), ("group:student", None), ("default", 32 * GIB))


def test_stated_leaves_out_layers_that_are_silent() -> None:
    policy = make_policy(CONTAINER, {"aggregate": None}, {"aggregate": {"tasks_max": 7}})
    limits = resolve(policy, "alice")
    assert (stated(policy, limits, "aggregate.tasks_max"), stated(policy, limits, "priority")) == (
        (("user:alice", 7), ("group:student", None)),
        (),
    )


def test_stated_of_a_group_has_no_account() -> None:
    policy = make_policy(CONTAINER, {"memory_bytes": GIB}, {"memory_bytes": 1})
    assert stated(policy, resolve_group(policy, "student"), "memory") == (("group:student", GIB), ("default", 32 * GIB))


def test_stated_of_an_unknown_limit_is_a_fault_of_the_caller() -> None:
    policy = make_policy()
    with pytest.raises(KeyError):
        stated(policy, resolve(policy, "alice"), "memroy")


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("memory", None, "unlimited"),
        ("memory", 96 * GIB, "96G"),
        ("allow_full_gpu", True, "yes"),
        ("allow_full_gpu", False, "no"),
        ("gpu_unit", "mig", "mig"),
        ("idle_timeout", 1800, "30m"),
        ("idle_timeout", 0, "0s"),
        ("aggregate.cpu_quota", 9600, "9600%"),
        ("aggregate.io_read_bw_max", 100_000_000, "100M"),
        ("max_containers", 3, "3"),
        ("max_cpus", 1.5, "1.5"),
        ("max_cpus", 32.0, "32"),
    ],
)
def test_value_is_shown_as_people_write_it(name: str, value: Value, text: str) -> None:
    assert format_value(BY_NAME[name], value) == text


def test_layer_with_a_value_of_no_known_kind_is_a_fault() -> None:
    with pytest.raises(TypeError):
        resolve(make_policy({"memory_bytes": []}), "alice")


def test_every_limit_is_resolved() -> None:
    limits: ResolvedLimits = resolve(make_policy(), "alice")
    assert sorted(limits.values) == sorted(BY_NAME)


def test_listed_accounts_get_what_resolving_each_gives(shipped: Policy) -> None:
    assert list(resolve_listed(shipped)) == [resolve(shipped, account) for account in shipped.users]
