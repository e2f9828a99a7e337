"""The rules that can be enforced, and in which mode each one is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from ds01.core.policy import Policy, PolicyError
from ds01.core.value import dataclass


class Mode(Enum):
    """What becomes of a request that a rule is against."""

    ENFORCE = "enforce"
    WARN = "warn"
    OFF = "off"


class Rule(Enum):
    """The rules at which a container is held before it runs, as the policy calls them under `enforcement.rules`."""

    CONTAINERS = "containers"
    LIMITS = "limits"
    MEMORY = "memory"
    PIDS = "pids"
    GPU = "gpu"
    OWNERSHIP = "ownership"


@dataclass(frozen=True, slots=True)
class Rules:
    """The mode of each rule."""

    modes: Mapping[Rule, Mode]

    def mode(self, rule: Rule) -> Mode:
        """Return what becomes of a request that a rule is against."""
        return self.modes[rule]


def read_rules(policy: Policy) -> Rules:
    """Take the modes out of the compiled policy.

    Raises:
        PolicyError: a rule has no mode, or one that this version does not know.
    """
    enforcement = policy.document.get("enforcement")
    stated = enforcement.get("rules") if isinstance(enforcement, dict) else None
    rules = stated if isinstance(stated, dict) else {}
    return Rules({rule: mode_of(rules.get(rule.value), f"enforcement.rules.{rule.value}") for rule in Rule})


def mode_of(value: object, name: str) -> Mode:
    """Read a mode.

    Raises:
        PolicyError: it is none; names the key.
    """
    try:
        return Mode(value)
    except ValueError as error:
        raise PolicyError(f"the compiled policy says {value!r} for {name}", None, "deploy again") from error
