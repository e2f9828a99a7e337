"""Programs are started with an argument list, a fixed environment and a time limit; failures are values."""

from __future__ import annotations

from pathlib import Path

import pytest

from ds01.core.process import NOT_FOUND, SYSTEM_PATH, TIMED_OUT, Completed, run, stream


def test_output_and_status_are_returned() -> None:
    argv = ("sh", "-c", "echo out; echo err >&2; exit 3")
    assert run(argv) == Completed(argv, 3, "out\n", "err\n")


def test_arguments_are_not_read_by_a_shell() -> None:
    assert run(["printf", "%s|", "a b", "$HOME", "*", "; id"]).stdout == "a b|$HOME|*|; id|"


def test_callers_environment_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("PATH", "/tmp/evil")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    lines = set(run(["env"], environment={"MORE": "y"}).stdout.splitlines())
    assert lines == {f"PATH={SYSTEM_PATH}", "LC_ALL=C", "MORE=y"}


def test_standard_input_is_empty() -> None:
    assert run(["cat"]).stdout == ""


def test_program_that_is_not_there_is_an_answer() -> None:
    done = run(["ds01-no-such-program", "--x"])
    assert (done.code, done.missing, done.ok, done.words) == (
        NOT_FOUND,
        True,
        False,
        "ds01-no-such-program is not installed",
    )


def test_program_that_takes_too_long_is_ended() -> None:
    done = run(["sleep", "600"], timeout_seconds=0.05)
    assert (done.code, done.words) == (TIMED_OUT, "sleep gave no answer within 0.05 s")


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert run(["printf", r"a\377b"]).stdout == "a�b"


@pytest.mark.parametrize(
    ("done", "words"),
    [
        (Completed((), 1, "out\n", " err\n"), "err"),
        (Completed((), 1, "out\n", "\n"), "out"),
        (Completed((), 7, "", ""), "exit code 7"),
    ],
)
def test_words_of_a_failure_are_the_best_there_are(done: Completed, words: str) -> None:
    assert done.words == words


def test_tool_with_a_log_says_everything_there_and_nothing_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_CALLER", "seen")
    script = 'echo "$FROM_CALLER $MORE $PWD"; echo err >&2; exit 3'
    with (tmp_path / "log").open("wb") as log:
        code = stream(["sh", "-c", script], folder=str(tmp_path), environment={"MORE": "y"}, log=log)
    assert (code, (tmp_path / "log").read_text()) == (3, f"seen y {tmp_path}\nerr\n")
    assert capfd.readouterr() == ("", "")
