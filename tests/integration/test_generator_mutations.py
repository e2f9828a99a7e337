"""Whatever is done to the shipped inventory, validation answers: with problems, or with a policy that works."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ds01.core.limits import resolve
from ds01.core.policy import Policy
from ds01.core.value import replace
from ds01.generator.build import validate
from ds01.generator.environment import make_environment
from ds01.generator.inventory import Documents, Member, load_inventory
from ds01.generator.manifest import load_artefacts
from ds01.generator.model import make_model
from ds01.generator.problems import Place
from ds01.generator.render import render_tree
from ds01.generator.schema import load_schemas
from ds01.generator.yamltext import read_yaml

CHECKOUT = Path(__file__).resolve().parents[2]
SCHEMAS = load_schemas(CHECKOUT / "schemas")
INVENTORY = CHECKOUT / "tests" / "golden" / "lab" / "inventory"
POLICY = (INVENTORY / "resource-limits.yaml").read_text().splitlines()
HOST = (INVENTORY / "hosts" / "box.yaml").read_text().splitlines()
# What people put in a place by mistake.
VALUES = (
    "", "null", "true", "off", "-1", "0", "1", "0.5", "1e3", "1e16", "999999999", "9223372036854775807", "64x", "64g",
    "30", "30m", "0s", "10%", "0%", "[]", "{}", "[alice, alice]", "[~]", "{a: b}", "12:30", "2026-01-31", '"\\n"',
    "*x", "!!int 5", "|", "student", "a-b", '"x y"', "é",
)  # fmt: skip
LINES = ("  alice:", "groups:", "    members: [bob, bo.b, bo-b]", "\tx: 1", "- a", "zzz: 1", "    aggregate: null", "")
NAMES = st.sampled_from(["alice", "a.b", "a-b", "a_b", "ALICE", "-x", "x_u5", "é", "a\nb", "a" * 70])

edits = st.lists(
    st.tuples(
        st.sampled_from(["delete", "double", "value", "swap", "line", "indent"]),
        st.integers(0, 10**6),
        st.sampled_from(VALUES),
        st.sampled_from(LINES),
    ),
    min_size=1,
    max_size=4,
)


def mutate(lines: list[str], changes: list[tuple[str, int, str, str]]) -> str:
    lines = list(lines)
    for kind, number, value, line in changes:
        at = number % max(1, len(lines))
        if not lines:
            break
        match kind:
            case "delete":
                del lines[at]
            case "double":
                lines.insert(at, lines[at])
            case "value":
                lines[at] = f"{lines[at].split(':')[0]}: {value}"
            case "swap":
                lines[at], lines[0] = lines[0], lines[at]
            case "line":
                lines.insert(at, line)
            case _:
                lines[at] = " " + lines[at]
    return "\n".join(lines)


@functools.cache
def shipped() -> Documents:
    return load_inventory(INVENTORY)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policy=edits, host=edits | st.just([]), members=st.lists(NAMES, max_size=3))
def test_validation_answers_and_what_it_accepts_can_be_rendered(
    policy: list[tuple[str, int, str, str]], host: list[tuple[str, int, str, str]], members: list[str]
) -> None:
    policy_file, policy_problems = read_yaml(mutate(POLICY, policy), "inventory/resource-limits.yaml")
    host_file, host_problems = read_yaml(mutate(HOST, host), "inventory/hosts/box.yaml")
    more = tuple(Member(name, Place("inventory/groups/staff.members", 1)) for name in members)
    documents = replace(
        shipped(),
        policy=replace(policy_file, data=policy_file.data if isinstance(policy_file.data, dict) else None),
        hosts={"box": replace(host_file, data=host_file.data if isinstance(host_file.data, dict) else None)},
        members={**shipped().members, "staff": more},
        problems=(*policy_problems, *host_problems),
    )
    problems, compiled = validate(documents, "box", SCHEMAS)
    assert all(problem.text and problem.fix and problem.place.line for problem in problems)
    if any(not problem.notice for problem in problems) or policy_file.data is None or host_file.data is None:
        return
    document = json.loads(json.dumps(compiled, allow_nan=False))
    assert list(SCHEMAS.validator("policy").iter_errors({"generated": "", **document})) == []
    accepted = Policy.from_document(document)
    slices = [resolve(accepted, account).slice_name for account in accepted.users]
    assert len(slices) == len(set(slices))
    templates = CHECKOUT / "templates"
    tree = render_tree(make_model(document), load_artefacts(templates, SCHEMAS), make_environment(templates))
    broken = [line for file in tree for line in file.content.splitlines() if line in UNTAKEN]
    assert broken == []


# Lines that systemd would ignore, so that a limit would silently not hold.
UNTAKEN = frozenset({"CPUQuota=0%", "MemoryMax=0", "MemoryHigh=0", "TasksMax=0", "CPUWeight=0", "CPUWeight=None"})
