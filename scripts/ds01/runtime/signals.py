"""When a command may be ended or stopped by what a terminal, a shell or the system sends it.

Never loses a signal that is put off: it comes afterwards.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from ds01.core.typed import Final

# What a terminal stops its programs with, such as Ctrl-Z: one that is stopped keeps its locks.
STOPS: Final = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
# Ctrl-C, what ends a service or a job, and what comes when the terminal goes.
ENDS: Final = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


@contextmanager
def put_off(numbers: Iterable[signal.Signals]) -> Iterator[None]:
    """Let signals wait until the block has ended."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def ended_by_signals() -> Iterator[Callable[[], None]]:
    """Let whatever ends us end the block by one exception, so that it can put in order what it began.

    Of several signals the first counts, and no other disturbs what is done about it: a shell that ends sends its own
    SIGHUP beside the terminal's. What was ignored before, as under nohup, stays so. For the main thread alone.

    Yields:
        What lets nothing end us from then on, up to the end of the process; raises what came before that. To be called
        once there is no way back.
    """
    deaf = False

    def be_deaf() -> None:
        nonlocal deaf
        # Without any of them on its way: what comes just now is told of by an exception, or waits and is forgotten.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
        for each in ENDS:
            signal.signal(each, signal.SIG_IGN)
        deaf = True
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def end(number: int, _: FrameType | None) -> None:
        be_deaf()
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    before = {each: found for each in ENDS if (found := signal.getsignal(each)) is not signal.SIG_IGN}
    for each in before:
        signal.signal(each, end)
    try:
        yield be_deaf
    finally:
        if not deaf:
            for each, handler in before.items():
                signal.signal(each, handler)
