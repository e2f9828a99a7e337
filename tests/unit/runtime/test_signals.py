"""What ends a command comes as one exception that nothing disturbs, and not at all once its answer is given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ds01
from ds01.runtime.signals import ENDS, STOPS, ended_by_signals, put_off

SCRIPTS = Path(ds01.__file__).parents[1]
HEAD = """
import os, signal, sys
from ds01.runtime.signals import ENDS, STOPS, ended_by_signals, put_off
def say(words):
    os.write(1, words.encode() + b"\\n")
"""
WAITS = """
try:
    with ended_by_signals():
        try:
            say("ready")
            signal.pause()
        except BaseException as error:
            for each in sorted(ENDS):
                os.kill(os.getpid(), each)
            say(f"put in order after {error!r}")
            raise
except KeyboardInterrupt:
    sys.exit(130)
"""
ANSWERS = """
with ended_by_signals() as be_deaf:
    be_deaf()
    say("ready")
    sys.stdin.readline()
    say("answered")
"""


@contextmanager
def start(program: str, *before: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*before, sys.executable, "-c", HEAD + program],
        env={"PYTHONPATH": os.fspath(SCRIPTS), "PATH": os.defpath},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@pytest.mark.parametrize(
    ("number", "code", "error"),
    [
        (signal.SIGINT, 130, "KeyboardInterrupt()"),
        (signal.SIGTERM, 143, "SystemExit(143)"),
        (signal.SIGHUP, 129, "SystemExit(129)"),
    ],
)
def test_the_first_signal_is_an_exception_and_no_other_comes_into_what_is_done_about_it(
    number: signal.Signals, code: int, error: str
) -> None:
    with start(WAITS) as process:
        assert read_line(process) == "ready\n"
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
    assert (process.returncode, said) == (code, f"put in order after {error}\n")


def test_what_was_ignored_stays_ignored() -> None:
    with start(WAITS, "sh", "-c", 'trap "" HUP; exec "$@"', "sh") as process:
        assert read_line(process) == "ready\n"
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, "put in order after SystemExit(143)\n")


def test_nothing_ends_a_command_that_gives_its_answer() -> None:
    with start(ANSWERS) as process:
        assert read_line(process) == "ready\n"
        for each in ENDS:
            process.send_signal(each)
        said, _ = process.communicate("\n", timeout=60)
    assert (process.returncode, said) == (0, "answered\n")


def test_whoever_has_given_an_answer_hears_nothing_afterwards_either() -> None:
    with start(ANSWERS + "for each in ENDS: os.kill(os.getpid(), each)\nsay('ended')\n") as process:
        assert process.communicate("\n", timeout=60)[0] == "ready\nanswered\nended\n"
    assert process.returncode == 0


def test_without_an_answer_signals_do_afterwards_what_they_did_before() -> None:
    before = {each: signal.getsignal(each) for each in ENDS}
    with ended_by_signals():
        assert all(signal.getsignal(each) != handler for each, handler in before.items())
    assert {each: signal.getsignal(each) for each in ENDS} == before


def test_a_signal_that_is_put_off_comes_afterwards() -> None:
    came: list[str] = []
    before = signal.signal(signal.SIGHUP, lambda *_: came.append("came"))
    try:
        with put_off(STOPS), put_off(ENDS):
            os.kill(os.getpid(), signal.SIGHUP)
            came.append("went on")
        assert came == ["went on", "came"]
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()).isdisjoint(STOPS | ENDS)
