"""How busy GPUs and MIG instances are, out of the text of NVIDIA's dcgm-exporter. Pure; exporter.py fetches it.

Believes no line that it does not understand wholly: what is missing here is not known, never 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ds01.core.typed import Final
from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.gpu.sighting import read_uuid

# A GPU, and the id of the GPU instance on it; None for the whole of one that is not split.
Place = tuple[GpuUuid, int | None]

# Field 1001 of DCGM, before and since DCGM 4.7. Source: dcgm_fields.h; dcgm-exporter's release notes for 4.9.0.
FIELD: Final = "DCGM_FI_PROF_GR_ENGINE_ACTIVE"
_FIELDS: Final = frozenset({FIELD, "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO"})
# Source: Prometheus, "Exposition formats", text format: name{label="value",…} value [timestamp].
_LINE: Final = re.compile(
    r"(?P<name>[A-Za-z_:][A-Za-z0-9_:]*)[ \t]*"
    r"\{(?P<labels>(?:[^\"{}]|\"(?:[^\"\\]|\\.)*\")*)\}[ \t]*"
    r"(?P<value>[0-9][0-9.eE+-]*)(?:[ \t]+-?[0-9]+)?[ \t]*",
    re.ASCII,
)
_LABEL: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)=\"(?P<value>(?:[^\"\\]|\\.)*)\"", re.ASCII)
_INSTANCE: Final = re.compile(r"[0-9]{1,4}", re.ASCII)
# A ratio may come out a little above 1. What DCGM has no value for is 2^47, which is none at all.
_MOST: Final = 1.05


def read_activity(text: str) -> Mapping[Place, float]:
    """Return which part of the time each GPU or GPU instance was at work, 0 to 1.

    The figure of a GPU instance is relative to that instance. Where a place stands there twice, as it does with each
    of the containers that share it, the busiest counts.
    """
    found: dict[Place, float] = {}
    for place, value in _readings(text):
        found[place] = max(value, found.get(place, 0.0))
    return found


def _readings(text: str) -> Iterator[tuple[Place, float]]:
    for line in text.split("\n"):
        read = _LINE.fullmatch(line.rstrip("\r"))
        if read is None or read["name"] not in _FIELDS:
            continue
        labels = {each["name"]: each["value"] for each in _LABEL.finditer(read["labels"])}
        try:
            place, value = _place(labels), float(read["value"])
        except ValueError:
            continue
        if 0 <= value <= _MOST:
            yield place, min(value, 1.0)


def _place(labels: Mapping[str, str]) -> Place:
    """Return what a line is about.

    Source: dcgm-exporter, rendermetrics: `UUID`, in some versions `uuid`; GPU_I_ID only for a GPU instance. A label
    without text is one that is not there (Prometheus, "Data model").

    Raises:
        ValueError: it names no GPU, or an instance by no number.
    """
    uuid = read_uuid(labels.get("UUID") or labels.get("uuid") or "")
    instance = labels.get("GPU_I_ID") or None
    if instance is not None and not _INSTANCE.fullmatch(instance):
        raise ValueError(f"{instance[:20]!r} is no id of a GPU instance")
    return uuid, None if instance is None else int(instance)
