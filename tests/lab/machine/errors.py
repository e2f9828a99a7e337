"""What can go wrong with the lab; each error says what to do now."""

from __future__ import annotations

from ds01.core.errors import Ds01Error
from ds01.core.override import override


class LabError(Ds01Error):
    """The machine cannot be built, booted or reached."""

    @override
    def __str__(self) -> str:
        """Give the whole message, for pytest shows no more than this."""
        return self.render()


class MachineStoppedError(LabError):
    """The machine went away while it was being talked to."""
