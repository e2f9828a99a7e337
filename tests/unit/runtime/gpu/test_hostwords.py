"""What accounts and the log are told of a process outside containers."""

from __future__ import annotations

from datetime import timedelta

from tests.unit.runtime.gpu.hosts import NOON
from tests.unit.runtime.gpu.test_hostrecord import ONE, OTHER

from ds01.core.value import replace
from ds01.runtime.gpu.hostwords import ended_words, event_details, warned_words

END = f"{NOON.astimezone():%Y-%m-%d %H:%M}"


WHERE = "on GPU 0 outside a container, which this host does not allow."
BETTER = "Better: run it in a container (docker run --gpus 1 …)"
BEFORE = NOON - timedelta(minutes=15)


def test_a_warning_says_when_it_ends_which_process_what_is_wrong_and_what_to_do() -> None:
    assert warned_words([ONE], "ds01-help@lab-x.org", BEFORE) == (
        f"Your python (pid 4711) is ended at {END}, and so is what you start later: it computes {WHERE}"
        f" {BETTER}, or ask ds01-help@lab-x.org for a time in which you may."
    )
    assert warned_words([replace(ONE, ends_at=None, slots=("0", "2:1"))], "", BEFORE) == (
        f"Your python (pid 4711) computes on GPU 0, 2:1 outside a container, which this host does not allow. {BETTER}."
    )


def test_whose_time_is_over_is_told_so() -> None:
    assert warned_words([ONE], "", NOON) == (
        f"Your python (pid 4711) is ended now, and so is what you start later: it computes {WHERE} {BETTER}."
    )


def test_several_processes_of_an_account_are_told_of_together() -> None:
    later = replace(ONE, pid=4712, slots=("0", "1"), ends_at=NOON + timedelta(hours=1))
    both = [ONE, later]
    assert warned_words(both, "", BEFORE) == (
        f"Your python (pid 4711) and 1 more are ended at {END}, and so is what you start later: they compute"
        f" on GPU 0, 1 outside a container, which this host does not allow. {BETTER}."
    )
    assert warned_words([replace(each, ends_at=None) for each in both], "", NOON) == (
        "Your python (pid 4711) and 1 more compute on GPU 0, 1 outside a container, which this host does not allow."
        f" {BETTER}."
    )


def test_an_end_says_which_process_and_why_and_that_it_is_not_the_last() -> None:
    assert ended_words(ONE, "") == (
        "Your python (pid 4711) was ended: it computed on GPU 0 outside a container."
        f" So is what you start there within an hour. {BETTER}."
    )


def test_a_long_command_hides_no_end() -> None:
    text = warned_words([replace(ONE, command="p" * 300, slots=tuple(map(str, range(99))))], "", BEFORE)
    assert END in text[:120]


def test_the_log_has_all_that_tells_one_process_from_another() -> None:
    assert event_details(ONE) == {
        "pid": 4711,
        "uid": 1000,
        "command": "python",
        "gpu_id": "0",
        "gpu_uuids": ["GPU-0"],
        "since": "2026-03-01T12:00:00Z",
        "ends_at": "2026-03-01T12:00:00Z",
        "note": None,
    }
    assert (event_details(OTHER)["ends_at"], event_details(OTHER)["note"]) == (None, "why")
