"""Ask the driver through nvidia-smi, where pynvml or NVML's library cannot be loaded; smitext.py reads its answers.

Each call of the tool starts the driver anew, so what need not be asked again is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ds01.core.process import Completed, Run
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.runtime.gpu.hardware import DevicesError, Gpu, GpuUuid, MigInstance, NoToolError, Usage
from ds01.runtime.gpu.sighting import Lost, Running, Sighting, count_slices, read_uuid, slices_of_product
from ds01.runtime.gpu.smitext import (
    NO_COMPUTE_INSTANCES,
    NO_DEVICES,
    NO_GPU_INSTANCES,
    GpuLine,
    Row,
    lost_in,
    own_ids,
    pair,
    parse_csv,
    parse_instances,
    parse_list,
    parse_profiles,
    read_bytes,
    read_number,
    tool_uuid,
)

TOOL: Final = "nvidia-smi"
_PATIENCE_SECONDS: Final = 30.0
_CSV: Final = "--format=csv,noheader,nounits"
_QUERY: Final = ("uuid", "memory.total", "mig.mode.current", "mig.mode.pending")
_USAGE: Final = ("uuid", "utilization.gpu", "memory.used")
_APPS: Final = ("gpu_uuid", "pid", "used_memory")
_DENIED: Final = "Insufficient Permissions"


def look(run: Run, *, who: bool, known: Sequence[Gpu] | None = None) -> Sighting:
    """See all GPUs, and with `who` what runs on them.

    Args:
        known: GPUs that need no further look, since nothing changed.

    Raises:
        DevicesError: the tool is not there, fails, or says what is not understood.
    """
    gpus, lost = (tuple(known), ()) if known is not None else _see(run)
    running, unknown = _running(run, gpus) if who else ((), None)
    return Sighting(gpus, lost, running, unknown)


def read_usage(run: Run) -> dict[GpuUuid, Usage]:
    """Return how busy each GPU is; the tool tells nothing of MIG instances.

    Raises:
        DevicesError: as look().
    """
    rows = parse_csv(_ask(run, f"--query-gpu={','.join(_USAGE)}", _CSV).stdout, len(_USAGE))
    return {tool_uuid(uuid): Usage(read_number(busy), read_bytes(used)) for uuid, busy, used in rows}


def _ask(run: Run, *words: str, answers: Sequence[str] = ()) -> Completed:
    """Run the tool.

    Args:
        answers: how an answer may begin that is one although the tool then ends with an error.

    Raises:
        NoToolError: it is not installed.
        DevicesError: it fails.
    """
    done = run([TOOL, *words], timeout_seconds=_PATIENCE_SECONDS)
    if done.missing:
        raise NoToolError("nvidia-smi is not installed", None, "install the driver's tools (nvidia-utils-<version>)")
    # With one GPU lost it tells of the others and ends with an error.
    answered = done.words.startswith(tuple(answers)) or lost_in(done.stdout) or lost_in(done.stderr)
    if done.ok or answered:
        return done
    raise DevicesError(
        f"nvidia-smi {' '.join(words)} fails", visible(done.words, 300), "run it by hand; see journalctl -k for NVRM"
    )


def _see(run: Run) -> tuple[tuple[Gpu, ...], tuple[Lost, ...]]:
    listed = _ask(run, "-L", answers=NO_DEVICES)
    lines, lost = parse_list(listed.stdout)
    # Some drivers write it to the other stream.
    lost = (*lost, *lost_in(listed.stderr))
    if not lines:
        return (), lost
    facts = _facts(run)
    split = [line for line in lines if line.mig or facts.get(line.uuid, _UNTOLD).mig]
    rows = _rows(run, split)
    slices = _slices(run, split)
    return tuple(_gpu(line, facts.get(line.uuid, _UNTOLD), rows, slices.get(line.index)) for line in lines), lost


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a query tells of one GPU; memory None when it does not, and what stands there instead."""

    memory_bytes: int | None = None
    instead: str = "it does not list the GPU"
    mig: bool = False
    pending: bool = False


_UNTOLD: Final = _Facts()


def _facts(run: Run) -> Mapping[GpuUuid, _Facts]:
    """Return memory and MIG mode by UUID; a driver before R450 knows of no MIG mode."""
    question = f"--query-gpu={','.join(_QUERY)}"
    done = _ask(run, question, _CSV, answers=("Field ",))
    if "is not a valid field" in done.words:
        rows = parse_csv(_ask(run, f"--query-gpu={','.join(_QUERY[:2])}", _CSV).stdout, 2)
        return {tool_uuid(uuid): _Facts(read_bytes(memory), memory) for uuid, memory in rows}
    return {
        tool_uuid(uuid): _Facts(read_bytes(memory), memory, now == "Enabled", pending == "Enabled")
        for uuid, memory, now, pending in parse_csv(done.stdout, len(_QUERY))
    }


def _rows(run: Run, split: Sequence[GpuLine]) -> tuple[Row, ...] | None:
    """Return the compute instances of all GPUs; None when this account may not list them."""
    if all(own_ids(line) is not None for line in split):
        return ()
    done = _ask(run, "mig", "-lgi", answers=(*NO_GPU_INSTANCES, f"No GPU instances found: {_DENIED}", "Failed to"))
    if _DENIED in done.stdout + done.stderr:
        return None
    instances = parse_instances(done.stdout)
    if not instances:
        return ()
    computing = parse_instances(
        _ask(run, "mig", "-lci", answers=(*NO_GPU_INSTANCES, *NO_COMPUTE_INSTANCES)).stdout,
    )
    known = {(row.gpu, row.gpu_instance_id) for row in instances}
    return tuple(row for row in computing if (row.gpu, row.gpu_instance_id) in known)


def _slices(run: Run, split: Sequence[GpuLine]) -> Mapping[int, int]:
    """Return the compute slices of GPUs by index; none of those of which nothing tells."""
    found = {line.index: slices for line in split if (slices := slices_of_product(line.name)) is not None}
    if len(found) == len(split):
        return found
    try:
        return {**parse_profiles(_ask(run, "mig", "-lgip").stdout), **found}
    except DevicesError:
        # An account that may not list them sees all else.
        return found


def _gpu(line: GpuLine, facts: _Facts, rows: Sequence[Row] | None, told: int | None) -> Gpu:
    problem: str | None = None
    instances: tuple[MigInstance, ...] = ()
    mig = bool(line.mig) or facts.mig
    if facts.memory_bytes is None:
        problem = f"nvidia-smi tells nothing of its memory ({visible(facts.instead)}): it is lost or needs a reset"
    elif facts.mig != facts.pending:
        problem = (
            f"its MIG mode is being reconfigured: it is {'on' if facts.mig else 'off'} until the GPU is reset; end what"
            f" runs on it, then: nvidia-smi --gpu-reset -i {line.index}"
        )
    elif rows is None and line.mig and own_ids(line) is None:
        problem = f"its MIG instances may not be listed by this account ({_DENIED}); run the command as root (sudo)"
    elif mig:
        paired = pair(line, [row for row in rows or () if row.gpu == line.index])
        instances = paired or ()
        if paired is None:
            problem = "its MIG instances are being changed: two lists of them differ; try again in a minute"
    slices, known = count_slices(told, instances)
    return Gpu(
        index=line.index,
        uuid=line.uuid,
        name=line.name,
        memory_bytes=facts.memory_bytes or 0,
        slices=slices,
        mig=mig,
        instances=instances,
        problem=problem,
        slices_known=known or not mig,
    )


def _running(run: Run, gpus: Sequence[Gpu]) -> tuple[tuple[Running, ...], str | None]:
    """Return what runs, and why some of it may be missing or cannot be told apart."""
    try:
        rows = parse_csv(_ask(run, f"--query-compute-apps={','.join(_APPS)}", _CSV).stdout, len(_APPS))
        found = tuple(Running(int(pid), read_uuid(uuid), read_bytes(used)) for uuid, pid, used in rows)
    except DevicesError as error:
        return (), f"what runs on the GPUs cannot be told: {error.brief}: {error.details}"
    except ValueError as error:
        return (), f"what runs on the GPUs cannot be told: {visible(str(error), 200)}"
    split = {gpu.uuid: gpu.index for gpu in gpus if gpu.mig}
    vague = sorted({split[each.uuid] for each in found if each.uuid in split})
    if vague:
        named = ", ".join(map(str, vague))
        return found, f"nvidia-smi does not tell on which MIG instance of GPU {named} a process runs"
    return found, None
