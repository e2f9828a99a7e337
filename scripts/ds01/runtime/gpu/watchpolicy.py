"""What whoever watches GPUs takes out of the compiled policy. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ds01.core.policy import Policy, PolicyError
from ds01.core.value import dataclass
from ds01.runtime.gpu.baremetal import BareMetal, read_bare_metal


@dataclass(frozen=True, slots=True)
class WatchPolicy:
    """What is watched for, and how.

    Attributes:
        busy_percent: at which a unit is busy.
        exporter_port: of the DCGM exporter.
        contact: whom to ask; empty for nobody.
    """

    policy: Policy
    busy_percent: float
    exporter_port: int
    contact: str
    access: BareMetal


def read_watch_policy(policy: Policy) -> WatchPolicy:
    """Take all of it.

    Raises:
        PolicyError: a part is missing or says what this version does not know.
    """
    host = _section(policy.document, "host")
    percent = _section(policy.document, "policies").get("idle_gpu_percent")
    port = _section(host, "ports").get("dcgm")
    if not isinstance(percent, int | float) or isinstance(percent, bool):
        raise _incomplete("policies.idle_gpu_percent", percent)
    if not isinstance(port, int) or isinstance(port, bool):
        raise _incomplete("host.ports.dcgm", port)
    contact = host.get("contact")
    return WatchPolicy(
        policy=policy,
        busy_percent=float(percent),
        exporter_port=port,
        contact=contact if isinstance(contact, str) else "",
        access=read_bare_metal(policy),
    )


def _section(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = document.get(name)
    if not isinstance(found, dict):
        raise _incomplete(name, found)
    return found


def _incomplete(name: str, value: object) -> PolicyError:
    return PolicyError(f"the compiled policy says {value!r} for {name}", None, "deploy again")
