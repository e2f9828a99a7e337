"""The caller's page: refusals are counted on it, and what is wrong with it is logged once."""

from __future__ import annotations

from pathlib import Path

from tests.unit.runtime.wrapper.desks import desk_of, events, make_paths

from ds01.runtime.wrapper.pages import count_denial, page_of


def test_refusals_are_counted_from_command_to_command(tmp_path: Path):
    paths = make_paths(tmp_path)
    numbers = []
    for _ in range(11):
        with page_of(desk_of(paths)) as page:
            numbers.append(count_denial(page, desk_of(paths)).number)
    assert numbers == list(range(1, 12))
    assert events(paths) == []


def test_a_damaged_page_is_logged_once(tmp_path: Path):
    paths = make_paths(tmp_path)
    desk = desk_of(paths)
    for _ in range(2):
        with page_of(desk) as page:
            count_denial(page, desk)
    (path,) = paths.pages.glob("*.json")
    path.write_text("{")
    for _ in range(2):
        with page_of(desk) as page:
            count_denial(page, desk)
    (event,) = events(paths)
    assert event["event_type"] == "admission.fail_open"
    assert "could not be used" in event["details"]["text"]
