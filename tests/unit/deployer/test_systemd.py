"""Unit files held against what systemd 252 and 257 really said of them (tests/data/systemctl)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from ds01.core.paths import HostPaths
from ds01.core.process import Completed
from ds01.deployer.systemd import Deviation, LiveUnits, active_units, compare_live, is_running

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = Path(__file__).parents[2] / "data" / "systemctl"
FILES = [
    (PurePosixPath("/etc/systemd/system") / file.relative_to(DATA / "units"), file.read_text())
    for file in sorted((DATA / "units").rglob("*"))
    if file.is_file()
]


class Says:
    """Answers every command with one text, and remembers the commands."""

    def __init__(self, stdout: str, code: int = 0, stderr: str = "") -> None:
        self.answer = (code, stdout, stderr)
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, argv: Sequence[str], **_: object) -> Completed:
        self.asked.append(tuple(argv))
        return Completed(tuple(argv), *self.answer)


def sample(name: str) -> Says:
    return Says((DATA / f"{name}.txt").read_text())


def test_a_freshly_reloaded_systemd_has_every_value_in_effect() -> None:
    says = sample("fresh")
    assert compare_live(FILES, says) == LiveUnits(9)
    (asked,) = says.asked
    assert asked[:2] == (
        "systemctl",
        "show",
    )
    assert asked[3:] == (
        "--",
        "ds01-admin.slice",
        "ds01-faculty-s_ibrahim.slice",
        "ds01-other.slice",
        "ds01-student-carol.slice",
        "ds01-student-erin.slice",
        "ds01-student-frank.slice",
        "ds01-student-student07.slice",
        "ds01-student.slice",
        "ds01.slice",
    )


def test_values_set_by_hand_are_deviations() -> None:
    assert compare_live(FILES, sample("deviating")) == LiveUnits(
        9,
        (
            Deviation("ds01-student-carol.slice", "CPUQuota", "9600%", "infinity"),
            Deviation("ds01-student-carol.slice", "MemoryMax", "96G", "200G"),
            Deviation("ds01-student-student07.slice", "CPUWeight", "10", "idle"),
            Deviation("ds01-student-student07.slice", "TasksMax", "12288", "infinity"),
        ),
    )


def test_files_that_changed_since_systemd_read_them_are_stale() -> None:
    stale = ("ds01-other.slice", "ds01-student-carol.slice", "ds01-student-student07.slice")
    assert compare_live(FILES, sample("stale")) == LiveUnits(9, stale=stale)


def test_a_stale_unit_whose_values_are_right_all_the_same_is_harmless() -> None:
    live = LiveUnits(2, (Deviation("a.slice", "TasksMax", "1", "2"),), ("a.slice", "b.slice"))
    assert live.harmless == ("b.slice",)


def test_some_units_can_be_looked_at_alone() -> None:
    one, two = Deviation("a.slice", "TasksMax", "1", "2"), Deviation("b.slice", "TasksMax", "1", "2")
    live = LiveUnits(9, (one, two), ("a.slice", "c.slice"), "no answer")
    assert live.only({"a.slice", "d.slice"}) == LiveUnits(2, (one,), ("a.slice",), "no answer")
    assert live.only(set()) == LiveUnits(0, error="no answer")


def test_a_deviation_reads_as_a_sentence() -> None:
    assert str(Deviation("a.slice", "TasksMax", "1", "2")) == "a.slice: TasksMax is 2, the policy says 1"


@pytest.mark.parametrize(
    ("says", "error"),
    [
        (Says("", 1, "Failed to connect to bus: No such file or directory\n"), "Failed to connect to bus: No such f"),
        (Says("", 127, "systemctl is not installed"), "systemctl is not installed"),
    ],
)
def test_no_answer_is_an_error_and_no_deviation(says: Says, error: str) -> None:
    live = compare_live(FILES, says)
    assert (live.asked, live.deviations, live.stale, (live.error or "").startswith(error)) == (9, (), (), True)


def test_no_units_ask_nothing() -> None:
    says = Says("")
    assert compare_live([(PurePosixPath("/etc/ds01/policy.json"), "{}")], says) == LiveUnits()
    assert says.asked == []


def test_many_units_are_asked_in_batches() -> None:
    says = Says("")
    files = [(PurePosixPath(f"/etc/systemd/system/ds01-{n}.slice"), "[Slice]\nTasksMax=1\n") for n in range(1000)]
    assert compare_live(files, says).asked == 1000
    assert [len(asked) - 4 for asked in says.asked] == [400, 400, 200]


def test_systemd_runs_only_on_the_machine_itself(tmp_path: Path) -> None:
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert not is_running(HostPaths(tmp_path))
    assert is_running(HostPaths()) == Path("/run/systemd/system").is_dir()


def test_units_that_run_are_told_by_their_states() -> None:
    # As systemd 252 answers; the exit code is 3, since not all of them are active.
    says = Says("active\ninactive\nfailed\nactivating\nunknown\n", 3)
    assert active_units(["a.service", "b.service", "c.service", "d.timer", "e.service"], says) == {
        "a.service",
        "d.timer",
    }
    assert says.asked == [
        ("systemctl", "is-active", "--", "a.service", "b.service", "c.service", "d.timer", "e.service")
    ]


def test_no_units_ask_nothing_and_no_answer_is_none() -> None:
    silent = Says("", 1, "Failed to connect to bus: No such file or directory")
    assert active_units([], silent) == frozenset()
    assert silent.asked == []
    assert active_units(["a.service"], silent) is None
