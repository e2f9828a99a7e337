"""The one decision whether a container may run, for whatever way it comes by. Pure.

Rules are asked in a fixed order: number of containers, limits of one container, memory over all, processes, and GPUs
last, so that nobody waits for a GPU only to be refused for memory. What cannot be told refuses nobody: the caller logs
that the door stood open. Administrators are refused nothing, and counted like everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ds01.core.rules import Mode, Rule
from ds01.core.typed import Final
from ds01.core.units import format_number, format_size
from ds01.core.value import dataclass, field
from ds01.core.words import count
from ds01.runtime.containers.request import AccountRules, ContainerRequest, Settings, Usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ds01.runtime.gpu.answer import Grant
    from ds01.runtime.identity import Caller

_NANO: Final = 10**9
_FULL_PERCENT: Final = 90
_STOP_ONE: Final = "docker stop <name>"
_LOOK: Final = ("Check your containers: docker ps", "Check your limits: check-limits")
_NAMES_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Refusal:
    """A container may not run, and why.

    Attributes:
        title: of the box.
        rows: name and value, such as `Current usage` and `48G`.
        meaning: what it means, a sentence or two.
        steps: what its user can do, a line each.
        figures: what the rows say as numbers, in bytes where they are amounts, for the event log.
    """

    rule: Rule
    title: str
    rows: tuple[tuple[str, str], ...]
    meaning: str
    steps: tuple[str, ...]
    figures: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Admission:
    """A container may run.

    Attributes:
        settings: what a new one is made with.
        reserved_bytes: what counts for it until its own limit can be seen.
        grant: its GPUs; None when it asks for none.
        notes: what its user should know, a line each.
        overruled: what would have refused it, were the rule enforced.
    """

    settings: Settings
    reserved_bytes: int
    grant: Grant | None = None
    notes: tuple[str, ...] = ()
    overruled: tuple[Refusal, ...] = ()


def admit(
    request: ContainerRequest,
    identity: Caller,
    limits: AccountRules,
    usage: Usage,
    gpu: Callable[[], Grant | Refusal],
) -> Admission | Refusal:
    """Decide whether a container may run, and with what.

    Args:
        identity: whose it is to be; an administrator is refused nothing.
        usage: what the account has without this one.
        gpu: asked last, and only for a container that wants one; may wait.
    """
    settings = settings_for(request, limits)
    overruled: list[Refusal] = []
    if not identity.is_admin:
        for refusal in _against(request, settings, limits, usage):
            if limits.rules.mode(refusal.rule) is Mode.ENFORCE:
                return refusal
            overruled.append(refusal)
    grant = None
    if request.gpu is not None:
        answer = gpu()
        if isinstance(answer, Refusal):
            return answer
        grant = answer
    notes = (*_notes(limits, usage), *(grant.notes if grant is not None else ()))
    return Admission(settings, 0 if request.is_live else settings.memory_bytes or 0, grant, notes, tuple(overruled))


def settings_for(request: ContainerRequest, limits: AccountRules) -> Settings:
    """Return what a container is made with: what is asked for, and the policy's where nothing is.

    Docker takes `--ipc=host` or `--shm-size`, never both.
    """
    if not limits.applies(Rule.LIMITS):
        return Settings(request.memory_bytes, request.nano_cpus, request.pids, request.shm_bytes, request.ipc_mode)
    resolved = limits.limits
    cpus = resolved["max_cpus"].value
    nano = round(cpus * _NANO) if isinstance(cpus, (int, float)) else None
    shares_host = resolved["ipc_mode"].value == "host"
    ipc = request.ipc_mode or ("host" if shares_host and request.shm_bytes is None else None)
    own_shm = ipc is None or ipc in {"private", "shareable"}
    return Settings(
        memory_bytes=_or(request.memory_bytes, resolved.whole("memory")),
        nano_cpus=_or(request.nano_cpus, nano),
        pids=_or(request.pids, resolved.whole("pids_limit")),
        shm_bytes=_or(request.shm_bytes, resolved.whole("shm_size")) if own_shm else None,
        ipc_mode=ipc,
    )


def _or(asked: int | None, limit: int | None) -> int | None:
    return limit if asked is None else asked


def _against(request: ContainerRequest, settings: Settings, limits: AccountRules, usage: Usage) -> Iterator[Refusal]:
    """Yield what speaks against a container, in the order of the rules."""
    if limits.applies(Rule.CONTAINERS):
        yield from _too_many_containers(request, limits, usage)
    if limits.applies(Rule.LIMITS):
        yield from _above_one_containers_limits(request, limits)
    if limits.applies(Rule.MEMORY):
        yield from _above_memory_of_all(request, settings, limits, usage)


def _too_many_containers(request: ContainerRequest, limits: AccountRules, usage: Usage) -> Iterator[Refusal]:
    most = limits.limits.whole("max_containers")
    if most is None or usage.containers is None or request.is_live or usage.containers + 1 <= most:
        return
    yield Refusal(
        Rule.CONTAINERS,
        "DS01 Container Quota Exceeded",
        (
            ("Current usage", count(usage.containers, "container") + _named(usage.names)),
            ("Requested", _one_more(request)),
            ("Your limit", count(most, "container")),
        ),
        "Running and paused containers count, and those that are just being started.",
        (f"Stop a running container: {_STOP_ONE}", *_LOOK),
        {"current": usage.containers, "requested": 1, "limit": most},
    )


def _named(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    more = ", …" if len(names) > _NAMES_SHOWN else ""
    return f" ({', '.join(names[:_NAMES_SHOWN])}{more})"


def _one_more(request: ContainerRequest) -> str:
    return "1 more" if request.container is None else f"1 more ({request.container})"


# --- One container ----------------------------------------------------------------------------------------------------


def _above_one_containers_limits(request: ContainerRequest, limits: AccountRules) -> Iterator[Refusal]:
    resolved = limits.limits
    memory, shm, pids = (resolved.whole(name) for name in ("memory", "shm_size", "pids_limit"))
    cpus = resolved["max_cpus"].value
    if memory is not None and (request.memory_bytes or 0) > memory:
        yield _above("Memory", "--memory", request.memory_bytes or 0, memory, format_size)
    if isinstance(cpus, (int, float)) and not 0 <= (request.nano_cpus or 0) <= round(cpus * _NANO):
        yield _above("CPU", "--cpus", (request.nano_cpus or 0) / _NANO, cpus, _cpus)
    if shm is not None and (request.shm_bytes or 0) > shm:
        yield _above("Shared Memory", "--shm-size", request.shm_bytes or 0, shm, format_size)
    if pids is not None and request.pids is not None and not 0 < request.pids <= pids:
        yield _above("Process", "--pids-limit", request.pids, pids, _pids)
    if request.ipc_mode == "host" and resolved["ipc_mode"].value != "host":
        yield Refusal(
            Rule.LIMITS,
            "DS01 Shared Memory Limit Exceeded",
            (("Requested", "--ipc=host, the machine's own"), ("Your limit", f"--shm-size {_size(shm)} a container")),
            "Shared memory of the machine has no limit of yours.",
            (f"Leave --ipc out: /dev/shm of your container then has {_size(shm)}", _LOOK[1]),
            {"requested": "host", "limit": shm},
        )


def _above(
    what: str, option: str, requested: float, limit: float, show: Callable[[int], str] | Callable[[float], str]
) -> Refusal:
    shown: Callable[[float], str] = show  # type: ignore[assignment]  # sizes and counts are whole
    return Refusal(
        Rule.LIMITS,
        f"DS01 Container {what} Limit Exceeded",
        (("Requested", f"{option} {shown(requested)}"), ("Your limit", f"{shown(limit)} a container")),
        "No single container of yours may have more than that.",
        (f"Ask for no more: {option} {shown(limit)}, or leave {option} out to get that", _LOOK[1]),
        {"requested": requested, "limit": limit},
    )


def _cpus(number: float) -> str:
    return "unlimited" if number < 0 else format_number(number)


def _pids(number: float) -> str:
    return "unlimited" if number <= 0 else str(int(number))


def _size(size: int | None) -> str:
    return "unlimited" if size is None else format_size(size)


# --- All containers of an account -------------------------------------------------------------------------------------


def _above_memory_of_all(
    request: ContainerRequest, settings: Settings, limits: AccountRules, usage: Usage
) -> Iterator[Refusal]:
    """Refuse for whichever half says so: memory that is in use, or that running containers may come to use."""
    most = limits.limits.whole("aggregate.memory_max")
    if most is None or (request.is_live and not request.more_bytes):
        return
    requested = (request.memory_bytes if request.is_live else settings.memory_bytes) or 0
    # Of one that runs its own part is in what is in use, and not in what the others may use.
    more = request.more_bytes or requested
    in_use, committed = usage.working_set_bytes, usage.committed_bytes
    if committed is not None and committed + requested > most:
        which = "your other containers" if request.is_live else "your containers"
        others = f"{which} may use that much" if committed else f"nothing {'else ' * request.is_live}of yours runs"
        yield _memory_refusal(committed, f"{_rounded(committed)} ({others})", requested, most)
    elif in_use is not None and in_use + more > most:
        yield _memory_refusal(in_use, f"{_rounded(in_use)} (in use right now)", requested, most)


def _memory_refusal(current: int, shown: str, requested: int, most: int) -> Refusal:
    return Refusal(
        Rule.MEMORY,
        "DS01 Aggregate Memory Quota Exceeded",
        (("Current usage", shown), ("Requested", format_size(requested)), ("Your limit", format_size(most))),
        "This container would exceed your aggregate memory quota.",
        (
            f"Stop a running container: {_STOP_ONE}",
            "Ask for less memory: docker run --memory <size> …",
            *_LOOK,
        ),
        {"current": current, "requested": requested, "limit": most},
    )


def _rounded(size: int) -> str:
    """What the kernel counts is never a round number, and nobody needs its last digit; limits stay as they are."""
    if size % 1024**2 == 0:
        return format_size(size)
    for unit, letter in ((1024**3, "G"), (1024**2, "M")):
        if size >= unit:
            return f"{size / unit:.1f}{letter}".replace(".0", "")
    return f"{size // 1024}K"


def _notes(limits: AccountRules, usage: Usage) -> Iterator[str]:
    most = limits.limits.whole("aggregate.tasks_max")
    if not limits.applies(Rule.PIDS) or most is None or usage.pids is None:
        return
    if usage.pids * 100 >= most * _FULL_PERCENT:
        yield (
            f"your containers have {usage.pids} of {most} processes and threads ({usage.pids * 100 // most}%):"
            " at the limit no new one can start in any of them"
        )
