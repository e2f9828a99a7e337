"""What does not hold for running containers: where they run, whose they are, which GPU; one by one and in sum."""

from __future__ import annotations

import pytest

from ds01.core.policy import Policy
from ds01.deployer.containers import Finding, Homes, Lack, RunningContainer, describe, look_at_containers, summarise

HOMES = Homes(
    {"alice": "ds01-student-alice.slice", "j.doe@lab-x.org": "ds01-researcher-j_doe_lab_x_org.slice"},
    frozenset({"ds01.slice", "ds01-other.slice", "ds01-student.slice", "ds01-researcher.slice"}),
    frozenset({"prometheus"}),
)
STUDENTS = "/ds01.slice/ds01-student.slice"
ALICE = f"{STUDENTS}/ds01-student-alice.slice/docker-1.scope"
OWN = {"ds01.user": "alice"}


def runs(name: str, cgroup: str, labels: dict[str, str] | None = None, *, has_gpu: bool = False) -> RunningContainer:
    return RunningContainer(name, has_gpu, cgroup, labels or {})


OUTSIDE = "no limit over all containers of its account holds for it"
SHARED = "which many share, so no limit of its account's own holds for it"
CASES: dict[str, tuple[RunningContainer, dict[Lack, str]]] = {
    "in its slice, labelled": (runs("a", ALICE, OWN), {}),
    "with a recorded GPU": (runs("a", ALICE, OWN | {"ds01.allocation": "7f3a"}, has_gpu=True), {}),
    "with control groups of its own inside": (runs("a", f"{ALICE}/init.scope", OWN), {}),
    "listed as a system container": (runs("prometheus", "/system.slice/docker-1.scope", has_gpu=True), {}),
    "of an account that nobody listed": (
        runs("a", f"{STUDENTS}/ds01-student-eve.slice/docker-1.scope", {"ds01.user": "eve"}),
        {},
    ),
    "no one knows where it runs": (runs("a", "", OWN), {}),
    "outside, unlabelled, with a GPU": (
        runs("train", "/system.slice/docker-1.scope", has_gpu=True),
        {
            Lack.OUTSIDE: f"runs outside DS01's slices (system.slice), so {OUTSIDE}",
            Lack.OWNER: "it carries no owner label",
            Lack.GPU: "its GPU is in no record",
        },
    ),
    "in a slice that systemd did not make": (
        runs("a", "/ds01-student-alice.slice/0123", OWN),
        {
            Lack.OUTSIDE: "runs outside DS01's slices (/ds01-student-alice.slice, which is no slice of systemd's),"
            f" so {OUTSIDE}"
        },
    ),
    "in Docker's own folder": (
        runs("a", "/docker/0123", OWN),
        {Lack.OUTSIDE: f"runs outside DS01's slices (/docker, which is no slice of systemd's), so {OUTSIDE}"},
    ),
    "in the top slice": (
        runs("a", "/ds01.slice/docker-1.scope", OWN),
        {Lack.SHARED: f"runs in ds01.slice, {SHARED}"},
    ),
    "in its group's slice": (
        runs("a", f"{STUDENTS}/docker-1.scope", OWN),
        {Lack.SHARED: f"runs in ds01-student.slice, {SHARED}"},
    ),
    "in the slice for what has no parent": (
        runs("a", "/ds01.slice/ds01-other.slice/docker-1.scope", OWN),
        {Lack.SHARED: f"runs in ds01-other.slice, {SHARED}"},
    ),
    "in a slice with a name of the older kind": (
        runs(
            "a",
            "/ds01.slice/ds01-researcher.slice/ds01-researcher-j_doe.slice/docker-1.scope",
            {"ds01.user": "j.doe@lab-x.org"},
        ),
        {
            Lack.ELSEWHERE: "runs in ds01-researcher-j_doe.slice and not in ds01-researcher-j_doe_lab_x_org.slice,"
            " its account's"
        },
    ),
    "labelled by an older system": (
        runs("a", ALICE, {"aime.mlc.USER": "alice"}),
        {Lack.OLDER_OWNER: "only the older label aime.mlc.USER says that it is alice's"},
    ),
    "made by an editor": (
        runs("a", ALICE, {"devcontainer.local_folder": "/home/alice/code"}),
        {Lack.OLDER_OWNER: "only the older label devcontainer.local_folder says that it is alice's"},
    ),
    "made by an editor outside anybody's home": (
        runs("a", ALICE, {"devcontainer.local_folder": "/srv/code"}),
        {Lack.OWNER: "it carries no owner label"},
    ),
}


@pytest.mark.parametrize(("container", "lacks"), CASES.values(), ids=CASES)
def test_each_container_is_told_what_it_lacks(container: RunningContainer, lacks: dict[Lack, str]) -> None:
    expected = (Finding(container.name, lacks),) if lacks else ()
    assert look_at_containers([container], HOMES) == expected


def test_few_are_told_one_by_one() -> None:
    findings = look_at_containers([CASES["outside, unlabelled, with a GPU"][0]], HOMES)
    assert describe(findings) == (
        (
            f"train: runs outside DS01's slices (system.slice), so {OUTSIDE}; it carries no owner label;"
            " its GPU is in no record. It goes on; create it anew for all of it to hold"
        ),
    )


def test_forty_are_told_in_a_few_lines() -> None:
    running = [
        runs(f"c{number:02}", "/system.slice/docker-1.scope", OWN if number < 30 else {}, has_gpu=number % 2 == 0)
        for number in range(40)
    ]
    assert describe(look_at_containers(running, HOMES)) == (
        (
            "40 containers outside DS01's slices, so no limit over all containers of an account holds for them:"
            " c00, c01, c02, c03, c04 and 35 more"
        ),
        "10 containers without an owner label: c30, c31, c32, c33, c34 and 5 more",
        "20 containers with a GPU that is in no record: c00, c02, c04, c06, c08 and 15 more",
        "all 40 go on: nothing stops them; create them anew, when their owners can, for all of it to hold",
    )


def test_nothing_lacks_says_nothing() -> None:
    assert (describe(()), summarise(())) == ((), ())


def test_homes_come_from_the_compiled_policy() -> None:
    limits = {"max_cpus": 1, "memory_bytes": 1, "max_containers": 1, "pids_limit": 1}
    document = {
        "version": 1,
        "default_group": "student",
        "defaults": limits,
        "groups": {"student": {"description": "", "unix_group": None, "limits": {}}},
        "users": {"j.doe@lab-x.org": {"group": "student"}},
        "user_overrides": {},
        "host": {"cpus": 1},
        "enforcement": {"aggregate_limits": True},
    }
    listed = document | {"access_control": {"system_containers": ["prometheus"]}}
    homes = Homes(
        {"j.doe@lab-x.org": "ds01-student-j_doe_lab_x_org.slice"},
        frozenset({"ds01.slice", "ds01-other.slice", "ds01-student.slice"}),
        frozenset({"prometheus"}),
    )
    assert Homes.of(Policy.from_document(listed)) == homes
    assert Homes.of(Policy.from_document(document)).system == frozenset()
