"""Labels of containers: their names, and what DS01 reads out of them. Pure.

Whoever creates a container chooses its labels, so no value is ever believed to have a form: what does not look like
what the label is for counts as absent, and a name comes out without anything that a terminal or a log could act on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePosixPath

from ds01.core.pattern import pattern
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.core.visible import visible

USER: Final = "ds01.user"
MANAGED: Final = "ds01.managed"
CONTAINER_TYPE: Final = "ds01.container_type"
CREATED_AT: Final = "ds01.created_at"
SLICE: Final = "ds01.slice"
ALLOCATION: Final = "ds01.allocation"
GPU_UUIDS: Final = "ds01.gpu.uuids"
GPU_SLOTS: Final = "ds01.gpu.slots"
PROTECTED: Final = "ds01.protected"
# Of containers older than DS01; read, never written.
OLDER_USER: Final = "aime.mlc.USER"
OLDER_MANAGED: Final = "DS01_MANAGED"
OLDER_IMAGE: Final = "CUSTOM_IMAGE"
FOLDER: Final = "devcontainer.local_folder"

_HOMES: Final = PurePosixPath("/home")
_ALLOCATION: Final = pattern(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
# Also as drivers before R470 wrote them: MIG-GPU-<uuid>/<gpu instance>/<compute instance>.
# Source: NVIDIA MIG user guide, "CUDA_VISIBLE_DEVICES".
_UUID: Final = pattern(r"(?:GPU|MIG)-[A-Za-z0-9][A-Za-z0-9/-]{0,95}", re.ASCII)
_SLOT: Final = pattern(r"\d{1,4}(?::\d{1,4})?", re.ASCII)
# More than one machine has.
_MOST_DEVICES: Final = 1024


class ContainerType(Enum):
    """By which way a container came to be."""

    ATOMIC = "atomic"
    ORCHESTRATION = "orchestration"
    DEVCONTAINER = "devcontainer"
    COMPOSE = "compose"
    DOCKER = "docker"
    API = "api"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a container is by its labels.

    Attributes:
        name: the account, as it was written; with characters that cannot be seen written out, so that no account that
            exists is meant by it.
        label: the one that says so.
    """

    name: str
    label: str

    @property
    def is_older(self) -> bool:
        """Whether only a label of an older system says it."""
        return self.label != USER


def owner(labels: Mapping[str, str]) -> Owner | None:
    """Return whose a container is; None when no label says it.

    DS01's own label comes first, then that of the older system, then the home folder a dev container was opened from.
    """
    for label in (USER, OLDER_USER):
        if name := labels.get(label):
            return Owner(visible(name), label)
    name = _owner_of_folder(labels.get(FOLDER, ""))
    return Owner(visible(name), FOLDER) if name else None


def _owner_of_folder(folder: str) -> str:
    path = PurePosixPath(folder)
    # A path that climbs is in no home that its text names.
    if ".." in path.parts or not path.is_relative_to(_HOMES) or path == _HOMES:
        return ""
    return path.relative_to(_HOMES).parts[0]


def container_type(labels: Mapping[str, str]) -> ContainerType:
    """Return by which way a container came to be, as far as its labels tell; UNKNOWN for any other word."""
    try:
        return ContainerType(labels.get(CONTAINER_TYPE, ""))
    except ValueError:
        return ContainerType.DEVCONTAINER if labels.get(FOLDER) else ContainerType.UNKNOWN


def allocation_id(labels: Mapping[str, str]) -> str | None:
    """Return the token of the GPU allocation; None without one, and for text that no token can be."""
    token = labels.get(ALLOCATION, "")
    return token if _ALLOCATION.fullmatch(token) else None


def gpu_uuids(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the UUIDs of the units it was given, each once; none at all when one of them is no UUID."""
    return _list(labels.get(GPU_UUIDS, ""), _UUID)


def gpu_slots(labels: Mapping[str, str]) -> tuple[str, ...]:
    """Return the slots it was given, such as `0:1`, each once; none at all when one of them is no slot.

    They are what people call the units: indices may have another order by now, only UUIDs decide.
    """
    return _list(labels.get(GPU_SLOTS, ""), _SLOT)


def _list(text: str, form: re.Pattern[str]) -> tuple[str, ...]:
    parts = text.split(",", _MOST_DEVICES)
    return tuple(dict.fromkeys(parts)) if all(map(form.fullmatch, parts)) else ()


def is_managed(labels: Mapping[str, str]) -> bool:
    """Whether DS01, or the system before it, says that it made the container."""
    return labels.get(MANAGED) == "true" or labels.get(OLDER_MANAGED) == "true"


def is_protected(labels: Mapping[str, str]) -> bool:
    """Whether the container asks to be left alone; whether it may ask is for the policy to say."""
    return labels.get(PROTECTED) == "true"
