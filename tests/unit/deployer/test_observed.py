"""What a look at a path gives, as a value."""

from __future__ import annotations

import dataclasses

import pytest

from ds01.deployer.observed import Kind, Observed


def test_only_a_file_has_content_by_default() -> None:
    assert Observed(Kind.ABSENT) == Observed(Kind.ABSENT, content=None, mode=None, uid=None, gid=None, obstacle=None)


def test_what_was_seen_cannot_be_changed() -> None:
    seen = Observed(Kind.FILE, b"text", 0o644)
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen.content = b"other"  # type: ignore[misc]  # the refusal is what is tested


def test_kinds_have_words_for_people() -> None:
    assert [kind.value for kind in Kind] == ["absent", "file", "symbolic link", "folder", "other", "unreadable"]
