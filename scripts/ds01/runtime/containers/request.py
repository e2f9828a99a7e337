"""What a container is asked to have, and what it is given: values for every way a container comes to run. Pure."""

from __future__ import annotations

from enum import Enum

from ds01.core.gpurequest import GpuRequest
from ds01.core.limits import ResolvedLimits
from ds01.core.rules import Mode, Rule, Rules
from ds01.core.value import dataclass


class Verb(Enum):
    """By what a container is made, comes to run, or gets other limits."""

    RUN = "run"
    CREATE = "create"
    START = "start"
    RESTART = "restart"
    UNPAUSE = "unpause"
    UPDATE = "update"

    @property
    def is_new(self) -> bool:
        """Whether a container is made."""
        return self in {Verb.RUN, Verb.CREATE}

    @property
    def starts(self) -> bool:
        """Whether a container comes to run."""
        return self not in {Verb.CREATE, Verb.UPDATE}


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    """A container as its user wants it.

    Attributes:
        container: its name; None while Docker has not made one up.
        memory_bytes: None where nothing is said, and for 0, which the engine reads as nothing.
        nano_cpus: in billionths of a CPU; as memory_bytes, and below 0 is unlimited.
        pids: 0 and less is unlimited, as the engine reads it; None where nothing is said.
        ipc_mode: None where nothing is said.
        gpu: None when it asks for none.
        is_live: it runs or is paused already, so that it is counted already; true of every update.
        had_bytes: of one that runs and gets another limit, the limit that it has; None where it has none, and for every
            other verb.
    """

    verb: Verb
    container: str | None = None
    memory_bytes: int | None = None
    nano_cpus: int | None = None
    pids: int | None = None
    shm_bytes: int | None = None
    ipc_mode: str | None = None
    gpu: GpuRequest | None = None
    is_live: bool = False
    had_bytes: int | None = None

    @property
    def more_bytes(self) -> int:
        """By how much it would raise the limit of a container that runs; 0 when by nothing."""
        if self.had_bytes is None or self.memory_bytes is None:
            return 0
        return max(0, self.memory_bytes - self.had_bytes)


@dataclass(frozen=True, slots=True)
class AccountRules:
    """What holds for one account.

    Attributes:
        limits: resolved from the policy.
        rules: which of them are enforced.
    """

    limits: ResolvedLimits
    rules: Rules

    def applies(self, rule: Rule) -> bool:
        """Whether a rule is looked at."""
        return self.rules.mode(rule) is not Mode.OFF


@dataclass(frozen=True, slots=True)
class Usage:
    """What an account has now, without the container that is asked for. None is: it cannot be told.

    Attributes:
        containers: that run, are paused, or are about to.
        names: of those that run or are paused, as far as they are known.
        committed_bytes: memory limits of those, together.
        working_set_bytes: memory in use, without the page cache that the kernel can drop.
        pids: processes and threads.
        unknown: why something cannot be told, one line each.
    """

    containers: int | None = 0
    names: tuple[str, ...] = ()
    committed_bytes: int | None = 0
    working_set_bytes: int | None = 0
    pids: int | None = 0
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """The limits that a new container is made with. None is none.

    Attributes:
        ipc_mode: None for the engine's own.
    """

    memory_bytes: int | None = None
    nano_cpus: int | None = None
    pids: int | None = None
    shm_bytes: int | None = None
    ipc_mode: str | None = None
