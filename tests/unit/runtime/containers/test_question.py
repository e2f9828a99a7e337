"""A question that waits: its answer is read when somebody wants it, and one that does not come is given up."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from ds01.runtime.containers.container import Container
from ds01.runtime.containers.question import Question


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, engines = socket.socketpair()
    with ours, engines:
        yield ours, engines


def asked(ours: socket.socket, seconds: float) -> tuple[Question, list[float]]:
    """A question, and how many seconds each reading of its answer was given."""
    given: list[float] = []

    def answer(deadline: float) -> Container | None:
        given.append(deadline - time.monotonic())
        return None

    return Question(ours, answer, seconds), given


def test_an_answer_is_waited_for_till_its_time_is_over(ends: tuple[socket.socket, socket.socket]) -> None:
    question, given = asked(ends[0], 60.0)
    assert question.answer() is None
    assert 0 < given[0] <= 60


def test_one_that_has_not_come_in_time_is_waited_for_no_longer(ends: tuple[socket.socket, socket.socket]) -> None:
    question, given = asked(ends[0], 0.01)
    time.sleep(0.05)
    question.answer()
    assert given[0] <= 0


@pytest.mark.parametrize("closed", [False, True])
def test_one_that_has_come_is_read_however_late(*, closed: bool, ends: tuple[socket.socket, socket.socket]) -> None:
    """Also the end of a connection is one: whoever reads it says what is wrong with it."""
    question, given = asked(ends[0], 30.0)
    question._deadline = time.monotonic() - 1
    if closed:
        ends[1].close()
    else:
        ends[1].sendall(b"H")
    question.answer()
    assert given[0] > 0


def test_looking_whether_it_has_come_takes_nothing_of_it(ends: tuple[socket.socket, socket.socket]) -> None:
    question, _ = asked(ends[0], 30.0)
    question._deadline = time.monotonic() - 1
    threading.Thread(target=lambda: ends[1].sendall(b"HTTP")).start()
    question.answer()
    ends[0].settimeout(30)
    assert ends[0].recv(4, socket.MSG_WAITALL) == b"HTTP"


def test_a_question_that_is_over_keeps_no_connection(ends: tuple[socket.socket, socket.socket]) -> None:
    question, _ = asked(ends[0], 30.0)
    question.close()
    assert ends[1].recv(1) == b""
