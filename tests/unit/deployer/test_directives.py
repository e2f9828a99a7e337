"""Unit files as directives, and what systemd says of them, held against what it really printed."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from ds01.core.units import UnitError
from ds01.deployer.directives import (
    describe_change,
    differences,
    expected_properties,
    is_prefix,
    parse_property,
    parse_unit,
    same_effect,
    unit_of,
)

UNITS = PurePosixPath("/etc/systemd/system")
DROP_IN = UNITS / "ds01-student-alice.slice.d/10-resource-limits.conf"


def test_a_unit_is_its_sections_and_directives_without_comments() -> None:
    text = "# made\n[Unit]\nDescription=a = b\n\n; old\n[Slice]\n MemoryMax = 96G \nIOReadBandwidthMax=/dev/sda 1M\n"
    text += "IOReadBandwidthMax=/dev/sdb 2M\n[Unit]\nBefore=slices.target\n"
    assert parse_unit(text) == {
        "Unit": {"Description": ("a = b",), "Before": ("slices.target",)},
        "Slice": {"MemoryMax": ("96G",), "IOReadBandwidthMax": ("/dev/sda 1M", "/dev/sdb 2M")},
    }


@pytest.mark.parametrize("text", ["", "\n\n", "# only words\n", "MemoryMax=1G\n"])
def test_nothing_before_the_first_section_counts(text: str) -> None:
    assert parse_unit(text) == {}


@pytest.mark.parametrize(
    ("path", "unit", "prefix"),
    [
        ("/etc/systemd/system/ds01.slice", "ds01.slice", False),
        ("/etc/systemd/system/ds01-student-alice.slice.d/10.conf", "ds01-student-alice.slice", False),
        ("/etc/systemd/system/ds01-student-.slice.d/10.conf", "ds01-student-any.slice", True),
        ("/etc/systemd/system/docker.socket.d/ds01.conf", "docker.socket", False),
        ("/etc/ds01/policy.json", None, False),
        ("/etc/systemd/journald.conf.d/ds01.conf", None, False),
        ("/usr/lib/systemd/system/ds01.slice", None, False),
    ],
)
def test_a_path_names_the_unit_it_is_for(path: str, unit: str | None, *, prefix: bool) -> None:
    assert (unit_of(PurePosixPath(path)), is_prefix(PurePosixPath(path))) == (unit, prefix)


@pytest.mark.parametrize(
    ("path", "before", "after", "same"),
    [
        (DROP_IN, "# a\n[Slice]\nTasksMax=5\n", "# b\n\n[Slice]\nTasksMax = 5\n", True),
        (DROP_IN, "[Slice]\nTasksMax=5\n", "[Slice]\nTasksMax=6\n", False),
        (DROP_IN, "[Slice]\nTasksMax=5\nCPUWeight=1\n", "[Slice]\nCPUWeight=1\nTasksMax=5\n", True),
        (DROP_IN, "[Slice]\nIOWeight=\nIOWeight=5\n", "[Slice]\nIOWeight=5\n", False),
        (DROP_IN, None, "[Slice]\n", False),
        (DROP_IN, "[Slice]\n", None, False),
        (PurePosixPath("/etc/cron.d/ds01"), "# a\n", "# b\n", False),
        (PurePosixPath("/etc/cron.d/ds01"), "# a\n", "# a\n", True),
    ],
)
def test_for_units_only_directives_count(path: PurePosixPath, before: str, after: str, *, same: bool) -> None:
    assert same_effect(path, before, after) is same


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("[Slice]\nMemoryMax=96G\n", "[Slice]\nMemoryMax=128G\n", "MemoryMax 96G → 128G"),
        ("[Slice]\nTasksMax=5\n", "[Slice]\nCPUQuota=100%\n", "CPUQuota (none) → 100%, TasksMax 5 → (none)"),
        ("[Slice]\nCPUWeight=\n", "[Slice]\nCPUWeight=10\n", "CPUWeight (reset) → 10"),
        ("[Slice]\nIOWeight=1\n", "[Slice]\nIOWeight=1\nIOWeight=2\n", "IOWeight 1 → 1 2"),
        ("# a\n[Slice]\nTasksMax=5\n", "# b\n[Slice]\nTasksMax=5\n", ""),
        ("[Unit]\nDescription=a\n", "[Unit]\nDescription=b\n", ""),
        ("not a unit", "[Slice]\nTasksMax=5\n", "TasksMax (none) → 5"),
    ],
)
def test_a_change_is_told_by_its_directives(before: str, after: str, words: str) -> None:
    assert describe_change(before, after) == words


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("CPUQuota=9600%\nCPUWeight=10", {"CPUQuotaPerSecUSec": 96_000_000, "CPUWeight": 10}),
        ("CPUQuota=33%", {"CPUQuotaPerSecUSec": 330_000}),
        ("CPUQuota=12.5%", {"CPUQuotaPerSecUSec": 125_000}),
        ("CPUQuota=", {"CPUQuotaPerSecUSec": None}),
        ("MemoryMax=96G\nMemoryHigh=1536M", {"MemoryMax": 96 * 2**30, "MemoryHigh": 1536 * 2**20}),
        ("MemoryMax=1000000001\nMemorySwapMax=0", {"MemoryMax": 1_000_000_001, "MemorySwapMax": 0}),
        ("MemoryMax=infinity\nTasksMax=infinity", {"MemoryMax": None, "TasksMax": None}),
        ("TasksMax=5\nTasksMax=6", {"TasksMax": 6}),
        ("TasksMax=90%\nMemoryMax=50%", {}),  # of the machine, which only systemd knows
        ("IOReadBandwidthMax=/dev/sda 1M\nDescription=x", {}),
        ("CPUQuota=much\nMemoryMax=banana\nTasksMax=1.2.3", {}),  # systemd ignores these with a warning
    ],
)
def test_what_systemd_must_say_follows_from_the_file(lines: str, expected: dict[str, int | None]) -> None:
    assert expected_properties(f"[Slice]\n{lines}\n") == expected


@pytest.mark.parametrize(
    ("name", "shown", "value"),
    [
        ("CPUQuotaPerSecUSec", "1min 36s", 96_000_000),
        ("CPUQuotaPerSecUSec", "16min 40s", 1_000_000_000),
        ("CPUQuotaPerSecUSec", "1d", 86_400_000_000),
        ("CPUQuotaPerSecUSec", "1h 2min 3.5s", 3_723_500_000),
        ("CPUQuotaPerSecUSec", "330ms", 330_000),
        ("CPUQuotaPerSecUSec", "100us", 100),
        ("CPUQuotaPerSecUSec", "infinity", None),
        ("MemoryMax", "103079215104", 103_079_215_104),
        ("MemoryMax", "infinity", None),
        ("MemoryMax", "18446744073709551615", None),
        ("CPUWeight", "[not set]", None),
        ("CPUWeight", "", None),
    ],
)
def test_a_property_is_read_as_systemctl_prints_it(name: str, shown: str, value: int | None) -> None:
    assert parse_property(name, shown) == value


@pytest.mark.parametrize(
    ("name", "shown", "words"),
    [
        ("CPUQuotaPerSecUSec", "soon", "systemd says CPUQuotaPerSecUSec=soon, which is no time span"),
        ("CPUWeight", "idle", "systemd says CPUWeight=idle, which is no number"),
    ],
)
def test_a_property_in_other_words_is_an_error(name: str, shown: str, words: str) -> None:
    with pytest.raises(UnitError) as caught:
        parse_property(name, shown)
    assert caught.value.brief == words


def test_differences_name_what_was_wanted_and_what_is() -> None:
    wanted = {"MemoryMax": 96 * 2**30, "TasksMax": None, "CPUWeight": 10, "IOWeight": 7, "CPUQuotaPerSecUSec": 10**6}
    shown = {"MemoryMax": "6", "TasksMax": "9", "CPUWeight": "idle", "IOWeight": "7", "CPUQuotaPerSecUSec": "2s"}
    assert differences(wanted, shown) == [
        ("MemoryMax", "96G", "6"),
        ("TasksMax", "infinity", "9"),
        ("CPUWeight", "10", "idle"),
        ("CPUQuota", "100%", "200%"),
    ]
