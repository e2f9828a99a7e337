"""A line's options are one request, and an admission is a line again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.runtime.gpu.engines import inspected
from tests.unit.runtime.wrapper.desks import GIB, SHIPPED, line

from ds01.core.errors import BadInputError, Ds01Error, RefusedError
from ds01.core.gpurequest import Asked, GpuRequest
from ds01.core.limits import resolve
from ds01.core.policy import Policy
from ds01.core.rules import Mode, Rule, Rules
from ds01.core.value import replace
from ds01.runtime.containers.admission import Admission, settings_for
from ds01.runtime.containers.container import Container, State, read_container
from ds01.runtime.containers.request import AccountRules, ContainerRequest, Verb
from ds01.runtime.wrapper.options import (
    Marks,
    parent_asked,
    read_request,
    read_update,
    type_of,
    write_line,
    write_update,
)

MARKS = Marks("alice", "2026-03-01T09:00:00.000001Z", "ds01-student-alice.slice")
LABELS = (
    "--cgroup-parent=ds01-student-alice.slice",
    "--label=ds01.user=alice",
    "--label=ds01.managed=true",
    "--label=ds01.container_type=docker",
    "--label=ds01.created_at=2026-03-01T09:00:00.000001Z",
    "--label=ds01.slice=ds01-student-alice.slice",
    "--label=ds01.protected=false",
)
VOID = "--env=NVIDIA_VISIBLE_DEVICES=void"
MEMORY = (f"--memory={32 * GIB}", f"--memory-swap={32 * GIB}")
REST = ("--pids-limit=4096", f"--shm-size={16 * GIB}")


def rules(**modes: Mode) -> AccountRules:
    policy = Policy.from_document(json.loads(SHIPPED.read_text()))
    return AccountRules(resolve(policy, "alice"), Rules({rule: modes.get(rule.value, Mode.ENFORCE) for rule in Rule}))


def written(*words: str, **modes: Mode) -> tuple[str, ...]:
    parsed, holds = line("run", *words), rules(**modes)
    request = read_request(parsed, "")
    return write_line(parsed, request, Admission(settings_for(request, holds), 0), holds, MARKS)


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ((), ContainerRequest(Verb.RUN)),
        (("--name", "web"), ContainerRequest(Verb.RUN, "web")),
        (("-m2g", "--memory", "1.5g"), ContainerRequest(Verb.RUN, memory_bytes=3 * GIB // 2)),
        (("--memory=0",), ContainerRequest(Verb.RUN)),
        (("--cpus", "1.5"), ContainerRequest(Verb.RUN, nano_cpus=1_500_000_000)),
        (("--cpu-quota=50000",), ContainerRequest(Verb.RUN, nano_cpus=500_000_000)),
        (("--cpu-quota=50000", "--cpu-period=10000"), ContainerRequest(Verb.RUN, nano_cpus=5_000_000_000)),
        (("--cpu-quota=-1",), ContainerRequest(Verb.RUN)),
        (("--pids-limit", "-1"), ContainerRequest(Verb.RUN, pids=-1)),
        (("--shm-size=1g", "--ipc=private"), ContainerRequest(Verb.RUN, shm_bytes=GIB, ipc_mode="private")),
        (("--gpus", "2"), ContainerRequest(Verb.RUN, gpu=GpuRequest(Asked.COUNT, ("0", "1")))),
        (("--gpus=all",), ContainerRequest(Verb.RUN, gpu=GpuRequest(Asked.ALL))),
        (("--runtime=nvidia",), ContainerRequest(Verb.RUN, gpu=GpuRequest(Asked.ALL))),
        (("-eNVIDIA_VISIBLE_DEVICES=0:1",), ContainerRequest(Verb.RUN, gpu=GpuRequest(Asked.NAMED, ("0:1",)))),
        (("-e", "NVIDIA_VISIBLE_DEVICES=void"), ContainerRequest(Verb.RUN)),
        (("--device=nvidia.com/gpu=all",), ContainerRequest(Verb.RUN, gpu=GpuRequest(Asked.ALL))),
        (("--device=/dev/fuse",), ContainerRequest(Verb.RUN)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_options_are_read_as_the_client_reads_them(words: tuple[str, ...], request_: ContainerRequest):
    assert read_request(line("run", *words, "image", "--memory=9g", "--gpus=all"), "") == request_


def test_a_variable_is_passed_on_by_its_name():
    parsed = line("create", "-e", "NVIDIA_VISIBLE_DEVICES", "image")
    assert read_request(parsed, "all") == ContainerRequest(Verb.CREATE, gpu=GpuRequest(Asked.ALL))
    assert read_request(parsed, "") == ContainerRequest(Verb.CREATE)


@pytest.mark.parametrize(
    "words",
    [
        ("--memory=much",),
        ("--memory=",),
        ("--memory-swap=much",),
        ("--cpus=1/2",),
        ("--pids-limit=0x10",),
        ("--shm-size=-1",),
        ("--gpus=none",),
        ("--gpus", "device=0,1"),
        ("--device=/dev/nvidia0",),
    ],
    ids=" ".join,
)
def test_what_cannot_be_read_or_given_is_refused(words: tuple[str, ...]):
    with pytest.raises(Ds01Error) as caught:
        read_request(line("run", *words, "image"), "")
    assert isinstance(caught.value, BadInputError) or "is not given" in caught.value.brief
    assert caught.value.resolution


def test_a_line_that_says_nothing_gets_everything():
    assert written("-it", "alpine", "cmd", "--memory", "1g") == (
        "run", "--interactive", "--tty", *LABELS, *MEMORY, "--cpus=32", *REST, VOID, "alpine", "cmd", "--memory", "1g",
    )  # fmt: skip


def test_what_a_line_says_within_the_limits_stays_where_it_is():
    assert written("-m2g", "--cpus=0.5", "--pids-limit=64", "--shm-size", "1g", "alpine") == (
        "run", "--cpus=0.5", "--pids-limit=64", "--shm-size=1g", *LABELS,
        f"--memory={2 * GIB}", f"--memory-swap={2 * GIB}", VOID, "alpine",
    )  # fmt: skip


def test_a_quota_of_cpus_in_the_older_way_takes_the_place_of_cpus():
    assert "--cpus=32" not in written("--cpu-quota=50000", "alpine")
    # A period alone would clash with --cpus.
    assert "--cpu-quota=320000" in written("--cpu-period=10000", "alpine")
    assert [word for word in written("--cpus=0", "--cpu-quota=-1", "alpine") if "cpu" in word] == ["--cpus=32"]
    # It would go before --cpus.
    assert [word for word in written("--cpus=2", "--cpu-quota=-1", "alpine") if "cpu" in word] == ["--cpus=2"]


def container(**limits: int) -> Container:
    made = {"Memory": 0, "NanoCpus": 0, "CpuQuota": 0, "CpuPeriod": 0, **limits}
    said: dict[str, Any] = inspected("web")
    said["HostConfig"] |= made
    return read_container(said)


@pytest.mark.parametrize(
    ("limits", "words", "nano_cpus"),
    [
        ({"NanoCpus": 10**9}, ("--cpus=2",), 2 * 10**9),
        ({"NanoCpus": 10**9}, ("--cpu-quota=-1",), -(10**9)),
        ({"NanoCpus": 10**9}, ("--cpus=1", "--cpu-quota=-1"), -(10**9)),
        ({"NanoCpus": 10**9}, ("--cpu-quota=0",), None),
        ({"NanoCpus": 10**9}, ("--cpu-period=1000",), 100 * 10**9),
        ({"CpuQuota": 200_000}, ("--cpu-period=1000",), 200 * 10**9),
        ({"CpuQuota": 200_000}, ("--cpu-quota=400000",), 4 * 10**9),
        ({"CpuQuota": 200_000, "CpuPeriod": 10_000}, ("--cpu-quota=400000",), 40 * 10**9),
        ({"CpuQuota": 200_000, "CpuPeriod": 10_000}, ("--cpu-quota=400000", "--cpu-period=100000"), 4 * 10**9),
        ({}, ("--cpu-quota=400000",), 4 * 10**9),
        ({}, ("--cpu-period=1000",), None),
        ({"CpuQuota": -1}, ("--cpu-period=1000",), None),
        ({"NanoCpus": 10**9}, ("--cpu-shares=2",), None),
    ],
)
def test_an_update_is_what_a_container_may_have_afterwards(
    limits: dict[str, int], words: tuple[str, ...], nano_cpus: int | None
):
    wish = read_update(line("update", *words, "web"), container(**limits))
    assert wish == ContainerRequest(Verb.UPDATE, "web", nano_cpus=nano_cpus, is_live=True)


def test_an_update_says_by_how_much_memory_is_raised_of_what_runs():
    one = container(Memory=GIB)
    more = {
        words: read_update(line("update", *words, "web"), one).more_bytes
        for words in (("--memory=3g",), ("--memory=1g",), ("--memory=512m",), ("--memory=0",), ("--cpus=1",))
    }
    assert list(more.values()) == [2 * GIB, 0, 0, 0, 0]
    three = line("update", "--memory=3g", "web")
    assert read_update(three, replace(one, state=State.EXITED)).more_bytes == 0
    assert read_update(three, container()).more_bytes == 0


ONE, TWO = container(Memory=GIB), container(Memory=2 * GIB)
UPDATES: dict[tuple[str, ...], tuple[tuple[Container, ...], tuple[str, ...] | None]] = {
    ("-m2g", "--memory-swap=-1", "web"): (
        (ONE,),
        ("update", f"--memory={2 * GIB}", f"--memory-swap={2 * GIB}", "web"),
    ),
    ("--memory", "512m", "--cpus=1", "a", "b"): (
        (ONE, TWO),
        ("update", "--cpus=1", f"--memory={GIB // 2}", f"--memory-swap={GIB // 2}", "a", "b"),
    ),
    ("--memory-swap=-1", "web"): ((ONE,), ("update", f"--memory-swap={GIB}", "web")),
    ("--memory-swap=4g", "--cpus=1", "a", "b"): ((ONE, TWO), ("update", "--cpus=1", "a", "b")),
    ("--memory-swap=-1", "legacy"): ((container(),), ("update", "legacy")),
    ("--cpus=1", "--pids-limit=3", "web"): ((ONE,), None),
}


@pytest.mark.parametrize(("words", "there", "written"), [(w, t, u) for w, (t, u) in UPDATES.items()])
def test_an_update_gives_no_swap(words: tuple[str, ...], there: tuple[Container, ...], written: tuple[str, ...] | None):
    assert write_update(line("update", *words), there, rules()) == written
    assert write_update(line("update", *words), there, rules(limits=Mode.OFF)) is None


def test_what_only_ds01_says_is_left_out():
    words = (
        "-lds01.user=bob", "--label", "ds01.protected=true", "-l", "aime.mlc.USER=bob", "-l", "mine=1", "-eA=1",
        "-e", "NVIDIA_VISIBLE_DEVICES=none", "--env=CUDA_VISIBLE_DEVICES=0", "--cgroup-parent=x.slice",
    )  # fmt: skip
    assert written(*words, "alpine") == (
        "run", "--label=mine=1", "--env=A=1", *LABELS, *MEMORY, "--cpus=32", *REST, VOID, "alpine",
    )  # fmt: skip


def test_a_file_of_labels_is_overruled():
    assert {"--label=ds01.protected=false", "--label=ds01.allocation="} <= set(written("--label-file=x", "alpine"))


def test_without_the_rule_of_limits_nothing_of_them_is_touched():
    assert written("-m2g", "--memory-swap=-1", "alpine", limits=Mode.OFF) == (
        "run", "--memory=2g", "--memory-swap=-1", *LABELS, VOID, "alpine",
    )  # fmt: skip


def test_the_machines_shared_memory_comes_alone():
    holds = rules()
    shared = replace(
        holds.limits, values={**holds.limits.values, "ipc_mode": replace(holds.limits["ipc_mode"], value="host")}
    )
    parsed = line("run", "alpine")
    request = read_request(parsed, "")
    settings = settings_for(request, AccountRules(shared, holds.rules))
    line_ = write_line(parsed, request, Admission(settings, 0), holds, MARKS)
    assert "--ipc=host" in line_
    assert not any("shm" in word for word in line_)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("-l", "devcontainer.metadata=[]"), "devcontainer"),
        (("-l", "com.docker.compose.project=x"), "compose"),
        (("-l", "devcontainers=1"), "docker"),
        ((), "docker"),
    ],
)
def test_the_tool_is_told_by_its_labels(words: tuple[str, ...], kind: str):
    assert type_of(line("run", *words, "alpine")).value == kind


def test_the_last_slice_that_is_asked_for_counts():
    assert parent_asked(line("run", "--cgroup-parent=a.slice", "--cgroup-parent", "b.slice", "x")) == "b.slice"
    assert parent_asked(line("run", "x")) is None


@pytest.mark.parametrize("rule", ["c 195:* rwm", "c 0195:0 r", "c *:* rwm", "a *:* rwm", "a", "c 195:0 rw"])
def test_a_rule_that_lets_the_driver_in_is_refused(rule: str):
    with pytest.raises(RefusedError, match="device rule"):
        read_request(line("run", f"--device-cgroup-rule={rule}", "image"), "")


def test_rules_and_devices_of_others_stay():
    words = ("--device-cgroup-rule=c 189:* rmw", "--device-cgroup-rule=b 8:0 r", "--device=vendor.com/fpga=1")
    assert [word for word in written(*words, "--device=nvidia.com/gpu=all", "alpine") if "device" in word] == list(
        words
    )
