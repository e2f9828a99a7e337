"""Whose a container is to an account that would touch it, and who may touch more than its label shows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from ds01.core import labels as known
from ds01.core.pattern import pattern
from ds01.core.typed import Final
from ds01.core.value import dataclass

# What the docker command reads as "anybody": no account is called so.
EVERYBODY: Final = "*"
_NOBODY: Final = ""
# In a line of words these stay what they are; what has others in it is told of everybody.
_WORD: Final = pattern(r"[!-~]{1,256}")
_MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Labelled:
    """What the labels of a container say of whose it is.

    Attributes:
        owner: by any label that names somebody; None when none does.
        label: DS01's own label, which lists filter by, as it stands there.
        name: the container's, by which a policy knows the site's own.
    """

    owner: str | None
    label: str | None
    name: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether DS01's own label says all that labels say."""
        return self.owner is not None and self.owner == self.label


def labelled(labels: Mapping[str, str], name: str = "") -> Labelled:
    """Return what the labels of a container say."""
    owner = known.owner(labels)
    return Labelled(None if owner is None else owner.name, labels.get(known.USER), name)


def owner_to(account: str, label: str | None, claimed: Callable[[], str | None]) -> str | None:
    """Return whose a container is; None when nothing tells.

    The account that its label names may touch it; for anybody else an administrator's word stands above the label.

    Args:
        account: who would touch it.
        label: whose it is by its labels.
        claimed: returns whose it is by an administrator's word; asked only when that matters.
    """
    if label is not None and label == account:
        return label
    claim = claimed()
    return label if claim is None else claim


def may_touch(account: str, owner: str | None, *, unowned_free: bool) -> bool:
    """Whether an account may touch a container that is somebody's, or nobody's."""
    return unowned_free if owner is None else owner == account


def unowned_are_free(policy: Mapping[str, object]) -> bool:
    """Whether a policy lets everybody touch what is nobody's."""
    access = policy.get("access_control")
    return isinstance(access, dict) and access.get("unowned_containers") == "allow"


def beyond_labels(
    containers: Mapping[str, Labelled],
    claims: Mapping[str, str],
    *,
    unowned_free: bool,
    sites_own: Collection[str] = (),
) -> frozenset[str] | None:
    """Return the accounts that may touch a container which does not have DS01's label with their name.

    Args:
        containers: all there are, by id.
        claims: whose those are of which an administrator said it, by id.
        sites_own: the names of containers that are free for nobody.

    Returns:
        None when that is everybody.
    """
    found = set()
    for container_id, each in containers.items():
        claim, free = claims.get(container_id), unowned_free and each.name not in sites_own
        for account in _touching((_NOBODY, each.owner, claim), each.owner, claim, unowned_free=free):
            if account == _NOBODY:
                return None
            if account != each.label:
                found.add(account)
    return frozenset(found)


def _touching(
    accounts: Iterable[str | None], label: str | None, claim: str | None, *, unowned_free: bool
) -> Iterable[str]:
    for account in accounts:
        if account is not None and may_touch(
            account, owner_to(account, label, lambda: claim), unowned_free=unowned_free
        ):
            yield account


def lists_text(beyond: frozenset[str] | None, until: int) -> str:
    """Return what /run/ds01/lists says: until when it is good, and whose lists the label does not tell.

    Args:
        beyond: as beyond_labels() returns it.
        until: seconds since 1970.
    """
    if beyond is None or len(beyond) > _MOST or not all(map(_WORD.fullmatch, beyond)):
        beyond = frozenset({EVERYBODY})
    return " ".join((str(until), *sorted(beyond))) + "\n"
