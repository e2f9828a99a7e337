"""What an account has altogether: containers, memory, processes; refusals that are counted; parts that are broken."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.cgroups import GIB, make_group, make_mount, make_slice
from tests.engine.image import IMAGE
from tests.integration.dockers import docker
from tests.integration.wrapper_host import ADMIN, ALICE, BOB, WrapperHost, inspected, make_host

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.docker
SLICE = f"ds01-student-{ALICE}.slice"
SLEEP = (IMAGE, "sleep", "600")


@pytest.fixture
def host(tmp_path: Path, docker_host: str) -> WrapperHost:
    return make_host(tmp_path)


@pytest.fixture
def many(docker_host: str) -> Iterator[None]:
    """Containers without a name of their own are gone after the test."""
    yield
    if ids := docker("ps", "-aq", "--filter", "label=ds01.managed=true").split():
        docker("rm", "-f", *ids)


def test_what_runs_counts_whichever_way_it_came_to_run(host: WrapperHost, prefix: str) -> None:
    host.override(max_containers=2)
    a, b, c = (f"{prefix}-{each}" for each in "abc")
    host.must("run", "-d", "--name", a, *SLEEP)
    for name in (b, c):
        host.must("create", "--name", name, *SLEEP)
    host.must("start", b)
    refused = {verb: host.docker(verb, c) for verb in ("start", "restart")}
    refused |= {verb: host.docker(verb, *SLEEP) for verb in ("run", "create")}
    assert {verb: each.code for verb, each in refused.items()} == {"start": 1, "restart": 1, "run": 125, "create": 1}
    assert all("DS01 Container Quota Exceeded" in each.err for each in refused.values())
    assert f"2 containers ({b}, {a})" in refused["start"].err or f"2 containers ({a}, {b})" in refused["start"].err
    host.must("restart", "-t0", a)
    host.must("start", a)  # it runs already
    host.must("stop", "-t0", a)
    host.must("start", c)
    assert host.docker("start", a).code == 1
    host.must("run", "--rm", IMAGE, "true", account=BOB)


def test_twenty_at_once_pass_the_limit_by_none(host: WrapperHost, many: None) -> None:
    argv, env = host.argv("run", "-d", *SLEEP), host.env()
    started = [
        subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(20)
    ]
    said = [each.communicate(timeout=300) for each in started]
    codes = [each.returncode for each in started]
    assert sorted(codes) == [0] * 3 + [125] * 17, [err for _, err in said]
    assert len(docker("ps", "-q", "--filter", f"label=ds01.user={ALICE}").split()) == 3


def test_several_that_start_in_one_line_start_all_or_none(host: WrapperHost, prefix: str) -> None:
    host.override(max_containers=2)
    names = [f"{prefix}-{each}" for each in "abc"]
    for name in names:
        host.must("create", "--name", name, *SLEEP)
    assert host.docker("start", *names).code == 1
    assert [inspected(each)["State"]["Running"] for each in names] == [False] * 3
    host.must("start", *names[:2])


def test_administrators_are_refused_nothing_and_accounted(host: WrapperHost, prefix: str) -> None:
    host.override(ADMIN, max_containers=1, memory_bytes=GIB)
    for each in "ab":
        host.must("run", "-d", "--name", f"{prefix}-{each}", "-m2g", *SLEEP, account=ADMIN)
    made = inspected(f"{prefix}-b")
    assert made["Config"]["Labels"]["ds01.user"] == ADMIN
    assert made["HostConfig"]["CgroupParent"].startswith("ds01-")
    assert made["HostConfig"]["CgroupParent"].endswith(f"-{ADMIN}.slice")


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_rules_that_are_not_enforced(host: WrapperHost, prefix: str, mode: str) -> None:
    host.override(max_containers=1, memory_bytes=GIB, aggregate={"memory_max_bytes": 64 * GIB})
    for rule in ("containers", "limits"):
        host.rule(rule, mode)
    host.must("run", "-d", "--name", f"{prefix}-a", *SLEEP)
    said = host.docker("run", "-d", "--name", f"{prefix}-b", "-m2g", *SLEEP)
    warnings = [line for line in said.err.splitlines() if "allowed for now" in line]
    assert (said.code, len(warnings)) == (0, 2 if mode == "warn" else 0), said.err
    assert inspected(f"{prefix}-b")["HostConfig"]["Memory"] == 2 * GIB


# --- Memory and processes of all ---------------------------------------------------------------------------------------


def test_without_control_groups_the_limits_of_what_runs_are_summed(host: WrapperHost, prefix: str) -> None:
    host.override(aggregate={"memory_max_bytes": 5 * GIB})
    host.must("run", "-d", "--name", f"{prefix}-a", "-m3g", *SLEEP)
    assert host.events() == []  # nothing ran, so nothing was to be seen
    refused = host.docker("run", "-d", "-m3g", *SLEEP)
    assert refused.code == 125
    for text in ("DS01 Aggregate Memory Quota Exceeded", "3G (your containers may use that much)", "5G"):
        assert text in refused.err
    first, second = host.events()
    assert (first.event_type, first.details["check"]) == ("admission.fail_open", "run")
    assert str(first.details["text"]).startswith(f"FAIL-OPEN: {host.paths.cgroup}: ")
    figures = {name: second.details[name] for name in ("rule", "current", "requested", "limit")}
    assert figures == {"rule": "memory", "current": 3 * GIB, "requested": 3 * GIB, "limit": 5 * GIB}
    host.must("run", "-d", "--name", f"{prefix}-b", "-m2g", *SLEEP)


@pytest.mark.parametrize(
    ("current", "inactive", "code"), [(4 * GIB, 0, 125), (4 * GIB, 3 * GIB, 0), (3 * GIB, 0, 0), (3 * GIB + 2**20, 0, 125)]
)
def test_memory_in_use_refuses_and_page_cache_alone_does_not(
    host: WrapperHost, current: int, inactive: int, code: int
) -> None:
    host.override(aggregate={"memory_max_bytes": 5 * GIB})
    make_slice(make_mount(host.paths.cgroup), SLICE, current=current, inactive=inactive, pids=5)
    said = host.docker("run", "--rm", "-m2g", IMAGE, "true")
    assert said.code == code, said.err
    assert ("(in use right now)" in said.err) == (code == 125)
    assert [each.event_type for each in host.events()] == (["admission.refused"] if code else [])


def test_what_the_kernel_counts_is_there_whatever_docker_is_told(host: WrapperHost) -> None:
    host.override(max_containers=1, aggregate={"memory_max_bytes": 64 * GIB})
    account = make_slice(make_mount(host.paths.cgroup), SLICE)
    make_group(account / f"docker-{'a' * 64}.scope", memory_max=str(GIB))
    assert "DS01 Container Quota Exceeded" in host.docker("run", "--rm", IMAGE, "true").err
    host.override(max_containers=2, aggregate={"memory_max_bytes": 2 * GIB})
    assert "1G (your containers may use that much)" in host.docker("run", "--rm", "-m2g", IMAGE, "true").err
    host.must("run", "--rm", "-m1g", IMAGE, "true")


@pytest.mark.parametrize(("pids", "warned"), [(11058, False), (11060, True), (12288, True)])
def test_many_processes_are_told_of_and_refuse_nobody(host: WrapperHost, pids: int, *, warned: bool) -> None:
    make_slice(make_mount(host.paths.cgroup), SLICE, pids=pids)
    said = host.docker("run", "--rm", IMAGE, "true")
    assert (said.code, f"have {pids} of 12288 processes" in said.err) == (0, warned)


# --- Refusals that are counted -----------------------------------------------------------------------------------------


def test_ten_refusals_are_told_in_full_and_the_next_in_a_line(host: WrapperHost) -> None:
    said = [host.docker("run", "-m", "999g", *SLEEP) for _ in range(13)]
    assert {each.code for each in said} == {125}
    assert [each.err.startswith("┌") for each in said] == [True] * 10 + [False] * 3
    assert [each.err for each in said[10:]] == [
        f"ds01: run refused: DS01 Container Memory Limit Exceeded (refusal {number} within an hour; check-limits says"
        " more)\n"
        for number in (11, 12, 13)
    ]
    events = host.events()
    assert [each.event_type for each in events] == ["admission.refused"] * 11
    assert events[-1].details == {"text": "more refusals of this hour are only counted"}


# --- Broken parts ------------------------------------------------------------------------------------------------------


def test_without_a_policy_containers_start_and_gpus_and_others_are_out_of_reach(
    host: WrapperHost, prefix: str
) -> None:
    host.must("run", "-d", "--name", prefix, *SLEEP)
    host.paths.policy.unlink()
    assert host.docker("run", "--rm", IMAGE, "echo", "word").out == "word\n"
    (event,) = host.events()
    assert (event.event_type, event.user, event.details["check"]) == ("admission.fail_open", ALICE, "run")
    assert str(event.details["text"]).startswith("FAIL-OPEN: ")
    refused = host.docker("run", "--rm", "--gpus", "1", IMAGE, "true")
    assert (refused.code, "no GPU can be given: the policy cannot be read" in refused.err) == (125, True)
    for words in (("kill", prefix), ("start", prefix), ("run", "--rm", "--volumes-from", prefix, IMAGE, "true")):
        said = host.docker(*words, account=BOB)
        assert (said.code > 0, f"container owned by {ALICE} ({prefix})" in said.err) == (True, True), said.err
    assert host.must("kill", prefix) == prefix


@pytest.mark.parametrize("text", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\ncat >/dev/null\nexit 1\n", None, "#!/bin/sh\necho nonsense\n"])
def test_a_broken_helper_lets_containers_start_and_nothing_else(
    host: WrapperHost, prefix: str, text: str | None
) -> None:
    host.must("run", "-d", "--name", prefix, *SLEEP)
    host.helper.unlink()
    if text is not None:
        host.helper.write_text(text)
        host.helper.chmod(0o755)
    said = host.docker("run", "--rm", IMAGE, "echo", "word")
    assert (said.code, said.out, "the container starts without its checks" in said.err) == (0, "word\n", True)
    for words in (("--gpus", "1"), ("-e", "NVIDIA_VISIBLE_DEVICES=all"), ("--runtime=nvidia",), ("--gpus=all",)):
        said = host.docker("run", "--rm", *words, IMAGE, "true")
        assert (said.code, "no GPU can be handed out" in said.err) == (125, True)
    for words in (("kill", prefix), ("exec", prefix, "true"), ("inspect", prefix)):
        said = host.docker(*words)
        assert (said.code, "nobody can tell whose container that is" in said.err) == (1, True)
    assert host.docker("restart", "-t0", prefix).code == 0
