"""An account's page is changed by one at a time, and never stops anybody by being damaged."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from ds01.runtime.containers.denials import Denials
from ds01.runtime.containers.page import admitted_on, all_admitted, asked_elsewhere, locked_page, take_back
from ds01.runtime.containers.pending import Pending
from ds01.runtime.containers.request import Verb
from ds01.runtime.identity import ProcessRef

RUN = Pending("a", Verb.RUN, 1024, ProcessRef(1, 2, "boot"))
START = Pending("b", Verb.START, 0, ProcessRef(1, 2, "boot"), 5.0)


def test_what_is_left_on_it_is_there_the_next_time(tmp_path: Path):
    folder = tmp_path / "pages"
    with locked_page(folder, 1001) as page:
        assert (page.promises, page.denials, page.trouble) == ((), Denials(), None)
        page.promises = (RUN, START)
        page.denials = Denials((1.5, 2.5), 3)
    with locked_page(folder, 1001) as page:
        assert (page.promises, page.denials) == ((RUN, START), Denials((1.5, 2.5), 3))
    with locked_page(folder, 1002) as page:
        assert page.promises == ()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "1001.json").stat().st_mode & 0o777 == 0o600


def test_of_what_was_admitted_the_newest_stay(tmp_path: Path):
    with locked_page(tmp_path, 1) as page:
        page.admitted = tuple(map(str, range(300)))
    assert admitted_on(tmp_path, 1) == tuple(map(str, range(100, 300)))
    assert admitted_on(tmp_path, 2) == ()
    (tmp_path / "1.json").write_text('{"version": 1')
    assert admitted_on(tmp_path, 1) == ()


def test_what_was_admitted_on_all_pages_is_not_told_when_one_cannot_be_read(tmp_path: Path):
    assert all_admitted(tmp_path / "nowhere") == frozenset()
    for uid in (1, 2):
        with locked_page(tmp_path, uid) as page:
            page.admitted = (f"t{uid}",)
    assert all_admitted(tmp_path) == {"t1", "t2"}
    (tmp_path / "1.json").write_text('{"version": 1')
    assert all_admitted(tmp_path) is None


def test_on_whose_page_a_promise_stands_is_found(tmp_path: Path):
    assert asked_elsewhere(tmp_path / "nowhere", lambda _: True) is None
    (tmp_path / "3.json").write_text('{"version": 1')
    with locked_page(tmp_path, 7) as page:
        page.promises = (RUN, START)
    assert asked_elsewhere(tmp_path, lambda each: each == START) == 7
    assert asked_elsewhere(tmp_path, lambda _: False) is None


def test_one_that_is_not_changed_is_not_written(tmp_path: Path):
    with locked_page(tmp_path, 1):
        pass
    assert not (tmp_path / "1.json").exists()
    with locked_page(tmp_path, 1) as page:
        page.promises = (RUN,)
    before = os.stat(tmp_path / "1.json").st_ino  # noqa: PTH116
    with locked_page(tmp_path, 1) as page:
        page.promises = (RUN,)
    assert os.stat(tmp_path / "1.json").st_ino == before  # noqa: PTH116


def test_promises_are_taken_back(tmp_path: Path):
    with locked_page(tmp_path, 1) as page:
        page.promises = (RUN, START)
    take_back(tmp_path, 1, lambda each: each.id == "a")
    with locked_page(tmp_path, 1) as page:
        assert page.promises == (START,)


def test_an_error_in_between_writes_nothing(tmp_path: Path):
    def fail() -> None:
        with locked_page(tmp_path, 1) as page:
            page.promises = (RUN,)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert not (tmp_path / "1.json").exists()


GOOD = {"version": 1, "pending": [], "denied_at": [], "denied_unsaid": 0}


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "[" * 100_000, "\0" * 100, json.dumps({**GOOD, "version": 2}),
        json.dumps({**GOOD, "pending": [{}]}),
        json.dumps({**GOOD, "denied_at": ["x"]}), json.dumps({**GOOD, "denied_unsaid": "x"}),
        json.dumps({"version": 1}),
    ],
)  # fmt: skip
def test_a_damaged_one_is_put_aside(tmp_path: Path, text: str):
    path = tmp_path / "1.json"
    path.write_text(text)
    with locked_page(tmp_path, 1) as page:
        assert page.promises == ()
        assert page.trouble is not None
        assert page.trouble.startswith(f"{path} could not be used and lies in 1.json.bad now: ")
    assert (tmp_path / "1.json.bad").read_text() == text
    with locked_page(tmp_path, 1) as page:
        assert page.trouble is None


@pytest.mark.root
def test_one_that_others_can_write_is_not_believed(tmp_path: Path):
    with locked_page(tmp_path, 1) as page:
        page.promises = (RUN,)
    (tmp_path / "1.json").chmod(0o666)
    with locked_page(tmp_path, 1) as page:
        assert page.promises == ()
        assert page.trouble is not None
        assert page.trouble.endswith("1.json.bad now: owner uid 0, mode 0666")


def test_a_link_in_its_place_is_not_followed(tmp_path: Path):
    (tmp_path / "mine").write_text(json.dumps({**GOOD, "denied_unsaid": 9}))
    (tmp_path / "1.json").symlink_to("mine")
    with locked_page(tmp_path, 1) as page:
        assert (page.denials, page.trouble is None) == (Denials(), False)
    assert (tmp_path / "1.json.bad").is_symlink()
    assert json.loads((tmp_path / "1.json").read_text()) == {**GOOD, "admitted": []}


def test_missing_folders_are_made(tmp_path: Path):
    with locked_page(tmp_path / "ds01/pages", 1) as page:
        assert page.trouble is None
        page.promises = (RUN,)
    with locked_page(tmp_path / "ds01/pages", 1) as page:
        assert page.promises == (RUN,)


def test_where_none_can_be_kept_there_is_one_for_the_moment(tmp_path: Path):
    (tmp_path / "pages").write_text("")
    path = tmp_path / "pages/1.json"
    with locked_page(tmp_path / "pages", 1) as page:
        assert (page.promises, page.denials) == ((), Denials())
        assert page.trouble is not None
        assert page.trouble.startswith(f"{path} cannot be written, so what is being started counts only once it runs: ")
        page.promises = (RUN,)
    assert (tmp_path / "pages").read_text() == ""


def test_without_its_lock_nothing_is_taken_from_it(tmp_path: Path):
    with locked_page(tmp_path, 1) as page:
        page.promises = (RUN,)
    (tmp_path / "1.lock").unlink()
    (tmp_path / "1.lock").mkdir()
    before = (tmp_path / "1.json").read_text()
    with locked_page(tmp_path, 1) as page:
        assert page.trouble is not None
        page.promises = (START,)
    assert (tmp_path / "1.json").read_text() == before


def test_what_cannot_be_written_at_the_end_is_said_then(tmp_path: Path):
    with locked_page(tmp_path, 1) as page:
        page.promises = (RUN,)
        (tmp_path / ".1.json.ds01-tmp").mkdir()
        assert page.trouble is None
    assert (
        page.trouble
        == f"{tmp_path / '1.json'} cannot be written, so what is being started counts only once it runs: Is a directory"
    )


def add_many(folder: Path, number: int) -> None:
    for turn in range(25):
        with locked_page(folder, 1) as page:
            page.promises = (*page.promises, Pending(f"{number}-{turn}", Verb.RUN, 0, ProcessRef(1, 2, "boot")))


def test_processes_at_once_lose_nothing(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    at_work = [context.Process(target=add_many, args=(tmp_path, number)) for number in range(4)]
    for each in at_work:
        each.start()
    for each in at_work:
        each.join(60)
        assert each.exitcode == 0
    with locked_page(tmp_path, 1) as page:
        assert sorted(each.id for each in page.promises) == sorted(f"{n}-{t}" for n in range(4) for t in range(25))
