"""`ds01-resource-query`: check-limits for scripts. Prints its JSON object, or single values of it, a line each."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import BadInputError, ExitCode
from ds01.core.terminal import print_json, say
from ds01.core.typed import Final
from ds01.core.visible import visible
from ds01.runtime.commands.check_limits import look
from ds01.runtime.overview.figures import Unknown, to_json

_UNITS: Final = ("", "_bytes", "_percent", "_usec")
# Where null means that there is no limit; everywhere else nobody knows.
_LIMITS: Final = frozenset({"limit", "limit_bytes", "limit_percent", "high_bytes", "value", "memory_limit_bytes"})
_KEY: Final = "value names are those of the JSON object, such as memory.used, gpus.limit or limits.memory.value"


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was asked for; returns the exit code."""
    made = parser("ds01-resource-query", "What an account uses and may use, for scripts.")
    made.epilog = f"Without a value: the whole as JSON, as check-limits --json prints it; {_KEY}."
    made.add_argument("account", nargs="?", metavar="USER", help="another account than your own; for administrators")
    made.add_argument("values", nargs="*", metavar="VALUE", help="print these alone, a line each")
    made.add_argument("--value", action="append", default=[], metavar="VALUE", help="the same, without a USER")
    made.add_argument("--json", action="store_true", help="the whole as JSON (the default without a value)")
    return run_command(made, argv, _show)


def _show(options: argparse.Namespace) -> int:
    wanted = [*options.values, *options.value]
    if wanted and options.json:
        raise BadInputError("--json prints everything, and single values were asked for", None, "leave one of them out")
    overview, names = look(host_paths(options.root), options.account)
    document = to_json(overview, {} if isinstance(names, Unknown) else names)
    if not wanted:
        print_json(document, sys.stdout)
        return ExitCode.DONE
    code = ExitCode.DONE
    for name, (path, value) in [(name, find(document, name)) for name in wanted]:
        reason = _reason(document, path) if value is None else None
        if reason is not None:
            say(f"error: {visible(name)} cannot be told: {reason}")
            code = ExitCode.FAILED
        print(_text(path, value, reason))
    return code


def find(document: Mapping[str, object], name: str) -> tuple[str, object]:
    """Return a value by its name, and its whole name; a unit at the end of a part may be left out.

    Raises:
        BadInputError: there is no such value.
    """
    value: object = document
    path: list[str] = []
    rest: str | None = name
    while rest is not None:
        key, after = _step(value, rest) or (None, None)
        if key is None:
            raise BadInputError(f"there is no value {visible(name)!r}", None, _known(value, path))
        value = value[int(key)] if isinstance(value, list) else value[key] if isinstance(value, dict) else None
        path.append(key)
        rest = after
    return ".".join(path), value


def _step(value: object, rest: str) -> tuple[str, str | None] | None:
    """Return the key that a name goes on with, and what is left of the name, None when that is all of it.

    Keys may have dots in them: the longest one counts.
    """
    if isinstance(value, list):
        number, dot, after = rest.partition(".")
        there = number.isascii() and number.isdigit() and int(number[:9]) < len(value)
        return (number, after if dot else None) if there else None
    if not isinstance(value, dict):
        return None
    for key in sorted(value, key=len, reverse=True):
        for called in _called(key):
            if rest == called:
                return key, None
            if rest.startswith(f"{called}."):
                return key, rest[len(called) + 1 :]
    return None


def _called(key: str) -> Iterator[str]:
    yield from (key.removesuffix(unit) for unit in _UNITS if key.endswith(unit))


def _known(value: object, path: list[str]) -> str:
    where = f" below {'.'.join(path)}" if path else ""
    if isinstance(value, dict):
        return f"there are{where}: {', '.join(value)}"
    return f"there are {len(value)} entries{where}" if isinstance(value, list) else f"nothing is{where}"


def _reason(document: Mapping[str, object], path: str) -> str | None:
    """Return why a value is null; None when null says that there is no limit, or nothing of the kind."""
    unknown = document["unknown"]
    if isinstance(unknown, dict):
        direct = unknown.get(path)
        if direct is not None:
            return str(direct)
        position = path.split(".")
        if position[:2] == ["containers", "running"] and len(position) == len(("containers", "running", 0, "tasks")):
            _, share = find(document, ".".join(position[:3]))
            if isinstance(share, dict):
                found = unknown.get(f"containers.running.{share['id']}.{position[3]}")
                return None if found is None else str(found)
    return None


def _text(path: str, value: object, reason: str | None) -> str:
    if value is None:
        absent = "unlimited" if path.rpartition(".")[2] in _LIMITS else "none"
        return absent if reason is None else "unknown"
    if isinstance(value, str):
        return visible(value)
    return json.dumps(value, ensure_ascii=False)
