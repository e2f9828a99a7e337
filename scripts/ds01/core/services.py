"""DS01's services: what each does and what is missing without it. Pure; read by the deployer and by health."""

from __future__ import annotations

from ds01.core.typed import Final
from ds01.core.value import dataclass


@dataclass(frozen=True, slots=True)
class Service:
    """A service that runs all the time.

    Attributes:
        name: of its program; its unit's without `.service`.
        does: for the one who sees that it runs.
        without: what does not happen while it does not run.
    """

    name: str
    does: str
    without: str

    @property
    def unit(self) -> str:
        """Return the name of its systemd unit."""
        return f"{self.name}.service"

    @property
    def handler(self) -> str:
        """Return the name of the deployer's handler that starts it anew."""
        return f"restart-{self.name.removeprefix('ds01-')}"


SAMPLER: Final = Service(
    "ds01-sampler",
    "measures CPU rates and watches memory",
    "greeting and check-limits show no CPU, and nobody is told of memory that is short",
)
EVENTSD: Final = Service(
    "ds01-eventsd",
    "follows containers as they come and go",
    "nothing is known of containers that come past DS01, and no hold or run time ends in time",
)
GPUWATCH: Final = Service(
    "ds01-gpuwatch",
    "watches what computes on the GPUs",
    "nobody knows which GPUs are idle, or what computes on them outside containers",
)
SERVICES: Final = (SAMPLER, EVENTSD, GPUWATCH)
# Units of the daemons that read /etc/cron.d: Debian's cron, cronie.
CRON_UNITS: Final = ("cron.service", "crond.service", "cronie.service")
