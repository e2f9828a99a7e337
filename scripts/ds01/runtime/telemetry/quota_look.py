"""Looks at what accounts use of their limits, and tells those that are about to reach one.

The figures are those that check-limits shows: the same readers, the same limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from ds01.core.errors import BadInputError, Ds01Error
from ds01.core.jsonstate import read_bytes
from ds01.core.names import SliceName
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.runtime.accounts import limits_of
from ds01.runtime.cgroup.tree import CannotTell, Cause, Reading
from ds01.runtime.cgroup.usage import AccountUsage, read_usage
from ds01.runtime.gpu.record import parse_ledger
from ds01.runtime.telemetry.pressure_words import near_details, near_text
from ds01.runtime.telemetry.quota import Clear, Near, Quota, Said, Use, read_levels, step
from ds01.runtime.telemetry.tell import Teller

_LIMITS: Final = {
    Quota.MEMORY: "aggregate.memory_max",
    Quota.TASKS: "aggregate.tasks_max",
    Quota.GPUS: "max_mig_instances",
    Quota.CONTAINERS: "max_containers",
}


@dataclass(frozen=True, slots=True)
class QuotaLook:
    """Tells accounts how near to their limits they are."""

    paths: HostPaths
    teller: Teller

    def look(
        self, policy: Policy, slices: Mapping[str, Sequence[SliceName]], said: Mapping[str, Said], now: datetime
    ) -> dict[str, Said]:
        """Look at every account that uses something or was told something; returns what each was told.

        Args:
            slices: of each account.
            said: what each was told before.

        Raises:
            PolicyError: the policy has no levels.
        """
        levels, units = read_levels(policy), self._units()
        accounts = dict.fromkeys([*slices, *said, *(units or ())])
        after: dict[str, Said] = {}
        for account in accounts:
            held = None if units is None else units[account]
            try:
                uses = self._uses(policy, account, slices.get(account, ()), held)
            except BadInputError:
                # A name in the GPU record that no account can have.
                continue
            known, changes = step(said.get(account, {}), uses, levels)
            for each in changes:
                self._tell(account, each, now)
            if known:
                after[account] = known
        return after

    def _tell(self, account: str, change: Near | Clear, now: datetime) -> None:
        key = f"quota.{change.quota.value}"
        match change:
            case Near():
                self.teller.note("quota.near", account, now, near_details(change))
                self.teller.notice(account, key, near_text(change))
            case Clear():
                self.teller.clear(account, key)

    def _uses(self, policy: Policy, account: str, slices: Sequence[SliceName], held: int | None) -> dict[Quota, Use]:
        limits = limits_of(policy, account)
        usage = _usage(self.paths, slices)
        containers = None if usage is None else usage.containers
        used = {
            Quota.MEMORY: None if usage is None else _known(usage.working_set_bytes),
            Quota.TASKS: None if usage is None else _known(usage.pids_current),
            Quota.GPUS: held,
            Quota.CONTAINERS: len(containers) if isinstance(containers, tuple) else None,
        }
        return {quota: Use(used[quota], limits.whole(name)) for quota, name in _LIMITS.items()}

    def _units(self) -> Counter[str] | None:
        """Return how many units of GPUs each account holds; None when nobody can tell."""
        try:
            ledger = parse_ledger(read_bytes(self.paths.gpu_state, of_root=True))
        except FileNotFoundError:
            return Counter()
        except (OSError, Ds01Error):
            return None
        held: Counter[str] = Counter()
        for each in ledger.allocations.values():
            if each.user is not None:
                held[each.user] += len(each.uuids)
        return held


def _usage(paths: HostPaths, slices: Sequence[SliceName]) -> AccountUsage | None:
    usage = read_usage(paths.cgroup, slices)
    if isinstance(usage, CannotTell):
        # Without ds01.slice nothing runs.
        return AccountUsage(()) if usage.cause is Cause.NO_ROOT_SLICE else None
    return usage


def _known(reading: Reading) -> int | None:
    return None if isinstance(reading, CannotTell) else reading
