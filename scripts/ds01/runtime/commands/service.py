"""What the services share on their command lines: options in seconds, and words for the journal."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Callable

from ds01.core.value import dataclass


@dataclass(frozen=True, slots=True)
class Seconds:
    """The bounds of an option in seconds."""

    shortest: float
    longest: float

    @property
    def read(self) -> Callable[[str], float]:
        """What argparse reads the option with."""
        return self._read

    def _read(self, text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not self.shortest <= seconds <= self.longest:
            bounds = f"{self.shortest:g} to {self.longest:g} seconds"
            raise argparse.ArgumentTypeError(f"{text[:40]!r} is no pause; write {bounds}")
        return seconds


def speak_to_journal() -> None:
    """Say everything from INFO on, without the time: the journal adds it."""
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
