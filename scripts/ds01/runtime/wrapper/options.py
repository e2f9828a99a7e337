"""Between a command line and what admission.py decides about: options to a request, and an admission to options. Pure.

What a user says about DS01's own labels, about control groups or about which GPUs are visible is never passed on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ds01.core import labels as known
from ds01.core.labels import ContainerType
from ds01.core.rules import Rule
from ds01.core.typed import Final
from ds01.core.value import dataclass, replace
from ds01.runtime.client.arguments import Given, Parsed, write
from ds01.runtime.containers.admission import Admission
from ds01.runtime.containers.container import Container
from ds01.runtime.containers.gpuasks import CUDA, NONE, VISIBLE, asked_gpus, device_request, is_cdi, is_cdi_gpu
from ds01.runtime.containers.quantities import read_bytes, read_nano_cpus, read_whole
from ds01.runtime.containers.request import AccountRules, ContainerRequest, Settings, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ds01.runtime.gpu.answer import Grant

_NANO: Final = 10**9
# Source: docker run reference, "--cpu-period": 100 ms where nothing is said.
_PERIOD_USEC: Final = 100_000
_UNLIMITED_SWAP: Final = "-1"
_UNLIMITED_CPUS: Final = -_NANO
_OURS: Final = "ds01."
_OLDER: Final = frozenset({known.OLDER_USER, known.OLDER_MANAGED, known.OLDER_IMAGE})
_NOT_BY_FILE: Final = {known.ALLOCATION: "", known.GPU_UUIDS: "", known.GPU_SLOTS: ""}
_COMPOSE: Final = "com.docker.compose.project"
_DEVCONTAINER: Final = "devcontainer."


@dataclass(frozen=True, slots=True)
class Marks:
    """What a new container is marked with, besides its GPUs.

    Attributes:
        created_at: an instant that no other container of the account has.
        parent: the slice it is put into.
        protected: whether lifecycle leaves it alone; for an administrator to say.
    """

    user: str
    created_at: str
    parent: str
    protected: bool = False


def read_request(parsed: Parsed, visible_devices: str) -> ContainerRequest:
    """Return what a line for `run` or `create` asks for; read_update() does that for `update`.

    Args:
        visible_devices: what NVIDIA_VISIBLE_DEVICES is to the one who calls; a line can pass it on by its name.

    Raises:
        BadInputError: a value cannot be read.
        GpuAskError: a GPU is asked for in a way that is refused.
    """
    config = {
        "DeviceRequests": [
            *map(device_request, parsed.values("gpus")),
            *({"Driver": "cdi", "DeviceIDs": [name]} for name in parsed.values("device") if is_cdi(name)),
        ],
        "Devices": [{"PathOnHost": text.partition(":")[0]} for text in parsed.values("device") if not is_cdi(text)],
        "DeviceCgroupRules": list(parsed.values("device-cgroup-rule")),
        "Runtime": _last(parsed, "runtime"),
        "Annotations": dict(text.partition("=")[::2] for text in parsed.values("annotation")),
    }
    _check_swap(parsed)
    environment = [f"{text}={visible_devices}" if text == VISIBLE else text for text in parsed.values("env")]
    return ContainerRequest(
        verb=Verb(parsed.topic),
        container=_last(parsed, "name") or None,
        memory_bytes=_amount(parsed, "memory") or None,
        nano_cpus=_cpus(parsed) or None,
        pids=_whole(parsed, "pids-limit"),
        shm_bytes=_amount(parsed, "shm-size") or None,
        ipc_mode=_last(parsed, "ipc") or None,
        gpu=asked_gpus(config, environment),
    )


def read_update(parsed: Parsed, container: Container) -> ContainerRequest:
    """Return what a line for `update` asks for one of its containers, which goes on with whatever it does not name.

    Raises:
        BadInputError: a value cannot be read.
    """
    return replace(
        read_request(parsed, ""),
        container=container.name,
        nano_cpus=_cpus_then(parsed, container),
        is_live=True,
        had_bytes=container.memory_bytes if container.is_live else None,
    )


def _cpus_then(parsed: Parsed, container: Container) -> int | None:
    """Return how many CPUs a container may use after an update; None when the line changes nothing about it.

    Source: docker update reference, and moby, container/container_unix.go, UpdateContainer: 0 leaves what is there, and
    of period and quota each is changed alone.
    """
    cpus = read_nano_cpus("--cpus", _last(parsed, "cpus")) if parsed.values("cpus") else 0
    quota, period = _whole(parsed, "cpu-quota") or 0, _whole(parsed, "cpu-period") or 0
    if quota < 0:
        return _UNLIMITED_CPUS
    if cpus or (quota == 0 and period <= 0):
        return cpus or None
    if container.nano_cpus is not None:
        there, length = container.nano_cpus * _PERIOD_USEC // _NANO, _PERIOD_USEC
    else:
        there, length = container.cpu_quota_usec or 0, container.cpu_period_usec or _PERIOD_USEC
    quota, period = quota or there, period if period > 0 else length
    return quota * _NANO // period if quota > 0 else None


def _last(parsed: Parsed, name: str) -> str:
    """Return the value that counts of an option that is given more than once."""
    values = parsed.values(name)
    return values[-1] if values else ""


def _amount(parsed: Parsed, name: str) -> int:
    """Return an amount in bytes, 0 where nothing is said; an empty word is no amount to the client either."""
    return read_bytes(f"--{name}", _last(parsed, name)) if parsed.values(name) else 0


def _check_swap(parsed: Parsed) -> None:
    """Refuse what the client would: the value itself is replaced, since no container gets swap."""
    if _last(parsed, "memory-swap") != _UNLIMITED_SWAP:
        _amount(parsed, "memory-swap")


def _cpus(parsed: Parsed) -> int:
    """Return how many CPUs a line asks for, also in the older way; 0 when it does not say.

    Source: docker run reference: --cpus=1.5 is --cpu-period=100000 --cpu-quota=150000.
    """
    if parsed.values("cpus"):
        return read_nano_cpus("--cpus", _last(parsed, "cpus"))
    quota = _whole(parsed, "cpu-quota") or 0
    period = _whole(parsed, "cpu-period") or _PERIOD_USEC
    return quota * _NANO // period if quota > 0 and period > 0 else 0


def _whole(parsed: Parsed, name: str) -> int | None:
    return read_whole(f"--{name}", _last(parsed, name)) if parsed.values(name) else None


def parent_asked(parsed: Parsed) -> str | None:
    """Return the slice that a line asks for; None when it does not say."""
    return _last(parsed, "cgroup-parent") or None


def type_of(parsed: Parsed) -> ContainerType:
    """Return by which tool a container is made, by the labels that the tool gives it."""
    names = {text.partition("=")[0] for text in parsed.values("label")}
    if any(name.startswith(_DEVCONTAINER) for name in names):
        return ContainerType.DEVCONTAINER
    return ContainerType.COMPOSE if _COMPOSE in names else ContainerType.DOCKER


# --- The line as it is run --------------------------------------------------------------------------------------------


def write_line(
    parsed: Parsed, request: ContainerRequest, admission: Admission, rules: AccountRules, marks: Marks
) -> tuple[str, ...]:
    """Return the line with everything that DS01 adds to it, and without what a user may not say."""
    limited = rules.applies(Rule.LIMITS)
    replaced = _replaced(parsed, request, admission, limited=limited)
    added = [
        f"--cgroup-parent={marks.parent}",
        *(f"--label={name}={value}" for name, value in _labels(parsed, marks).items()),
        *(_limits(parsed, admission.settings) if limited else ()),
        *(_no_gpu() if admission.grant is None else _gpus(parsed, admission.grant)),
    ]
    return write(parsed, lambda given: given.name not in replaced and not _is_ours(given), added)


def _replaced(parsed: Parsed, request: ContainerRequest, admission: Admission, *, limited: bool) -> frozenset[str]:
    names = {"cgroup-parent", "gpus"}
    if limited and admission.settings.memory_bytes is not None:
        names |= {"memory", "memory-swap"}
    if limited and request.pids is None:
        names.add("pids-limit")
    if limited and request.nano_cpus is None:
        # 0 says what nothing says, and clashes with --cpus.
        names |= {"cpus", "cpu-quota"}
    if limited and (_whole(parsed, "cpu-quota") or 0) <= 0:
        # Less than 0 is unlimited, and goes before --cpus. Source: moby, daemon/oci_linux.go and daemon_unix.go.
        names.add("cpu-quota")
    return frozenset(names)


def write_update(parsed: Parsed, containers: Collection[Container], rules: AccountRules) -> tuple[str, ...] | None:
    """Return a line for `update` with as much swap as memory, which is none; None where it may go as it is.

    Swap alone becomes the memory that all its containers have; where they differ it is left out.
    """
    names = {"memory", "memory-swap"}
    if not rules.applies(Rule.LIMITS) or not any(map(parsed.values, names)):
        return None
    memory = _amount(parsed, "memory")
    there = {each.memory_bytes for each in containers}
    swap = memory or (next(iter(there)) if len(there) == 1 and parsed.values("memory-swap") else None)
    added = [*([f"--memory={memory}"] if memory else ()), *([f"--memory-swap={swap}"] if swap else ())]
    return write(parsed, lambda given: given.name not in names, added)


def _is_ours(given: Given) -> bool:
    """Whether an option says what DS01 alone says."""
    name, _, _ = (given.value or "").partition("=")
    if given.name == "label":
        return name.startswith(_OURS) or name in _OLDER
    if given.name == "env":
        return name in {VISIBLE, CUDA}
    return given.name == "device" and is_cdi_gpu(given.value or "")


def _labels(parsed: Parsed, marks: Marks) -> Mapping[str, str]:
    ours = {
        known.USER: marks.user,
        known.MANAGED: "true",
        known.CONTAINER_TYPE: type_of(parsed).value,
        known.CREATED_AT: marks.created_at,
        known.SLICE: marks.parent,
        # Said of every container, since an image may carry the label too.
        known.PROTECTED: "true" if marks.protected else "false",
    }
    # A file of labels is read by the client alone; what stands on the line goes before it.
    return ours | (_NOT_BY_FILE if parsed.values("label-file") else {})


def _limits(parsed: Parsed, settings: Settings) -> Iterator[str]:
    if settings.memory_bytes is not None:
        # As much swap as memory is no swap. Source: docker run reference, "--memory-swap".
        yield f"--memory={settings.memory_bytes}"
        yield f"--memory-swap={settings.memory_bytes}"
    if settings.nano_cpus is not None and not _cpus(parsed):
        period = _whole(parsed, "cpu-period") or 0
        if period > 0:
            yield f"--cpu-quota={settings.nano_cpus * period // _NANO}"
        else:
            yield f"--cpus={_decimal(settings.nano_cpus)}"
    if settings.pids is not None and not parsed.values("pids-limit"):
        yield f"--pids-limit={settings.pids}"
    if settings.shm_bytes is not None and not _amount(parsed, "shm-size"):
        yield f"--shm-size={settings.shm_bytes}"
    if settings.ipc_mode is not None and not _last(parsed, "ipc"):
        yield f"--ipc={settings.ipc_mode}"


def _decimal(nano: int) -> str:
    whole, rest = divmod(nano, _NANO)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def _no_gpu() -> Sequence[str]:
    """Images carry `all`, which a runtime of NVIDIA's takes for a wish."""
    return (f"--env={VISIBLE}={NONE}",)


def _gpus(parsed: Parsed, grant: Grant) -> Iterator[str]:
    from ds01.runtime.gpu.launch import environment, gpu_labels  # noqa: PLC0415 - for those who have a GPU

    # The client reads the value as a line of CSV. Source: docker run reference, "--gpus".
    fields = [f"device={','.join(grant.allocation.uuids)}", *_kept_of_gpus(parsed)]
    yield "--gpus=" + ",".join(map(_csv, fields))
    for name, value in environment(grant).items():
        yield f"--env={name}={value}"
    for name, value in gpu_labels(grant.allocation).items():
        yield f"--label={name}={value}"


def _csv(field: str) -> str:
    quoted = field.replace('"', '""')
    return f'"{quoted}"' if "," in field or quoted != field else field


def _kept_of_gpus(parsed: Parsed) -> Iterator[str]:
    """Yield what a user says of the kind of access, which is no question of how many."""
    asked = [device_request(text) for text in parsed.values("gpus")]
    names = [name for each in asked for name in _capabilities(each)]
    if names:
        yield f"capabilities={','.join(dict.fromkeys(names))}"
    yield from (f"options={each['Options']}" for each in asked[:1] if each["Options"])


def _capabilities(request: Mapping[str, object]) -> Iterator[str]:
    groups = request["Capabilities"]
    if isinstance(groups, list):
        yield from (str(name) for group in groups for name in group)
