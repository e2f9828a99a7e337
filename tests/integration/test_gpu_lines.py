"""From a line to what it asks for and back, without an engine: each way to ask for a GPU, and the line that is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.integration.test_admission_edges import FILLED, GIB, rules
from tests.unit.runtime.gpu.hosts import LAB, held

from ds01.core.errors import BadInputError
from ds01.core.gpurequest import Asked, GpuRequest
from ds01.core.rules import Mode, Rule
from ds01.core.value import replace
from ds01.runtime.client.arguments import parse
from ds01.runtime.client.tables import load
from ds01.runtime.containers.admission import Admission
from ds01.runtime.containers.gpuasks import GpuAskError, asked_gpus, device_request
from ds01.runtime.containers.request import ContainerRequest, Settings, Verb
from ds01.runtime.gpu.answer import Grant
from ds01.runtime.wrapper.options import Marks, read_request, write_line

if TYPE_CHECKING:
    from collections.abc import Sequence

ALL: Final = GpuRequest(Asked.ALL)
MARKS: Final = Marks("alice", "2026-03-01T12:00:00.000001Z", "ds01-student-alice.slice")
MARKED: Final = (
    "--cgroup-parent=ds01-student-alice.slice",
    "--label=ds01.user=alice",
    "--label=ds01.managed=true",
    "--label=ds01.container_type=docker",
    "--label=ds01.created_at=2026-03-01T12:00:00.000001Z",
    "--label=ds01.slice=ds01-student-alice.slice",
    "--label=ds01.protected=false",
)
LIMITED: Final = (
    f"--memory={4 * GIB}",
    f"--memory-swap={4 * GIB}",
    "--cpus=2",
    "--pids-limit=100",
    f"--shm-size={GIB}",
)
NO_GPU: Final = "--env=NVIDIA_VISIBLE_DEVICES=void"


def wish(*words: str, visible: str = "") -> ContainerRequest:
    return read_request(parse(("run", *words, "busybox"), load("28.2")), visible)


def line(
    *words: str, grant: Grant | None = None, settings: Settings = FILLED, mode: Mode = Mode.ENFORCE
) -> tuple[str, ...]:
    parsed = parse(("run", *words, "busybox", "-m"), load("28.2"))
    admission = Admission(settings, 0, grant)
    return write_line(parsed, read_request(parsed, ""), admission, rules({Rule.LIMITS: mode}), MARKS)


# --- Ways of asking ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], None),
        (["--gpus=all"], ALL),
        (["--gpus=-1"], BadInputError),
        (["--gpus=0"], BadInputError),
        (["--gpus="], BadInputError),
        (["--gpus=2"], GpuRequest(Asked.COUNT, ("0", "1"))),
        (["--gpus=count=2"], GpuRequest(Asked.COUNT, ("0", "1"))),
        (["--gpus=device=0:1"], GpuRequest(Asked.NAMED, ("0:1",))),
        (["--gpus", '"device=0,1"'], GpuRequest(Asked.NAMED, ("0", "1"))),
        (["--gpus=device=0,1"], BadInputError),
        (["--gpus=device=0,device=1"], BadInputError),
        (["--gpus=x=1"], BadInputError),
        (["--gpus=1,driver=other"], GpuAskError),
        (["--gpus=1,driver=nvidia"], GpuRequest(Asked.COUNT, ("0",))),
        (["--gpus=1", "--env=NVIDIA_VISIBLE_DEVICES=all"], GpuRequest(Asked.COUNT, ("0",))),
        (["--device=nvidia.com/gpu=0"], GpuRequest(Asked.NAMED, ("0",))),
        (["--runtime=nvidia"], ALL),
        (["--runtime=nvidia", "--env=NVIDIA_VISIBLE_DEVICES=void"], None),
        (["--runtime=runc"], None),
        (["--env=NVIDIA_VISIBLE_DEVICES=all"], ALL),
        (["--env=NVIDIA_VISIBLE_DEVICES=1"], GpuRequest(Asked.NAMED, ("1",))),
        (["--env=NVIDIA_VISIBLE_DEVICES=all", "--env=NVIDIA_VISIBLE_DEVICES=none"], None),
        (["--env=NVIDIA_VISIBLE_DEVICES=none", "--env=NVIDIA_VISIBLE_DEVICES=all"], ALL),
        (["--env=NVIDIA_VISIBLE_DEVICES="], None),
        (["--env=NVIDIA_VISIBLE_DEVICES=0;1"], GpuAskError),
        (["--env=CUDA_VISIBLE_DEVICES=0"], None),
        (["--device=/dev/fuse"], None),
        (["--device=/dev/nvidia0"], GpuAskError),
        (["--device=/dev//nvidiactl:/dev/x"], GpuAskError),
        (["--device=/dev/./nvidia-uvm"], GpuAskError),
        (["--device=dev/nvidia0"], GpuAskError),
        (["--device=/dev"], GpuAskError),
        (["--device=/dev/char"], GpuAskError),
        (["--device=/dev/char/10:229"], None),
        (["--device=/dev/shm/link"], GpuAskError),
        (["--device=/dev/fd/3"], GpuAskError),
        (["--device=/dev/x/../nvidia0"], GpuAskError),
        (["--device=/tmp/link"], GpuAskError),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_each_way_of_asking_for_a_gpu(words: Sequence[str], asked: Any) -> None:
    if isinstance(asked, type):
        with pytest.raises(asked):
            wish(*words)
    else:
        assert wish(*words).gpu == asked


def test_a_variable_that_is_passed_on_by_its_name_asks_as_its_value_does() -> None:
    assert wish("--env=NVIDIA_VISIBLE_DEVICES", visible="all").gpu == ALL
    assert wish("--env=NVIDIA_VISIBLE_DEVICES", visible="void").gpu is None
    assert wish(visible="all").gpu is None


def test_a_value_of_gpus_is_read_as_the_client_reads_it() -> None:
    read = {"Driver": "nvidia", "Count": -1, "DeviceIDs": [], "Capabilities": [["gpu", "utility"]], "Options": "a=1"}
    assert device_request('driver=nvidia,count=all,"capabilities=gpu,utility",options=a=1') == read
    plain = {"Driver": "", "Count": 1, "DeviceIDs": [], "Capabilities": [], "Options": ""}
    assert device_request("driver=") == plain
    assert device_request("device=a") == {**plain, "Count": 0, "DeviceIDs": ["a"]}


def test_a_device_by_its_number_is_refused_as_the_api_can_name_it() -> None:
    for path in ("/dev/char/195:0", "/dev/char/195:254"):
        with pytest.raises(GpuAskError, match="is not given to containers"):
            asked_gpus({"Devices": [{"PathOnHost": path}]}, ())
    assert asked_gpus({"Devices": [{"PathOnHost": "/dev/char/10:229"}]}, ()) is None


def test_what_is_no_list_asks_for_nothing() -> None:
    assert asked_gpus({"DeviceRequests": None, "Devices": None, "Runtime": None}, ()) is None


# --- What a line asks for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ([], {}),
        (["-m1g", "--memory=2g"], {"memory_bytes": 2 * GIB}),
        (["--memory=0"], {}),
        (["--cpus=0.5"], {"nano_cpus": 500_000_000}),
        (["--cpus=1", "--cpu-quota=900000"], {"nano_cpus": 10**9}),
        (["--cpu-quota=150000"], {"nano_cpus": 1_500_000_000}),
        (["--cpu-quota=150000", "--cpu-period=50000"], {"nano_cpus": 3 * 10**9}),
        (["--cpu-quota=150000", "--cpu-period=0"], {"nano_cpus": 1_500_000_000}),
        (["--cpu-quota=-1"], {}),
        (["--cpu-period=50000"], {}),
        (["--pids-limit=0"], {"pids": 0}),
        (["--shm-size=1g", "--ipc=private", "--name=web"],
         {"shm_bytes": GIB, "ipc_mode": "private", "container": "web"}),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)  # fmt: skip
def test_amounts_of_a_line(words: Sequence[str], asked: dict[str, Any]) -> None:
    assert wish(*words) == replace(ContainerRequest(Verb.RUN), **asked)


# --- The line that is run ---------------------------------------------------------------------------------------------


def between(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the options of a line; the rest stays as it was."""
    assert (words[0], words[-2:]) == ("run", ("busybox", "-m"))
    return words[1:-2]


@pytest.mark.parametrize(
    ("words", "kept", "limits"),
    [
        ([], (), LIMITED),
        (["--memory=1g", "--memory-swap=-1", "--memory-swappiness=1"], ("--memory-swappiness=1",), LIMITED),
        (["--pids-limit=7"], ("--pids-limit=7",), (*LIMITED[:3], LIMITED[4])),
        (["--cpus=1"], ("--cpus=1",), (*LIMITED[:2], *LIMITED[3:])),
        (["--cpus=0"], (), LIMITED),
        (["--cpu-quota=-1"], (), LIMITED),
        (["--cpu-period=50000"], ("--cpu-period=50000",), (*LIMITED[:2], "--cpu-quota=100000", *LIMITED[3:])),
        (["--shm-size=1m"], ("--shm-size=1m",), LIMITED[:4]),
        (["--cgroup-parent=x.slice", "-l", "ds01.user=bob", "-lDS01_MANAGED=1", "-la=1"], ("--label=a=1",), LIMITED),
        (["-e", "CUDA_VISIBLE_DEVICES=1", "-eA=1", "-eNVIDIA_VISIBLE_DEVICES=none"], ("--env=A=1",), LIMITED),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_is_added_and_taken_out(words: Sequence[str], kept: tuple[str, ...], limits: tuple[str, ...]) -> None:
    assert sorted(between(line(*words))) == sorted((*kept, *MARKED, *limits, NO_GPU))


def test_without_the_rule_of_limits_amounts_stay_as_they_are() -> None:
    said = ("--memory=1g", "--memory-swap=2g", "--cpus=0", "--pids-limit=0")
    assert sorted(between(line(*said, mode=Mode.OFF))) == sorted((*said, *MARKED, NO_GPU))


def test_a_shared_namespace_is_said_where_the_user_says_nothing() -> None:
    host = replace(FILLED, shm_bytes=None, ipc_mode="host")
    assert "--ipc=host" in line(settings=host)
    assert [
        each for each in line("--ipc=shareable", settings=replace(FILLED, ipc_mode="shareable")) if "ipc" in each
    ] == ["--ipc=shareable"]


@pytest.mark.parametrize(
    ("words", "gpus"),
    [
        (["--gpus=2"], '--gpus="device=GPU-0,GPU-1"'),
        (["--gpus=1,capabilities=compute", "--gpus=1,capabilities=compute"],
         '--gpus="device=GPU-0,GPU-1",capabilities=compute'),
        (['--gpus=2,"capabilities=gpu,utility","options=a=1,b=2"', "--gpus=1,options=c=3"],
         '--gpus="device=GPU-0,GPU-1","capabilities=gpu,utility","options=a=1,b=2"'),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)  # fmt: skip
def test_a_wish_becomes_the_units_that_were_handed_out(words: Sequence[str], gpus: str) -> None:
    grant = Grant(held("alice", "0", "1"), LAB.units[:2])
    made = sorted(set(between(line(*words, grant=grant))) - {*MARKED, *LIMITED})
    assert made == sorted([
        gpus,
        "--env=NVIDIA_VISIBLE_DEVICES=GPU-0,GPU-1",
        f"--label=ds01.allocation={grant.allocation.id}",
        "--label=ds01.gpu.uuids=GPU-0,GPU-1",
        "--label=ds01.gpu.slots=0,1",
    ])  # fmt: skip


def test_a_file_of_labels_is_answered_by_every_label_of_ours() -> None:
    added = set(between(line("--label-file=x"))) - {*MARKED, *LIMITED, NO_GPU}
    assert added == {
        "--label-file=x",
        "--label=ds01.allocation=",
        "--label=ds01.gpu.uuids=",
        "--label=ds01.gpu.slots=",
    }
