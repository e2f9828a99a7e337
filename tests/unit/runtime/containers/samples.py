"""What the tests of admission have in common: accounts with limits of their own, and GPUs they are given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.unit.runtime.gpu.hosts import LAB, held

from ds01.core.limits import BY_NAME, LimitValue, ResolvedLimits, Value, resolve
from ds01.core.names import SliceName
from ds01.core.policy import Policy
from ds01.core.rules import Mode, Rule, Rules, read_rules
from ds01.runtime.containers.admission import Refusal
from ds01.runtime.containers.request import AccountRules
from ds01.runtime.gpu.answer import Grant
from ds01.runtime.identity import Caller

SHIPPED = Path(__file__).resolve().parents[4] / "generated/ds01/root/etc/ds01/policy.json"
GIB = 2**30
ALICE = Caller(1001, "alice", is_admin=False)
ADMIN = Caller(1000, "sysop", is_admin=True)
GRANT = Grant(held("alice", "2:0"), LAB.units[2:3], ("CUDA uses one of them",))
NO_GPU = Refusal(Rule.GPU, "DS01 No GPU Free", (("Requested", "GPU 1"),), "None is free.", ("Wait",))
# No two of them alike, so that a value in the wrong place shows.
LIMITS: Mapping[str, Value] = {
    "max_containers": 3,
    "memory": 8 * GIB,
    "max_cpus": 4,
    "shm_size": 2 * GIB,
    "pids_limit": 500,
    "ipc_mode": "private",
    "aggregate.memory_max": 20 * GIB,
    "aggregate.tasks_max": 1000,
}


def account(modes: Mapping[Rule, Mode] | None = None, **changes: Value) -> AccountRules:
    """Return an account's rules; `memory_max` and `tasks_max` are those over all containers."""
    stated = dict(LIMITS)
    for name, value in changes.items():
        stated[name if name in BY_NAME else f"aggregate.{name}"] = value
    values = {name: LimitValue(stated.get(name, limit.builtin), "test", 1) for name, limit in BY_NAME.items()}
    limits = ResolvedLimits(
        "alice", "student", listed=True, slice_name=SliceName("ds01-student-alice.slice"), values=values
    )
    return AccountRules(limits, Rules(dict.fromkeys(Rule, Mode.ENFORCE) | dict(modes or {})))


def shipped(name: str) -> AccountRules:
    """Return the rules of an account, listed or not, by the policy that comes with DS01."""
    policy = Policy.from_document(json.loads(SHIPPED.read_text(encoding="utf-8")))
    return AccountRules(resolve(policy, name, uid=4711), read_rules(policy))
