"""A machine where only nvidia-smi is there: its answers put together, its failures by name."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ds01.core.process import NOT_FOUND, Completed
from ds01.runtime.gpu.hardware import Devices, DevicesError, Gpu, GpuUuid, NoToolError, Usage
from ds01.runtime.gpu.sighting import Running
from ds01.runtime.gpu.smi import look, read_usage

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = Path(__file__).parents[3] / "data" / "nvidia_smi"
MIB, GIB = 1024**2, 1024**3
UUIDS = [
    GpuUuid(f"GPU-{each}")
    for each in (
        "5c89852c-d268-c3f3-1b07-005d5ae1dc3f",
        "66ad7319-313a-6b24-503f-863dffa1e8cf",
        "11107e51-6363-81fc-8a73-0fd446a734f5",
        "9ef1da52-8dfb-5327-6a00-17097ba591a9",
    )
]
DENIED = "Failed to display GPU instances: Insufficient Permissions\nNo GPU instances found: Insufficient Permissions\n"
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA"
    " driver is installed and running.\n"
)


class Tool:
    """Answers each question by its first or second word with a code and two texts."""

    def __init__(self, **answers: str | tuple[int, str, str]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def __call__(self, argv: Sequence[str], **_: object) -> Completed:
        assert argv[0] == "nvidia-smi"
        question = {
            "-L": "list",
            "-lgi": "gpu_instances",
            "-lci": "compute_instances",
            "-lgip": "profiles",
            "--query-gpu=uuid,memory.total,mig.mode.current,mig.mode.pending": "query",
            "--query-gpu=uuid,memory.total": "old_query",
            "--query-gpu=uuid,utilization.gpu,memory.used": "usage",
            "--query-compute-apps=gpu_uuid,pid,used_memory": "apps",
        }[argv[2] if argv[1] == "mig" else argv[1]]
        self.asked.append(question)
        answer = self.answers[question]
        return Completed(tuple(argv), *(answer if isinstance(answer, tuple) else (0, answer, "")))


def sample(name: str) -> str:
    return (DATA / name).read_text()


R550 = {
    "list": sample("r550-list.txt"),
    "query": sample("r550-query.csv"),
    "gpu_instances": sample("r550-gpu-instances.txt"),
    "compute_instances": sample("r550-compute-instances.txt"),
    "apps": "",
}


def test_four_gpus_two_of_them_split() -> None:
    seen = look(Tool(**R550), who=True)
    assert (seen.lost, seen.running, seen.unknown) == ((), (), None)
    whole, _, split, mixed = seen.gpus
    assert whole == Gpu(0, UUIDS[0], "NVIDIA A100-SXM4-80GB", 80 * GIB)
    assert (split.mig, split.problem) == (True, None)
    assert [(each.gpu_instance_id, each.profile, each.memory_bytes) for each in split.instances] == [
        (3, "2g.20gb", 20 * GIB),
        (4, "2g.20gb", 20 * GIB),
        (5, "2g.20gb", 20 * GIB),
    ]
    assert [each.profile for each in mixed.instances] == ["4g.40gb", "1c.2g.20gb", "1g.10gb+me"]


def test_r450_needs_no_table_of_instances() -> None:
    tool = Tool(list=sample("r450-list.txt"), query=sample("r450-query.csv"))
    split, whole = look(tool, who=False).gpus
    assert tool.asked == ["list", "query"]
    assert [each.gpu_instance_id for each in split.instances] == [1, 1, 5]
    assert (whole.mig, whole.memory_bytes) == (False, 40537 * MIB)


A30_PROFILES = sample("r550-profiles-a30.txt")


@pytest.mark.parametrize(
    ("name", "profiles", "slices"),
    [
        # What the product has need not be asked.
        ("NVIDIA A30", None, (4, True)),
        ("NVIDIA A100-PCIE-40GB", None, (7, True)),
        ("NVIDIA X1", A30_PROFILES, (4, True)),
        ("NVIDIA X1", (4, "Insufficient Permissions\n", ""), (7, False)),
        ("NVIDIA X1", "what it never said before\n", (7, False)),
        ("NVIDIA X1", A30_PROFILES.replace("|   0  MIG", "|   1  MIG"), (7, False)),
    ],
)
def test_shares_are_of_the_slices_that_this_model_has(
    name: str, profiles: str | tuple[int, str, str] | None, slices: tuple[int, bool]
) -> None:
    answers: dict[str, str | tuple[int, str, str]] = {
        "list": f"GPU 0: {name} (UUID: {UUIDS[0]})\n  MIG 2g.12gb     Device  0: (UUID: MIG-1)\n",
        "query": f"{UUIDS[0]}, 24576, Enabled, Enabled\n",
        "gpu_instances": "|   0  MIG 2g.12gb            5        1          0:2     |\n",
        "compute_instances": "|   0      1       MIG 2g.12gb          1         0          0:2     |\n",
    }
    tool = Tool(**answers, **({} if profiles is None else {"profiles": profiles}))
    (gpu,) = look(tool, who=False).gpus
    assert ((gpu.slices, gpu.slices_known), gpu.problem) == (slices, None)
    (unit,) = Devices((gpu,)).units
    assert unit.share == Fraction(2, slices[0])
    assert ("profiles" in tool.asked) is (profiles is not None)


def test_a_driver_that_knows_of_no_mig() -> None:
    field = 'Field "mig.mode.current" is not a valid field to query.\n\n'
    tool = Tool(list=f"GPU 0: Tesla V100 (UUID: {UUIDS[0]})\n", query=(2, field, ""), old_query=f"{UUIDS[0]}, 16160\n")
    assert look(tool, who=False).gpus == (Gpu(0, UUIDS[0], "Tesla V100", 16160 * MIB),)


def test_a_gpu_in_mig_mode_without_instances_is_well() -> None:
    answers = {
        "list": f"GPU 0: A100 (UUID: {UUIDS[0]})\n",
        "query": f"{UUIDS[0]}, 81920, Enabled, Enabled\n",
        "gpu_instances": (6, "No GPU instances found: Not Found\n", ""),
    }
    assert look(Tool(**answers), who=False).gpus == (Gpu(0, UUIDS[0], "A100", 80 * GIB, mig=True),)


@pytest.mark.parametrize("code", [0, 15])
@pytest.mark.parametrize("stderr", [False, True])
def test_a_lost_gpu_hides_no_other(code: int, *, stderr: bool) -> None:
    lines = sample("r550-list-one-lost.txt").splitlines(keepends=True)
    listed = (code, "".join((lines[0], lines[2])), lines[1]) if stderr else (code, "".join(lines), "")
    query = f"{UUIDS[0]}, 81920, Disabled, Disabled\n{lines[1]}{UUIDS[2]}, 81920, Disabled, Disabled\n"
    seen = look(Tool(list=listed, query=(code, query, "")), who=False)
    assert [(gpu.index, gpu.problem) for gpu in seen.gpus] == [(0, None), (2, None)]
    assert [(each.index, each.bus) for each in seen.lost] == [(1, "0000:47:00.0")]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"query": sample("r550-query.csv").replace("Enabled, Enabled", "Enabled, Disabled")}, "being reconfigured"),
        ({"query": sample("r550-query.csv").replace("81920, Enabled", "[GPU is lost], Enabled")}, "GPU is lost"),
        ({"gpu_instances": (4, DENIED, "")}, "may not be listed by this account"),
        ({"gpu_instances": (4, "", DENIED)}, "may not be listed by this account"),
        ({"gpu_instances": (6, "No GPU instances found: Not Found\n", "")}, "are being changed"),
        ({"compute_instances": (6, "No compute instances found: Not Found\n", "")}, "are being changed"),
    ],
)
def test_a_split_gpu_that_cannot_be_told_has_a_problem(
    changed: dict[str, str | tuple[int, str, str]], problem: str
) -> None:
    whole, other, *split = look(Tool(**(R550 | changed)), who=False).gpus
    assert (whole.problem, other.problem) == (None, None)
    assert [problem in (gpu.problem or "") for gpu in split] == [True, True]


@pytest.mark.parametrize(
    ("answer", "error", "details"),
    [
        ((NOT_FOUND, "", "nvidia-smi is not installed"), NoToolError, None),
        ((9, NO_DRIVER, ""), DevicesError, "couldn't communicate with the NVIDIA driver"),
        ((124, "", "nvidia-smi gave no answer within 30 s"), DevicesError, "no answer within 30 s"),
        ((18, "Failed to initialize NVML: Driver/library version mismatch\n", ""), DevicesError, "version mismatch"),
        ((0, "GPU 0: ???\n", ""), DevicesError, "GPU 0: ???"),
    ],
)
def test_a_tool_that_fails_says_why(
    answer: tuple[int, str, str], error: type[DevicesError], details: str | None
) -> None:
    with pytest.raises(DevicesError) as caught:
        look(Tool(list=answer), who=True)
    assert type(caught.value) is error
    assert (details or "") in (caught.value.details or "")
    assert caught.value.resolution


def test_no_gpu_at_all() -> None:
    seen = look(Tool(list=(6, "No devices were found\n", ""), apps="No devices were found\n"), who=True)
    assert (seen.gpus, seen.lost, seen.running, seen.unknown) == ((), (), (), None)


def test_who_computes_is_asked_alone_when_the_gpus_are_known() -> None:
    known = (Gpu(0, UUIDS[0], "A100", 80 * GIB), Gpu(2, UUIDS[2], "A100", 80 * GIB, mig=True))
    tool = Tool(apps=f"{UUIDS[0]}, 4711, 2048\n{UUIDS[0]}, 4712, [N/A]\n")
    seen = look(tool, who=True, known=known)
    assert tool.asked == ["apps"]
    assert (seen.gpus, seen.unknown) == (known, None)
    assert seen.running == (Running(4711, UUIDS[0], 2 * GIB), Running(4712, UUIDS[0], None))
    vague = look(Tool(apps=f"{UUIDS[2]}, 4711, 2048\n"), who=True, known=known)
    assert vague.unknown == "nvidia-smi does not tell on which MIG instance of GPU 2 a process runs"


@pytest.mark.parametrize(
    "apps", [(3, "Unknown Error", ""), (0, "GPU-a, x, 1", ""), (0, "GPU-a", ""), (0, "?, 1, 1", "")]
)
def test_processes_that_cannot_be_told_do_not_hide_the_gpus(apps: tuple[int, str, str]) -> None:
    seen = look(Tool(**(R550 | {"apps": apps})), who=True)
    assert (len(seen.gpus), seen.running) == (4, ())
    assert (seen.unknown or "").startswith("what runs on the GPUs cannot be told: ")


def test_how_busy_they_are() -> None:
    assert read_usage(Tool(usage=sample("r550-usage.csv"))) == {
        UUIDS[0]: Usage(97, 40211 * MIB),
        UUIDS[1]: Usage(0, 4 * MIB),
        UUIDS[2]: Usage(None, None),
        UUIDS[3]: Usage(None, 57 * MIB),
    }
