"""What nvidia-smi prints, as values. Pure; smi.py runs the tool.

What is not understood is an error that shows the line: no GPU is left out for its line. NVIDIA promises no format of
this tool; samples of the drivers from R450 on are among the tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.runtime.gpu.hardware import DevicesError, GpuUuid, MigInstance
from ds01.runtime.gpu.sighting import Lost, read_profile, read_uuid

NO_DEVICES: Final = ("No devices found", "No devices were found")
NO_GPU_INSTANCES: Final = (
    "No MIG-enabled devices found",
    "No GPU instances found: Not Found",
    "No GPU instances found.",
)
NO_COMPUTE_INSTANCES: Final = ("No compute instances found: Not Found", "No compute instances found.")

_MIB: Final = 1024**2
_DIGITS: Final = 16
_GPU: Final = re.compile(r"GPU (?P<index>\d{1,4}): (?P<name>.+) \(UUID: (?P<uuid>[^()]*)\)", re.ASCII)
_MIG: Final = re.compile(r"\s+MIG (?P<profile>\S+)\s+Device\s+\d+: \(UUID: (?P<uuid>[^()]*)\)", re.ASCII)
# `GPU 0000:25:00.0: …`, `GPU0000:25:00.0: …`, `GPU3: 0000:25:00.0: …`, `GPU3: …`, as the drivers of the years have it.
_NO_HANDLE: Final = re.compile(
    r"Unable to determine the device handle for gpu\s*(?:(?P<index>\d{1,3})(?::\s*|(?=: \D)))?"
    r"(?P<bus>[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f])?:\s*(?P<why>.+)",
    re.IGNORECASE | re.ASCII,
)
_COMPUTE_INSTANCE: Final = re.compile(
    r"\|\s*(?P<gpu>\d{1,4})\s+(?P<gi>\d{1,4})\s+MIG\s+(?P<profile>\S+)\s+\d+\s+(?P<ci>\d{1,4})(?:\s+\d+:\d+)?\s*\|",
    re.ASCII,
)
_GPU_INSTANCE: Final = re.compile(
    r"\|\s*(?P<gpu>\d{1,4})\s+MIG\s+(?P<profile>\S+)\s+\d+\s+(?P<gi>\d{1,4})\s+\d+:\d+\s*\|", re.ASCII
)
_GPU_INSTANCE_PROFILE: Final = re.compile(
    r"\|\s*(?P<gpu>\d{1,4})\s+MIG\s+(?P<profile>\S+)\s+\d+\s+\d+/\d+\s.*\|", re.ASCII
)
_RULE: Final = re.compile(r"\+[-=+]*\+|\|=+\|", re.ASCII)
_HEADING: Final = re.compile(r"\|[A-Za-z:/ ]*\|", re.ASCII)
_OLD_UUID: Final = re.compile(r"MIG-GPU-.*/(?P<gi>\d+)/(?P<ci>\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class MigLine:
    """A MIG device as `nvidia-smi -L` lists it."""

    profile: str
    uuid: GpuUuid


@dataclass(frozen=True, slots=True)
class GpuLine:
    """A GPU as `nvidia-smi -L` lists it, with its MIG devices in the order of the list."""

    index: int
    name: str
    uuid: GpuUuid
    mig: tuple[MigLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A line of `nvidia-smi mig -lgi` or `-lci`; in the first, no compute instance is named."""

    gpu: int
    profile: str
    gpu_instance_id: int
    compute_instance_id: int | None = None


def parse_list(text: str) -> tuple[tuple[GpuLine, ...], tuple[Lost, ...]]:
    """Read `nvidia-smi -L`.

    Returns:
        The GPUs that answer, and those that do not.

    Raises:
        DevicesError: a line is not understood.
    """
    gpus: list[GpuLine] = []
    for line in filter(str.strip, text.split("\n")):
        if (gpu := _GPU.fullmatch(line.rstrip())) is not None:
            gpus.append(GpuLine(int(gpu["index"]), visible(gpu["name"]), tool_uuid(gpu["uuid"])))
        elif (mig := _MIG.fullmatch(line.rstrip())) is not None and gpus:
            last = gpus.pop()
            device = MigLine(_profile(mig["profile"], line), tool_uuid(mig["uuid"]))
            gpus.append(GpuLine(last.index, last.name, last.uuid, (*last.mig, device)))
        elif not lost_in(line) and not line.startswith(NO_DEVICES):
            raise _not_understood("-L", line)
    return tuple(gpus), lost_in(text)


def lost_in(text: str) -> tuple[Lost, ...]:
    """Return the GPUs of which the tool says that they do not answer."""
    found = (_NO_HANDLE.search(line) for line in text.split("\n"))
    return tuple(_lost(gone) for gone in found if gone is not None)


def _lost(gone: re.Match[str]) -> Lost:
    why = visible(gone["why"]).rstrip(".")
    return Lost(
        f"nvidia-smi gets no answer from it ({why}): it fell off the bus, or the driver failed; see journalctl -k",
        None if gone["index"] is None else int(gone["index"]),
        None if gone["bus"] is None else gone["bus"].lower(),
    )


def parse_instances(text: str) -> tuple[Row, ...]:
    """Read the table of `nvidia-smi mig -lgi` or `-lci`.

    Raises:
        DevicesError: a line is not understood.
    """
    rows = []
    for line in filter(None, map(str.strip, text.split("\n"))):
        if (row := _COMPUTE_INSTANCE.fullmatch(line)) is not None:
            rows.append(Row(int(row["gpu"]), _profile(row["profile"], line), int(row["gi"]), int(row["ci"])))
        elif (row := _GPU_INSTANCE.fullmatch(line)) is not None:
            rows.append(Row(int(row["gpu"]), _profile(row["profile"], line), int(row["gi"])))
        elif not (_RULE.fullmatch(line) or _HEADING.fullmatch(line) or _says_none(line) or lost_in(line)):
            raise _not_understood("mig -lgi", line)
    return tuple(rows)


def parse_profiles(text: str) -> Mapping[int, int]:
    """Read the table of `nvidia-smi mig -lgip`: the compute slices of the largest instance that each GPU can have.

    Only a help where no product is known by its name: what is not understood tells nothing.
    """
    most: dict[int, int] = {}
    for row in filter(None, map(_GPU_INSTANCE_PROFILE.fullmatch, map(str.strip, text.split("\n")))):
        try:
            slices = read_profile(row["profile"]).compute_slices
        except ValueError:
            continue
        most[int(row["gpu"])] = max(slices, most.get(int(row["gpu"]), 0))
    return most


def _says_none(line: str) -> bool:
    return line.startswith((*NO_GPU_INSTANCES, *NO_COMPUTE_INSTANCES))


def parse_csv(text: str, columns: int) -> tuple[tuple[str, ...], ...]:
    """Read the answer to a query without heading and units.

    Raises:
        DevicesError: a line has another number of columns.
    """
    rows = []
    for line in filter(str.strip, text.split("\n")):
        cells = tuple(cell.strip() for cell in line.split(","))
        if len(cells) == columns:
            rows.append(cells)
        elif not lost_in(line) and not line.startswith(NO_DEVICES):
            raise _not_understood("--query", line)
    return tuple(rows)


def pair(line: GpuLine, rows: Sequence[Row]) -> tuple[MigInstance, ...] | None:
    """Give each MIG device of a GPU its ids; None when the two lists do not fit.

    The lists have no name in common, but both are in the order of the ids: those of one profile go together in order.

    Args:
        rows: the compute instances of this GPU; not needed where the UUID holds the ids.
    """
    ids = own_ids(line) or [(_plain(row.profile), row.gpu_instance_id, row.compute_instance_id or 0) for row in rows]
    if sorted(profile for profile, _, _ in ids) != sorted(_plain(each.profile) for each in line.mig):
        return None
    ids.sort(key=lambda each: each[1:])
    found = []
    for device in line.mig:
        place = next(number for number, each in enumerate(ids) if each[0] == _plain(device.profile))
        _, gpu_instance_id, compute_instance_id = ids.pop(place)
        profile = read_profile(device.profile)
        found.append(
            MigInstance(
                uuid=device.uuid,
                gpu_instance_id=gpu_instance_id,
                compute_instance_id=compute_instance_id,
                profile=profile.name,
                compute_slices=profile.compute_slices,
                memory_bytes=profile.memory_bytes,
            )
        )
    return tuple(sorted(found, key=lambda each: (each.gpu_instance_id, each.compute_instance_id)))


def own_ids(line: GpuLine) -> list[tuple[str, int, int]] | None:
    """Return profile, GPU instance and compute instance of each device as its UUID says; None from R470 on."""
    found = [(device, _OLD_UUID.fullmatch(device.uuid)) for device in line.mig]
    if not found or any(own is None for _, own in found):
        return None
    return [(_plain(device.profile), int(own["gi"]), int(own["ci"])) for device, own in found if own is not None]


def _plain(profile: str) -> str:
    """Return a profile without what belongs to the GPU instance alone: `1g.10gb+me` has a compute instance 1g.10gb."""
    return re.split("[+-]", profile, maxsplit=1)[0]


def tool_uuid(text: str) -> GpuUuid:
    """Accept a UUID that the tool printed.

    Raises:
        DevicesError: it has not the form of one.
    """
    try:
        return read_uuid(text)
    except ValueError as error:
        raise _not_understood("-L", text) from error


def read_bytes(mebibytes: str) -> int | None:
    """Return a size in bytes, None where the tool has none."""
    number = read_number(mebibytes)
    return None if number is None else number * _MIB


def read_number(text: str) -> int | None:
    """Return a number; the tool writes `[N/A]`, `[Not Supported]` or `[GPU is lost]` where it has none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < _DIGITS else None


def _profile(text: str, line: str) -> str:
    try:
        return read_profile(text).name
    except ValueError as error:
        raise _not_understood("mig", line) from error


def _not_understood(what: str, line: str) -> DevicesError:
    return DevicesError(
        f"nvidia-smi {what} says something that DS01 does not understand",
        f"this line: {visible(line, 160)}",
        "install nvidia-ml-py for this Python, so that NVML is asked itself",
    )
