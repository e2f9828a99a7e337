"""A container as a value, read from what the Docker engine answers. Pure; engine.py asks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum

from ds01.core import labels as known
from ds01.core.gpurequest import GpuRequest, gpu_request
from ds01.core.labels import ContainerType, Owner
from ds01.core.typed import Final
from ds01.core.value import dataclass, field

# Go's zero time, which the engine says for "never".
_NEVER_YEAR: Final = 1
_SHOWN_ID: Final = 12


class AnswerError(ValueError):
    """An answer of the engine lacks something, or has it in another form."""


class State(Enum):
    """What the engine says of a container's processes. Source: Docker Engine API 1.41, ContainerState.Status."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


# A paused container goes on where it was, and one that restarts comes back by itself.
LIVE: Final = frozenset({State.RUNNING, State.PAUSED, State.RESTARTING})


@dataclass(frozen=True, slots=True)
class Published:
    """A TCP port of this machine that leads to a container.

    Attributes:
        address: of this machine; `0.0.0.0` or `::` for all.
    """

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class ContainerSummary:
    """One line of the engine's list.

    Attributes:
        name: without the slash that the engine puts before it; empty for one whose removal is under way.
        image: as it was asked for.
        published: by those that run.
    """

    id: str
    name: str
    state: State
    created_at: datetime
    image: str
    labels: Mapping[str, str] = field(default_factory=dict)
    published: tuple[Published, ...] = ()

    @property
    def owner(self) -> Owner | None:
        """Whose it is by its labels."""
        return known.owner(self.labels)


@dataclass(frozen=True, slots=True)
class Undescribed:
    """A container that the engine lists and cannot describe: it is there, and nothing may be concluded about it.

    Attributes:
        summary: what the list says of it.
        why: what came in place of a description, in words.
    """

    summary: ContainerSummary
    why: str

    @property
    def id(self) -> str:
        """Docker's whole id."""
        return self.summary.id

    @property
    def name(self) -> str:
        """What it is called, or the beginning of its id; as its user wrote it."""
        return self.summary.name or self.id[:_SHOWN_ID]


@dataclass(frozen=True, slots=True)
class Container:
    """What the engine knows of one container.

    Attributes:
        name: without the slash that the engine puts before it.
        created_at: all times in UTC, to the microsecond; None for what never was.
        image: as it was asked for.
        cgroup_parent: as it was asked for; empty when the engine's default holds.
        restart_policy: `no`, `always`, `unless-stopped` or `on-failure`.
        pid: of its first process; None when it does not run.
        gpu: the GPUs it was given; None when none.
        exit_code: of its last run; of one that never ran, other than 0 when its start failed.
        memory_bytes: its own limit; None is none.
        nano_cpus: in billionths of a CPU, where it was limited so; None where it was not.
        cpu_quota_usec: of each period, where it was limited in the older way; below 0 is unlimited, None is not said.
        cpu_period_usec: None is the kernel's own.
        oom_killed: whether the kernel ended a process of its last run for want of memory.
        restart_count: how often its restart policy brought it back, or is about to, since it was last started
            otherwise; 0 where the engine does not say it.
    """

    id: str
    name: str
    state: State
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    image: str
    cgroup_parent: str
    restart_policy: str
    pid: int | None
    gpu: GpuRequest | None
    exit_code: int = 0
    memory_bytes: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    oom_killed: bool = False
    nano_cpus: int | None = None
    cpu_quota_usec: int | None = None
    cpu_period_usec: int | None = None
    restart_count: int = 0

    @property
    def is_live(self) -> bool:
        """Whether it runs, is paused or comes back by itself."""
        return self.state in LIVE

    @property
    def has_gpu(self) -> bool:
        """Whether it was given a GPU, or carries a label of ours that says so."""
        return self.gpu is not None or known.ALLOCATION in self.labels or known.GPU_UUIDS in self.labels

    @property
    def owner(self) -> Owner | None:
        """Whose it is by its labels."""
        return known.owner(self.labels)

    @property
    def type(self) -> ContainerType:
        """By which way it came to be."""
        return known.container_type(self.labels)

    @property
    def allocation_id(self) -> str | None:
        """The token of its GPU allocation."""
        return known.allocation_id(self.labels)

    @property
    def gpu_uuids(self) -> tuple[str, ...]:
        """UUIDs of the units that its labels name."""
        return known.gpu_uuids(self.labels)

    @property
    def gpu_slots(self) -> tuple[str, ...]:
        """Slots that its labels name."""
        return known.gpu_slots(self.labels)

    @property
    def is_managed(self) -> bool:
        """Whether its labels say that DS01 made it."""
        return known.is_managed(self.labels)

    @property
    def is_protected(self) -> bool:
        """Whether its labels ask to leave it alone."""
        return known.is_protected(self.labels)


def read_summary(said: object) -> ContainerSummary:
    """Read one entry of `/containers/json`.

    Raises:
        AnswerError: something is missing or has another form.
    """
    entry = _object(said, "container")
    names = _list(entry.get("Names"), "Names")
    # Links of other containers to it stand beside its own name as /other/alias.
    own = [name for name in names if name.count("/") == 1 and name.startswith("/")]
    return ContainerSummary(
        id=_text(entry, "Id"),
        name=own[0][1:] if own else "",
        state=_state(entry.get("State")),
        created_at=_seconds(entry, "Created"),
        image=_text(entry, "Image"),
        labels=_labels(entry.get("Labels")),
        published=_published(entry.get("Ports")),
    )


def read_container(said: object) -> Container:
    """Read the answer of `/containers/{id}/json`.

    Raises:
        AnswerError: something is missing or has another form.
    """
    whole = _object(said, "container")
    state = _object(whole.get("State"), "State")
    config = _object(whole.get("Config"), "Config")
    host_config = _object(whole.get("HostConfig"), "HostConfig")
    return Container(
        id=_text(whole, "Id"),
        name=_text(whole, "Name").removeprefix("/"),
        state=_state(state.get("Status")),
        created_at=_time(whole, "Created"),
        started_at=_time(state, "StartedAt"),
        finished_at=_time(state, "FinishedAt"),
        image=_text(config, "Image"),
        cgroup_parent=_text(host_config, "CgroupParent"),
        restart_policy=_text(_object(host_config.get("RestartPolicy"), "RestartPolicy"), "Name") or "no",
        pid=_number(state, "Pid") or None,
        gpu=gpu_request(host_config, _list(config.get("Env"), "Env")),
        exit_code=_number(state, "ExitCode"),
        memory_bytes=_number(host_config, "Memory") or None,
        labels=_labels(config.get("Labels")),
        oom_killed=state.get("OOMKilled") is True,
        nano_cpus=_number_or_none(host_config, "NanoCpus"),
        cpu_quota_usec=_number_or_none(host_config, "CpuQuota"),
        cpu_period_usec=_number_or_none(host_config, "CpuPeriod"),
        restart_count=_number(whole, "RestartCount") if "RestartCount" in whole else 0,
    )


def _published(ports: object) -> tuple[Published, ...]:
    """Read what is published. Source: Docker Engine API 1.41, Port: IP and PublicPort only where that is so."""
    if not isinstance(ports, list | None):
        raise AnswerError("Ports is no list")
    entries = (_object(each, "port") for each in ports or ())
    return tuple(
        Published(_text(each, "IP"), _number(each, "PublicPort"))
        for each in entries
        if "PublicPort" in each and each.get("Type") == "tcp"
    )


def _object(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise AnswerError(f"{what} is no object")
    return value


def _list(value: object, what: str) -> list[str]:
    """Return a list of texts; the engine writes an empty one as null."""
    if not isinstance(value, list | None) or not all(isinstance(each, str) for each in value or ()):
        raise AnswerError(f"{what} is no list of texts")
    return value or []


def _text(of: Mapping[str, object], key: str) -> str:
    value = of.get(key)
    if not isinstance(value, str):
        raise AnswerError(f"{key} is no text")
    return value


def _number(of: Mapping[str, object], key: str) -> int:
    value = of.get(key)
    if not isinstance(value, int):
        raise AnswerError(f"{key} is no number")
    return value


def _number_or_none(of: Mapping[str, object], key: str) -> int | None:
    """Return a number that the engine writes as 0, or not at all, where nothing was said."""
    return _number(of, key) or None if key in of else None


def _state(value: object) -> State:
    try:
        return State(value)
    except ValueError:
        raise AnswerError(f"a container is in a state that DS01 does not know: {value!r}") from None


def _seconds(of: Mapping[str, object], key: str) -> datetime:
    try:
        return datetime.fromtimestamp(_number(of, key), UTC)
    except (ValueError, OverflowError, OSError):
        raise AnswerError(f"{key} is no time: {of[key]!r}") from None


def _time(of: Mapping[str, object], key: str) -> datetime | None:
    """Read RFC 3339 with nanoseconds; fromisoformat drops what is finer than a microsecond."""
    text = _text(of, key)
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
        return None if time.year <= _NEVER_YEAR else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise AnswerError(f"{key} is no time: {text!r}") from None


def _labels(value: object) -> Mapping[str, str]:
    labels = {} if value is None else _object(value, "Labels")
    return {key: text for key, text in labels.items() if isinstance(text, str)}
