"""NVML that is kept started: begun once for many looks, anew when something is wrong, and ended in any case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.nvml_library import Library, build

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1024**3
WHOLE = ("gpu", "GPU-a", "NVIDIA A100", 80 * GIB, 0, 5, 0, 0, 7)
OTHER = ("gpu", "GPU-b", "NVIDIA A100", 80 * GIB, 0, 5, 0, 0, 7)
LOST = ("fail", "nvmlDeviceGetHandleByIndex_v2", 15, 1, 1, 0)
# Looks in one process while the machine changes between the looks; says how many GPUs were well at each.
LOOKS = """
from ds01.runtime.gpu.session import Session
session, state = Session(), Path({state!r})
def see(text=None, sign="same", who=True):
    if text is not None:
        state.write_text(text)
    try:
        seen = session.look(sign, who=who)
    except DevicesError as error:
        return error.brief
    return len(seen.gpus)
def looks(*each, kept=True):
    if not kept:
        return [see(**one) for one in each]
    with session.keep():
        return [see(**one) for one in each]
"""


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nvml")
    build(folder)
    return folder


@pytest.fixture
def library(built: Path, tmp_path: Path) -> Library:
    (tmp_path / "libnvidia-ml.so.1").hardlink_to(built / "libnvidia-ml.so.1")
    made = Library(tmp_path)
    made.say(WHOLE, OTHER)
    return made


def text(*lines: tuple[object, ...]) -> str:
    return "".join("\t".join(map(str, line)) + "\n" for line in lines)


def looks(library: Library, *each: dict[str, object], kept: bool = True) -> Any:
    question = f"looks({', '.join(map(repr, each))}, kept={kept})".replace("looks(, ", "looks(")
    return library.ask(question, prelude=LOOKS.format(state=str(library.folder / "state")))


def test_kept_it_is_started_once_and_ended(library: Library) -> None:
    assert looks(library, {}, {"who": False}, {"text": text(WHOLE)}, {}) == [2, 2, 1, 1]
    assert library.calls == ["init", "shutdown"]


def test_not_kept_it_is_started_for_each_look(library: Library) -> None:
    assert looks(library, {}, {}, kept=False) == [2, 2]
    assert library.calls == ["init", "shutdown"] * 2


def test_nobody_who_looked_never_started_it(library: Library) -> None:
    assert looks(library) == []
    assert library.calls == []


def test_another_sign_is_looked_at_anew(library: Library) -> None:
    assert looks(library, {}, {"sign": "other"}, {"sign": "other"}) == [2, 2, 2]
    assert library.calls == ["init", "shutdown"] * 2


def test_what_is_wrong_is_only_believed_of_one_that_was_started_anew(library: Library) -> None:
    lost = text(WHOLE, OTHER, LOST)
    # Found, still so, and mended.
    assert looks(library, {}, {"text": lost}, {}, {"text": text(WHOLE, OTHER)}) == [2, 1, 1, 2]
    assert library.calls == ["init", "shutdown"] * 3


def test_one_that_answers_no_more_is_started_anew_and_what_that_says_is_said(library: Library) -> None:
    dead = text(("fail", "nvmlDeviceGetCount_v2", 15, -1, 1, 0))
    found = looks(library, {}, {"text": dead}, {"text": text(WHOLE)})
    assert found == [2, "NVML gives no answer: NVML_ERROR_GPU_IS_LOST", 1]
    assert library.calls == ["init", "shutdown"] * 3
