"""Which containers an emergency stop is about, and which it leaves alone. Pure; targets.py looks at them.

Rules of lifecycle, notices and grace play no part: an administrator has decided. Who must not be hit by mistake, the
site's own containers, is left alone wherever it cannot be told.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.runtime.containers.container import State


class What(Enum):
    """Of whom or what."""

    USER = "user"
    GPU = "gpu"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be stopped.

    Attributes:
        user: the account, for USER.
        parts: what stands in the names of its slices.
        spare_protected: whether an administrator's word on a container holds here too.
        including_site: whether the site's own containers are meant as well.
    """

    what: What
    user: str | None = None
    parts: frozenset[str] = frozenset()
    spare_protected: bool = False
    including_site: bool = False

    @property
    def words(self) -> str:
        """Return it as it stands on the command line."""
        return f"--user {self.user}" if self.what is What.USER else f"--{self.what.value}"


@dataclass(frozen=True, slots=True)
class Sign:
    """Something that says whose a container is; without a proof, any of them will do here.

    Attributes:
        by: what says so: `claim`, `record`, `label` or `slice`.
    """

    user: str
    by: str


CLAIM: Final = "claim"
RECORD: Final = "record"
LABEL: Final = "label"
SLICE: Final = "slice"


@dataclass(frozen=True, slots=True)
class Target:
    """One container that runs, is paused, or comes back by itself.

    Attributes:
        signs: whose it is, the strongest first; an administrator's claim stands above all others.
        slice_part: what stands for the account in the name of its slice; None outside accounts' slices.
        has_gpu: None when Docker does not say.
        of_site: whether it is one of the site's own; None when nobody can tell.
        restart_policy: None when Docker does not say.
    """

    id: str
    name: str
    state: State
    signs: tuple[Sign, ...] = ()
    slice_part: str | None = None
    has_gpu: bool | None = None
    of_site: bool | None = False
    protected: bool = False
    restart_policy: str | None = None

    @property
    def owner(self) -> Sign | None:
        """What says most about whose it is."""
        return self.signs[0] if self.signs else None


@dataclass(frozen=True, slots=True)
class Left:
    """A container that is meant and left alone.

    Attributes:
        unclear: whether only because something cannot be told.
    """

    target: Target
    why: str
    unclear: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of the containers that are meant."""

    stop: tuple[Target, ...]
    left: tuple[Left, ...]


def choose(targets: Iterable[Target], scope: Scope) -> Choice:
    """Decide which containers are stopped."""
    stop, left = [], []
    for target in targets:
        meant = _is_meant(target, scope)
        if meant is False:
            continue
        spared = _spared(target, scope)
        if spared is not None:
            left.append(spared)
        elif meant is None:
            left.append(Left(target, "Docker does not say whether it has a GPU", unclear=True))
        else:
            stop.append(target)
    return Choice(tuple(stop), tuple(left))


def _is_meant(target: Target, scope: Scope) -> bool | None:
    match scope.what:
        case What.ALL:
            return True
        case What.GPU:
            return target.has_gpu
        case What.USER:
            return _is_of(target, scope)


def _is_of(target: Target, scope: Scope) -> bool:
    owner = target.owner
    if owner is not None and owner.by == CLAIM:
        return owner.user == scope.user
    return target.slice_part in scope.parts or any(sign.user == scope.user for sign in target.signs)


def _spared(target: Target, scope: Scope) -> Left | None:
    if target.of_site is not False and not scope.including_site:
        if target.of_site is None:
            why = "it may be one of the site's own; without a policy nobody can tell"
            return Left(target, why, unclear=True)
        return Left(target, "it is one of the site's own")
    if target.protected and scope.spare_protected:
        return Left(target, "it is protected")
    return None
