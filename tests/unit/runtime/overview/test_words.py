"""An overview in words: bars, amounts, and a greeting that fits every terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.runtime.overview.hosts import NOW, allocation, make_host, overview_of, put_gpus, put_rates

from ds01.core.units import GIB, MIB
from ds01.core.value import replace
from ds01.runtime.lifecycle.notices import Notice, Weight
from ds01.runtime.overview.figures import (
    GpuHolding,
    GpuState,
    Measure,
    Overview,
    Unknown,
)
from ds01.runtime.overview.words import (
    Style,
    bar,
    cpu_words,
    greeting,
    holding_words,
    measure_words,
    memory_words,
    notice_lines,
    style_for,
)

ASCII, UTF8 = Style(), Style(utf8=True)


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def overview(tmp_path: Path) -> Overview:
    host = make_host(tmp_path)
    put_rates(host)
    put_gpus(host, allocation("train", "0:0"), allocation("old", "0:1", "0:2", stopped=5))
    return replace(overview_of(host), notices=(Notice(NOW, "train was ended: out of memory"),))


def test_a_greeting_shows_everything_at_a_glance(overview: Overview) -> None:
    assert greeting(overview, UTF8).split("\n") == [
        "alice (student)",
        "Memory      [██████░░░░░░░░░░░░░░] 32G of 96G",
        "Tasks       [█░░░░░░░░░░░░░░░░░░░] 74 of 12288",
        "CPU         [█░░░░░░░░░░░░░░░░░░░] 4.1 of 96 CPUs",
        "GPUs        [████████████████████] 3 of 3",
        "Containers  [████████████████████] 3 of 3",
        "GPU 0:1, 0:2: held until 2026-03-01 12:10 for old (stopped)",
        "2026-03-01 12:00  train was ended: out of memory",
        "check-limits shows more.",
    ]


def unknown(overview: Overview, *names: str) -> Overview:
    return replace(
        overview,
        **{name: replace(getattr(overview, name), used=Unknown("broken")) for name in names},
    )


MEASURES = ("memory", "tasks", "cpu", "gpus", "containers")


def test_what_cannot_be_told_is_said_beside_what_can(overview: Overview) -> None:
    lines = greeting(unknown(overview, *MEASURES[:4]), ASCII).split("\n")
    assert lines[:6] == [
        "alice (student)",
        f"Memory      [{'?' * 20}] unknown of 96G",
        f"Tasks       [{'?' * 20}] unknown of 12288",
        f"CPU         [{'?' * 20}] unknown of 96 CPUs",
        f"GPUs        [{'?' * 20}] unknown of 3",
        f"Containers  [{'#' * 20}] 3 of 3",
    ]


def test_where_nothing_can_be_told_a_greeting_is_its_notices(overview: Overview) -> None:
    broken = unknown(replace(overview, holdings=Unknown("broken")), *MEASURES)
    assert greeting(broken, ASCII) == "2026-03-01 12:00  train was ended: out of memory"
    assert greeting(replace(broken, notices=()), ASCII) == ""
    assert greeting(replace(broken, notices=Unknown("broken")), ASCII) == ""


def test_a_greeting_without_utf8_is_ascii(overview: Overview) -> None:
    notice = Notice(NOW, "Speicher für „train“ voll " + "x" * 100)
    lines = greeting(replace(overview, notices=(notice,)), ASCII).split("\n")
    assert lines[1] == "Memory      [######--------------] 32G of 96G"
    assert lines[7:10] == [
        r"2026-03-01 12:00  Speicher f\xfcr \u201etrain\u201c voll",
        " " * 18 + "x" * 62,
        " " * 18 + "x" * 38,
    ]


def test_a_greeting_in_colour_warns_before_the_limit(overview: Overview) -> None:
    lines = greeting(overview, Style(colour=True)).split("\n")
    assert lines[0] == "\033[1malice (student)\033[0m"
    assert lines[1] == "Memory      [\033[32m######\033[0m--------------] 32G of 96G"
    assert lines[5] == "Containers  [\033[31m####################\033[0m] 3 of 3"


def test_what_nobody_knows_is_called_unknown(overview: Overview) -> None:
    gone = Unknown("gone")
    lost = replace(overview, cpu=Measure(gone, 9600, "x"), holdings=gone, notices=gone)
    assert greeting(lost, ASCII).split("\n")[3:] == [
        "CPU         [????????????????????] unknown of 96 CPUs",
        "GPUs        [####################] 3 of 3",
        "Containers  [####################] 3 of 3",
        "check-limits shows more.",
    ]


def test_long_lists_are_cut_with_their_number(overview: Overview) -> None:
    held = tuple(GpuHolding(f"c{each}", ("0",), ("u",), GpuState.HELD, NOW, NOW) for each in range(9))
    notices = tuple(Notice(NOW, f"n{each}") for each in range(9))
    assert greeting(replace(overview, holdings=held, notices=notices), ASCII).split("\n")[6:] == [
        *(f"GPU 0: held until 2026-03-01 12:00 for c{each} (stopped)" for each in range(4)),
        "and 5 more held",
        *(f"2026-03-01 12:00  n{each}" for each in range(4, 9)),
        "and 4 more notices",
        "check-limits shows more.",
    ]


def notice_part(overview: Overview, *notices: Notice) -> list[str]:
    return greeting(replace(overview, notices=notices), ASCII).split("\n")[7:-1]


def test_one_that_is_not_shown_is_counted_in_words(overview: Overview) -> None:
    assert notice_part(overview, *(Notice(NOW, f"n{each}") for each in range(6)))[-1] == "and 1 more notice"


def test_no_number_of_others_hides_a_warning_at_login(overview: Overview) -> None:
    end = Notice(NOW, "container train is stopped 14:00", weight=Weight.END)
    hold = Notice(NOW, "7 stopped containers are removed", weight=Weight.HOLD)
    oom = Notice(NOW, "container job was ended", weight=Weight.TROUBLE)
    news = tuple(Notice(NOW, f"n{each}") for each in range(20))
    assert notice_part(overview, end, oom, hold, *news) == [
        "2026-03-01 12:00  container train is stopped 14:00",
        "2026-03-01 12:00  container job was ended",
        "2026-03-01 12:00  7 stopped containers are removed",
        "2026-03-01 12:00  n18",
        "2026-03-01 12:00  n19",
        "and 18 more notices",
    ]


def test_of_very_many_warnings_it_is_said_that_there_are_more(overview: Overview) -> None:
    ends = tuple(
        Notice(NOW, f"e{each}", f"{each}", NOW + timedelta(hours=each), Weight.END) for each in reversed(range(13))
    )
    assert notice_part(overview, *ends, Notice(NOW, "n1"), Notice(NOW, "n2")) == [
        *(f"2026-03-01 12:00  e{each}" for each in range(10)),
        "2026-03-01 12:00  n2",
        "and 4 more notices, 3 of them of what is to end",
    ]


@pytest.mark.parametrize("width", [40, 57, 80])
def test_a_narrow_terminal_shows_as_much_of_a_notice(width: int) -> None:
    text = "word " * 30
    lines = list(notice_lines(Notice(NOW, text.strip()), Style(width=width)))
    assert " ".join(" ".join(lines).split()) == f"2026-03-01 12:00 {text.strip()}"
    assert all(len(line) <= width for line in lines)


OOM = "container train was ended at 09:12: out of memory (all your containers together reached 96G)"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["2026-03-01 12:00  short"]),
        ("x" * 62, [f"2026-03-01 12:00  {'x' * 62}"]),
        (
            OOM,
            [
                "2026-03-01 12:00  container train was ended at 09:12: out of memory (all your",
                "                  containers together reached 96G)",
            ],
        ),
        ("y" * 250, [f"2026-03-01 12:00  {'y' * 62}", f"{' ' * 18}{'y' * 62}", f"{' ' * 18}{'y' * 59}..."]),
    ],
)
def test_a_notice_is_shown_whole(text: str, lines: list[str]) -> None:
    assert list(notice_lines(Notice(NOW, text), ASCII)) == lines


def test_a_greeting_says_when_everything_stood_still(overview: Overview) -> None:
    lines = greeting(replace(overview, waited_some=60.4, waited_full=10.0), ASCII).split("\n")
    assert lines[6] == "Processes waited for memory in 60 % of the last minute, all at once in 10 %"
    for some, full in ((60.4, 9.9), (Unknown("x"), Unknown("x"))):
        assert "waited" not in greeting(replace(overview, waited_some=some, waited_full=full), ASCII)


names = st.text(st.characters(), max_size=400)


@given(names, names, st.booleans(), st.integers(40, 80))
def test_no_foreign_text_drives_the_terminal(overview_factory, text, name, utf8, width) -> None:
    overview = overview_factory
    held = (GpuHolding(name, (name,), ("u",), GpuState.HELD, NOW, None),)
    shown = replace(overview, account=name, holdings=held, notices=(Notice(NOW, text),))
    lines = greeting(shown, Style(utf8=utf8, width=width)).split("\n")
    assert 9 <= len(lines) <= 8 + max(3, -(-186 // (width - 18)))
    assert all(line.isprintable() for line in lines)
    assert all(len(line) <= width for line in (lines[0], *lines[6:-1]))
    assert utf8 or all(line.isascii() for line in lines)


@pytest.fixture(scope="module")
def overview_factory(tmp_path_factory: pytest.TempPathFactory) -> Overview:
    return overview_of(make_host(tmp_path_factory.mktemp("host")))


@pytest.mark.parametrize(
    ("used", "limit", "filled"),
    [(0, 100, 0), (1, 1000, 1), (50, 100, 10), (99, 100, 19), (100, 100, 20), (500, 100, 20), (0, 0, 0), (1, 0, 20)],
)
def test_a_bar_is_full_only_when_all_is_used(used: int, limit: int, filled: int) -> None:
    assert bar(Measure(used, limit, ""), ASCII) == f"[{'#' * filled}{'-' * (20 - filled)}]"


def test_without_a_limit_there_is_nothing_to_fill() -> None:
    free = Measure(5 * GIB, None, "")
    assert (bar(free, ASCII).strip(), measure_words(free, memory_words)) == ("", "5G, no limit")
    assert measure_words(Measure(Unknown("x"), None, ""), cpu_words) == "unknown, no limit"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0"),
        (1023, "0"),
        (5000, "4K"),
        (MIB, "1M"),
        (GIB - 1, "1024M"),
        (GIB, "1G"),
        (51_753_000_000, "48.2G"),
        (1024 * GIB, "1T"),
    ],
)
def test_memory_is_said_as_people_say_it(size: int, words: str) -> None:
    assert memory_words(size) == words


def test_holdings_say_what_becomes_of_them() -> None:
    start = NOW - timedelta(hours=2)
    shown = [
        holding_words(GpuHolding("train", ("0:1", "1"), ("a", "b"), state, start, until))
        for state, until in (
            (GpuState.RUNNING, None),
            (GpuState.RESERVED, None),
            (GpuState.HELD, None),
            (GpuState.HELD, NOW),
        )
    ]
    assert shown == [
        "GPU 0:1, 1: train, since 2026-03-01 10:00",
        "GPU 0:1, 1: reserved for train",
        "GPU 0:1, 1: held for train (stopped) until it is removed",
        "GPU 0:1, 1: held until 2026-03-01 12:00 for train (stopped)",
    ]
    nameless = GpuHolding("?4711", ("0",), ("a",), GpuState.RESERVED, start)
    assert holding_words(nameless) == "GPU 0: reserved for a container that is not there yet"


@pytest.mark.parametrize(
    ("environment", "utf8"),
    [
        ({}, False),
        ({"LANG": "de_DE.UTF-8"}, True),
        ({"LANG": "C.utf8"}, True),
        ({"LANG": "sr_RS.UTF-8@latin"}, True),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "en_US.UTF-8", "LC_ALL": ""}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),
        ({"LC_ALL": "POSIX", "LC_CTYPE": "C.UTF-8"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
    ],
)
def test_the_locale_says_which_characters_there_are(environment: dict[str, str], utf8) -> None:
    assert style_for(environment, colour=False, columns=120) == Style(utf8=utf8, colour=False, width=80)


@pytest.mark.parametrize(("columns", "width"), [(10, 40), (60, 60), (80, 80), (300, 80)])
def test_lines_are_as_wide_as_the_terminal_and_never_wider_than_80(columns: int, width: int) -> None:
    assert style_for({}, colour=True, columns=columns) == Style(colour=True, width=width)
