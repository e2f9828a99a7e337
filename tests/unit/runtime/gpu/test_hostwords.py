"""What accounts and the log are told of a process outside containers."""

from __future__ import annotations

from tests.unit.runtime.gpu.hosts import NOON
from tests.unit.runtime.gpu.test_hostrecord import ONE, OTHER

from ds01.core.value import replace
from ds01.runtime.gpu.hostwords import ended_words, event_details, notice_key, warned_words

END = f"{NOON.astimezone():%Y-%m-%d %H:%M}"


def test_a_warning_says_which_process_what_is_wrong_when_it_ends_and_what_to_do() -> None:
    assert warned_words(ONE, "ds01-help@lab-x.org") == (
        "Your python (pid 4711) computes on GPU 0 outside a container, which this host does not allow."
        f" It is ended at {END}. Better: run it in a container (docker run --gpus 1 …), or ask ds01-help@lab-x.org"
        " for a time in which you may."
    )
    assert warned_words(replace(ONE, ends_at=None, slots=("0", "2:1")), "") == (
        "Your python (pid 4711) computes on GPU 0, 2:1 outside a container, which this host does not allow."
        " Better: run it in a container (docker run --gpus 1 …)."
    )


def test_an_end_says_which_process_and_why() -> None:
    assert ended_words(ONE, "") == (
        "Your python (pid 4711) was ended: it computed on GPU 0 outside a container."
        " Better: run it in a container (docker run --gpus 1 …)."
    )


def test_the_end_takes_the_place_of_the_warning_and_two_processes_have_a_notice_each() -> None:
    assert notice_key(ONE) == "baremetal.4711.77"
    assert notice_key(replace(ONE, started=78)) != notice_key(ONE)


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
