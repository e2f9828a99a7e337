"""Put together what hands out GPUs on a host: policy, hardware, Docker, state file."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ds01.core.events import EventLog
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy
from ds01.core.value import replace
from ds01.runtime.accounts import is_admin, limits_of
from ds01.runtime.containers.engine import Engine, engine_socket
from ds01.runtime.containers.scan import infrastructure
from ds01.runtime.gpu.blockers import SECONDS, are_outdated
from ds01.runtime.gpu.devices import read_devices
from ds01.runtime.gpu.found import find_containers
from ds01.runtime.gpu.hardware import Devices
from ds01.runtime.gpu.operations import Gpus
from ds01.runtime.gpu.request import AccountLimits, account_limits, holds_end, site_limits
from ds01.runtime.gpu.session import Session
from ds01.runtime.gpu.state import GpuState
from ds01.runtime.machine import Machine


def open_engine(paths: HostPaths) -> Engine:
    """Return the host's Docker engine, whether it runs or not."""
    return Engine(engine_socket(paths))


def open_gpus(paths: HostPaths, policy: Policy, *, look: Callable[[], Devices] | None = None) -> Gpus:
    """Return what hands out a host's GPUs.

    Args:
        look: how to see the hardware; None for the machine's own driver.
    """
    session = Session()

    def see(*, who: bool = True) -> Devices:
        return look() if look else read_devices(paths, who=who, session=session)

    state = GpuState(
        paths=paths,
        machine=Machine(),
        events=EventLog(paths.events),
        containers=lambda ledger: find_containers(
            open_engine(paths),
            see(who=False),
            ledger,
            infrastructure(policy),
        ),
        account_of=account_reader(policy),
        are_outdated=lambda held: are_outdated(Engine(engine_socket(paths), timeout_seconds=SECONDS), held),
    )
    return Gpus(state, see, lambda accounts: site_limits(policy, accounts), session.keep)


def account_reader(policy: Policy) -> Callable[[str], AccountLimits]:
    """Return what answers for each account what it may have, looked up once."""
    ends = holds_end(policy)

    def read(user: str) -> AccountLimits:
        found = account_limits(limits_of(policy, user), admin=is_admin(policy, user))
        return found if ends else replace(found, hold_seconds=None)

    return cache(read)
