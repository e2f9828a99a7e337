"""What is asked for, and what the policy lets an account have of GPUs. Pure: text and policy in, values out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from fractions import Fraction

from ds01.core.errors import BadInputError
from ds01.core.limits import ResolvedLimits
from ds01.core.policy import Policy, PolicyError
from ds01.core.rules import Mode, mode_of
from ds01.core.typed import Final, TypeVar
from ds01.core.value import dataclass
from ds01.runtime.gpu.baremetal import read_bare_metal

MOST_UNITS: Final = 1024
_COUNT: Final = re.compile(r"[0-9]{1,6}", re.ASCII)
# A slot, or a UUID in either form that drivers use. Source: nvidia-smi(1), "-i, --id"; MIG user guide, "Device names".
_DEVICE: Final = re.compile(
    r"(?:[0-9]{1,4}(?::[0-9]{1,3})?|GPU-[0-9A-Za-z-]{1,64}|MIG-[0-9A-Za-z-]{1,64}(?:/[0-9]{1,3}/[0-9]{1,3})?)", re.ASCII
)
_Choice = TypeVar("_Choice", bound=Enum)


class GpuUnit(Enum):
    """What one GPU is for a group."""

    MIG = "mig"
    FULL = "full"
    ANY = "any"


class Strategy(Enum):
    """On which GPU the next unit is given."""

    LEAST_ALLOCATED = "least_allocated"
    PACK = "pack"


@dataclass(frozen=True, slots=True)
class Count:
    """So many units, whichever are free."""

    number: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= MOST_UNITS:
            raise BadInputError(f"{self.number} GPUs cannot be asked for", None, f"ask for 1 to {MOST_UNITS}")


@dataclass(frozen=True, slots=True)
class All:
    """What Docker calls `all`: one MIG instance, or every whole GPU that the policy allows one container."""


@dataclass(frozen=True, slots=True)
class Named:
    """These and no others, by slot or UUID."""

    devices: tuple[str, ...]


Wanted = Count | All | Named


def parse_wanted(text: str) -> Wanted:
    """Read what people and `docker run --gpus` write: `2`, `all`, `device=0:1`, `"device=1,GPU-…"`.

    Raises:
        BadInputError: anything else.
    """
    plain = text.strip()
    if len(plain) > 1 and plain[0] == plain[-1] == '"':
        plain = plain[1:-1]
    if plain == "all":
        return All()
    if _COUNT.fullmatch(plain):
        return Count(int(plain))
    if plain.startswith("device="):
        return Named(parse_devices(plain.removeprefix("device=")))
    raise BadInputError(
        f"{text[:80]!r} is no request for GPUs", None, "write a number, all, or device=SLOT[,SLOT…] such as device=0:1"
    )


def parse_devices(text: str) -> tuple[str, ...]:
    """Read slots and UUIDs with commas between them.

    Raises:
        BadInputError: none, the same one twice, or one that is neither a slot nor a UUID.
    """
    devices = tuple(part.strip() for part in text.split(",", MOST_UNITS))
    for device in devices:
        if not _DEVICE.fullmatch(device):
            raise BadInputError(
                f"{device[:80]!r} is no GPU", None, "name slots such as 0 or 0:1, or UUIDs as nvidia-smi -L prints them"
            )
    if len(set(devices)) < len(devices):
        raise BadInputError(f"a GPU is named twice: {text[:200]}", None, "name each once")
    return devices


def format_wanted(wanted: Wanted) -> str:
    """Return what parse_wanted() reads back to the same."""
    match wanted:
        case Count(number):
            return str(number)
        case All():
            return "all"
        case Named(devices):
            return f"device={','.join(devices)}"


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody wants units for a container.

    Attributes:
        id: of the allocation it becomes; the same one again is the same request.
        container: its name; None while Docker has not made one up.
        priority: of the account, or less by its own wish.
        most_units: a lower quota by its own wish (for an admin also a higher one); None is the policy's.
    """

    id: str
    user: str
    wanted: Wanted
    priority: int
    container: str | None = None
    most_units: int | None = None


@dataclass(frozen=True, slots=True)
class AccountLimits:
    """What the policy lets one account have of GPUs; None is unlimited.

    Attributes:
        max_equivalents: over all containers, in whole GPUs.
        hold_seconds: how long a stopped container keeps its units.
        exempt: an admin: no quota holds, all is counted.
    """

    unit: GpuUnit = GpuUnit.MIG
    max_units: int | None = None
    max_per_container: int | None = None
    allow_full: bool = False
    max_equivalents: Fraction | None = None
    priority: int = 10
    hold_seconds: int | None = None
    exempt: bool = False

    @property
    def may_have_whole(self) -> bool:
        """Whether a whole GPU may be given to it."""
        return self.allow_full or self.exempt


_NOTHING: Final = AccountLimits(max_units=0, max_per_container=0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What allocate() holds a request against.

    Attributes:
        accounts: of the one who asks and of everybody who waits.
        avoid_busy: whether a unit is left alone that a process outside any container uses.
        count_outside: whether units that an account's processes use outside containers count in its quotas.
        profile: the MIG profile that is given first where there are several.
    """

    accounts: Mapping[str, AccountLimits]
    strategy: Strategy = Strategy.LEAST_ALLOCATED
    avoid_busy: bool = True
    enable_mig: bool = True
    profile: str | None = None
    mode: Mode = Mode.ENFORCE
    count_outside: bool = True

    def of(self, user: str) -> AccountLimits:
        """Return an account's own limits; one that nobody resolved may have nothing."""
        return self.accounts.get(user, _NOTHING)


def account_limits(resolved: ResolvedLimits, *, admin: bool) -> AccountLimits:
    """Take what concerns GPUs out of an account's resolved limits.

    Args:
        admin: whether the account is an administrator, whatever its group.
    """
    equivalents = resolved["max_gpu_equivalents"].value
    return AccountLimits(
        unit=_choice(GpuUnit, resolved["gpu_unit"].value, "gpu_unit"),
        max_units=resolved.whole("max_mig_instances"),
        max_per_container=resolved.whole("max_mig_per_container"),
        allow_full=resolved["allow_full_gpu"].value is True,
        max_equivalents=None if equivalents is None else Fraction(str(equivalents)),
        priority=resolved.whole("priority") or 0,
        hold_seconds=resolved.whole("gpu_hold_after_stop"),
        exempt=admin,
    )


def site_limits(policy: Policy, accounts: Mapping[str, AccountLimits]) -> Limits:
    """Take how GPUs are handed out from the compiled policy.

    Raises:
        PolicyError: a part is missing or says what this version does not know.
    """
    gpus = _section(policy.document, "gpu_allocation")
    rules = _section(_section(policy.document, "enforcement"), "rules")
    profile = gpus.get("mig_profile")
    return Limits(
        accounts=accounts,
        strategy=_choice(Strategy, gpus.get("strategy"), "gpu_allocation.strategy"),
        avoid_busy=gpus.get("bare_metal_busy") != "ignore",
        enable_mig=gpus.get("enable_mig") is not False,
        profile=profile if isinstance(profile, str) else None,
        mode=mode_of(rules.get("gpu"), "enforcement.rules.gpu"),
        count_outside=read_bare_metal(policy).count_in_quota,
    )


def holds_end(policy: Policy) -> bool:
    """Whether holds end by themselves (`rules.gpu_hold`); else a stopped container keeps its units until it is removed.

    Raises:
        PolicyError: as site_limits().
    """
    rules = _section(_section(policy.document, "enforcement"), "rules")
    return mode_of(rules.get("gpu_hold"), "enforcement.rules.gpu_hold") is Mode.ENFORCE


def wait_seconds(policy: Policy) -> int:
    """Return how long a request waits in line before it is refused.

    Raises:
        PolicyError: the policy does not say.
    """
    seconds = _section(policy.document, "gpu_allocation").get("wait_seconds")
    if not isinstance(seconds, int) or isinstance(seconds, bool):
        raise _incomplete("gpu_allocation.wait_seconds", seconds)
    return seconds


def _section(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    section = document.get(name)
    if not isinstance(section, dict):
        raise _incomplete(name, section)
    return section


def _choice(kind: type[_Choice], value: object, name: str) -> _Choice:
    try:
        return kind(value)
    except ValueError as error:
        raise _incomplete(name, value) from error


def _incomplete(name: str, value: object) -> PolicyError:
    return PolicyError(f"the compiled policy says {value!r} for {name}", None, "deploy again")
