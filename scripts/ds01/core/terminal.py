"""What programs say: the result to stdout, words to stderr, colours where somebody looks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping

from ds01.core.typed import TextIO
from ds01.core.words import printable


def wants_colour(out: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether to colour: a terminal that is not dumb, and no NO_COLOR (https://no-color.org)."""
    return out.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def print_json(value: Mapping[str, object], out: TextIO) -> None:
    """Print one JSON object."""
    print(json.dumps(value, indent=2, ensure_ascii=False), file=out)


def say(line: str) -> None:
    """Tell people something on stderr, so that stdout stays the result alone.

    Where nobody listens (a closed pipe, a full disk) nothing is said, and what was to be done goes on.
    """
    sys.stdout.flush()
    try:
        print("\n".join(map(printable, line.split("\n"))), file=sys.stderr, flush=True)
    except OSError:
        # What is left in the buffer would make Python fail at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
