"""A question to the engine, asked and not answered yet, so that many can wait at once. Never asks anything itself."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from ds01.runtime.containers.container import Container


class Question:
    """A question about one container; close() it in the end.

    Args:
        answer: reads what comes until a deadline by the monotonic clock.
        seconds: how long the answer may take, from now on.
    """

    def __init__(self, connection: socket.socket, answer: Callable[[float], Container | None], seconds: float) -> None:
        self._connection = connection
        self._answer = answer
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def answer(self) -> Container | None:
        """Wait for the answer; None when there is no such container any more.

        Of many that wait at once, one that was answered in time is read however late it is asked for its answer.

        Raises:
            EngineError: it did not come in time, or is none.
        """
        now = time.monotonic()
        if now >= self._deadline and self._is_coming():
            self._deadline = now + self._seconds
        return self._answer(self._deadline)

    def close(self) -> None:
        """End it, answered or not."""
        self._connection.close()

    def _is_coming(self) -> bool:
        """Whether anything has come. Source: recv(2), MSG_PEEK."""
        self._connection.settimeout(0)
        try:
            self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True
