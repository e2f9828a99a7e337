"""Unit files as sets of directives, and what `systemctl show` should say about them. Pure.

Source: systemd.syntax(7), systemd.resource-control(5), org.freedesktop.systemd1(5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from ds01.core.units import UnitError, format_number, format_size, parse_size

_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|min|h|d)")
_SPAN_USEC: Final = {
    "us": 1,
    "ms": 10**3,
    "s": 10**6,
    "min": 60 * 10**6,
    "h": 3600 * 10**6,
    "d": 86400 * 10**6,
}
# Directive to the property that shows what systemd made of it.
_PROPERTIES: Final = {
    "CPUQuota": "CPUQuotaPerSecUSec",
    "CPUWeight": "CPUWeight",
    "MemoryMax": "MemoryMax",
    "MemoryHigh": "MemoryHigh",
    "MemorySwapMax": "MemorySwapMax",
    "TasksMax": "TasksMax",
    "IOWeight": "IOWeight",
}
_DIRECTIVES: Final = {shown: name for name, shown in _PROPERTIES.items()}
SHOWN: Final = tuple(_DIRECTIVES)


def parse_unit(text: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return sections with their directives; comments and blank lines are nothing."""
    sections: dict[str, dict[str, tuple[str, ...]]] = {}
    current: dict[str, tuple[str, ...]] = {}
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and line.endswith("]"):
            current = sections.setdefault(line[1:-1], {})
            continue
        name, _, value = line.partition("=")
        current[name.strip()] = (*current.get(name.strip(), ()), value.strip())
    return sections


def unit_of(path: PurePosixPath) -> str | None:
    """Return the unit a file is for: itself, or what its drop-in folder names; None outside systemd's folder.

    A prefix drop-in (`ds01-student-.slice.d`) is for no single unit; it gets the name of one it applies to.
    """
    if path.parts[:4] != ("/", "etc", "systemd", "system"):
        return None
    name = path.parts[4].removesuffix(".d")
    stem, dot, kind = name.rpartition(".")
    return f"{stem}any{dot}{kind}" if stem.endswith("-") else name


def is_prefix(path: PurePosixPath) -> bool:
    """Whether a file is a drop-in for all units whose names start alike."""
    return len(path.parts) > 5 and path.parts[4].split(".", 1)[0].endswith("-")  # noqa: PLR2004 - /etc/systemd/system/X.d/


def is_slice(path: PurePosixPath) -> bool:
    """Whether a file is a slice or a drop-in for slices."""
    unit = unit_of(path)
    return unit is not None and unit.endswith(".slice")


def same_effect(path: PurePosixPath, before: str | None, after: str | None) -> bool:
    """Whether two versions of a file mean the same: for units only directives count, elsewhere every byte."""
    if before is None or after is None or unit_of(path) is None:
        return before == after
    return parse_unit(before) == parse_unit(after)


def describe_change(before: str, after: str) -> str:
    """Return the directives of [Slice] that differ, such as `MemoryMax 96G → 128G`; empty when none does."""
    old, new = (parse_unit(text).get("Slice", {}) for text in (before, after))
    names = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    return ", ".join(f"{name} {_shown(old.get(name))} → {_shown(new.get(name))}" for name in names)


def _shown(values: tuple[str, ...] | None) -> str:
    return "(none)" if values is None else " ".join(values) or "(reset)"


def expected_properties(text: str) -> dict[str, int | None]:
    """Return what `systemctl show` must say for a unit file's [Slice] section.

    Returns:
        Property to value: µs of CPU a second, bytes, tasks or a weight; None is unlimited. Directives in percent of
        the machine, those per device, and what systemd would ignore as nonsense are left out.
    """
    expected: dict[str, int | None] = {}
    for name, values in parse_unit(text).get("Slice", {}).items():
        value = values[-1]
        if name not in _PROPERTIES or (value.endswith("%") and name != "CPUQuota"):
            continue
        if value in {"", "infinity"}:
            expected[_PROPERTIES[name]] = None
        elif (number := _number(name, value)) is not None:
            expected[_PROPERTIES[name]] = number
    return expected


def _number(name: str, value: str) -> int | None:
    """Return the number a directive states, None when it states none."""
    try:
        return round(float(value.removesuffix("%")) * 10_000) if name == "CPUQuota" else parse_size(value)
    except (UnitError, ValueError):
        return None


def parse_property(name: str, value: str) -> int | None:
    """Read a property as `systemctl show` prints it; None is unlimited or not set.

    Raises:
        UnitError: neither a number nor a time span.
    """
    if value in {"infinity", "[not set]", "", str(2**64 - 1)}:
        return None
    if name == "CPUQuotaPerSecUSec":
        parts = [_SPAN.fullmatch(part) for part in value.split()]
        if None in parts:
            raise UnitError(f"systemd says {name}={value}, which is no time span")
        return round(sum(float(part[1]) * _SPAN_USEC[part[2]] for part in parts if part))
    if not value.isdigit():
        raise UnitError(f"systemd says {name}={value}, which is no number")
    return int(value)


def differences(expected: Mapping[str, int | None], shown: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return (directive, wanted, actual) where systemd holds another value than the file says."""
    found = []
    for name, wanted in expected.items():
        said = shown.get(name, "")
        try:
            actual = parse_property(name, said)
        except UnitError:  # a word, such as CPUWeight=idle
            found.append((_DIRECTIVES[name], _written(name, wanted), said))
            continue
        if wanted != actual:
            found.append((_DIRECTIVES[name], _written(name, wanted), _written(name, actual)))
    return found


def _written(name: str, value: int | None) -> str:
    """Return a property's value as one writes it in a unit file."""
    if value is None:
        return "infinity"
    if name == "CPUQuotaPerSecUSec":
        return f"{format_number(value / 10_000)}%"
    return format_size(value) if name.startswith("Memory") else str(value)
