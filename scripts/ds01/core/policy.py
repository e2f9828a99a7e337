"""The compiled policy as a value, and the one reader of `/etc/ds01/policy.json`.

Decides nothing: limits.py resolves; this module only gives the parts of the file their types.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ds01.core.errors import BadInputError
from ds01.core.jsonstate import read_json
from ds01.core.typed import Final
from ds01.core.value import dataclass

POLICY_VERSION: Final = 1

# One layer of limits in canonical units: "memory_bytes": 34359738368, …, "aggregate": {…} or None for unlimited.
Layer = Mapping[str, object]


class PolicyError(BadInputError):
    """The compiled policy is missing or not one this version can read."""


@dataclass(frozen=True, slots=True)
class Group:
    """One tier of accounts.

    Attributes:
        unix_group: Linux group whose unlisted members belong here too, or None.
        limits: what this group states; keys that are absent are inherited from the defaults.
    """

    name: str
    description: str
    unix_group: str | None
    limits: Layer


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything policy.json says.

    Attributes:
        users: listed account to group.
        overrides: account to the limits stated for it alone.
        host_cpus: CPUs of the machine, above which Docker refuses a container.
        aggregate_limits: whether per-user slices are limited at all.
        document: the whole file, for the sections that are not about limits.
    """

    default_group: str
    defaults: Layer
    groups: Mapping[str, Group]
    users: Mapping[str, str]
    overrides: Mapping[str, Layer]
    host_cpus: int
    aggregate_limits: bool
    document: Mapping[str, object]

    @classmethod
    def from_document(cls, document: Mapping[str, object]) -> Policy:
        """Give a compiled document its types.

        Raises:
            PolicyError: another version, or a part is missing or of the wrong kind.
        """
        version = document.get("version")
        if version != POLICY_VERSION:
            raise PolicyError(
                f"the compiled policy has version {version!r}, this DS01 reads version {POLICY_VERSION}",
                None,
                "deploy again, so that policy and runtime come from the same release",
            )
        try:
            groups = {
                name: Group(
                    name=name,
                    description=str(entry["description"]),
                    unix_group=None if entry["unix_group"] is None else str(entry["unix_group"]),
                    limits=_mapping(entry["limits"]),
                )
                for name, entry in _mappings(document["groups"]).items()
            }
            default_group = str(document["default_group"])
            _ = groups[default_group]
            users = {name: str(entry["group"]) for name, entry in _mappings(document["users"]).items()}
            return cls(
                default_group=default_group,
                defaults=_mapping(document["defaults"]),
                groups=groups,
                users=users,
                overrides=_mappings(document["user_overrides"]),
                host_cpus=int(str(_mapping(document["host"])["cpus"])),
                aggregate_limits=_mapping(document["enforcement"])["aggregate_limits"] is True,
                document=document,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PolicyError(
                "the compiled policy is not complete", f"{type(error).__name__}: {error}", "deploy again"
            ) from error


def read_policy(path: Path, *, of_root: bool = False, otherwise: str = "") -> Policy:
    """Read the compiled policy.

    Args:
        of_root: root believes it only when nobody else could have written it.
        otherwise: what the caller's user could do instead of deploying, such as an option of the command.

    Raises:
        PolicyError: there is none, or it cannot be used.
        StateError: the file is there but unreadable or not JSON.
    """
    document = read_json(path, of_root=of_root)
    if document is None:
        raise PolicyError(
            f"there is no compiled policy at {path}",
            None,
            f"deploy first (sudo ./inv deploy){otherwise}",
        )
    return Policy.from_document(document)


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"expected an object, found {type(value).__name__}")
    return value


def _mappings(value: object) -> dict[str, Mapping[str, object]]:
    return {name: _mapping(entry) for name, entry in _mapping(value).items()}
