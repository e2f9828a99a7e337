"""The wanted tree as a value: ordered, hashed, stored and read back without loss."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import pytest

from ds01.core.tree import Form, Merge, Part, Tree, TreeFile

PLAIN = TreeFile(PurePosixPath("/etc/b"), "x\n")
FULL = TreeFile(
    path=PurePosixPath("/etc/a"),
    content="zoë\n",
    mode=0o755,
    owner="alice",
    group="staff",
    source="templates/etc/a.j2",
    merge=Merge.JSON,
    check=("bash", "-n", "{file}"),
    handlers=("daemon-reload",),
    account="alice",
)
STORED: dict[str, Any] = {
    "content": "zoë\n",
    "mode": "0755",
    "owner": "alice",
    "group": "staff",
    "source": "templates/etc/a.j2",
    "merge": "json",
    "check": ["bash", "-n", "{file}"],
    "handlers": ["daemon-reload"],
    "account": "alice",
}


def test_stored_file_has_everything_but_its_path() -> None:
    assert FULL.to_json() == STORED


@pytest.mark.parametrize("file", [PLAIN, FULL])
def test_stored_file_is_read_back_as_it_was(file: TreeFile) -> None:
    assert TreeFile.from_json(str(file.path), json.loads(json.dumps(file.to_json()))) == file


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"mode": "9999"}, ValueError),
        ({"mode": "4755"}, ValueError),
        ({"mode": "2755"}, ValueError),
        ({"mode": "1777"}, ValueError),
        ({"mode": "-1"}, ValueError),
        ({"content": "\udcff"}, ValueError),
        ({"merge": "yaml"}, ValueError),
        ({"check": "bash"}, TypeError),
        ({"handlers": None}, TypeError),
    ],
)
def test_stored_file_that_is_not_ours_is_refused(change: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        TreeFile.from_json("/etc/a", STORED | change)


@pytest.mark.parametrize("missing", sorted(STORED))
def test_stored_file_that_lacks_a_part_is_refused(missing: str) -> None:
    with pytest.raises(KeyError):
        TreeFile.from_json("/etc/a", {key: value for key, value in STORED.items() if key != missing})


def test_files_stand_in_the_order_of_their_paths() -> None:
    assert list(Tree.of("box", "0" * 64, [PLAIN, FULL])) == [FULL, PLAIN]


def test_two_files_for_one_path_are_a_fault() -> None:
    twin = TreeFile(PLAIN.path, "y\n", source="templates/etc/b.j2")
    with pytest.raises(ValueError, match=r"^/etc/b is rendered twice, from  and templates/etc/b\.j2$"):
        Tree.of("box", "0" * 64, [PLAIN, twin])


def test_digest_is_that_of_the_text_in_utf8() -> None:
    assert FULL.sha256 == "727585c467d565ee92f349d2c25e512e152f30fd14110d433c58c53974853b50"


LINK = TreeFile(PurePosixPath("/usr/local/bin/a"), "../a", form=Form.LINK, part=Part.RUNTIME)


def test_a_link_says_so_and_what_part_it_belongs_to() -> None:
    stored = LINK.to_json()
    assert {key: stored[key] for key in ("content", "form", "part")} == {
        "content": "../a",
        "form": "link",
        "part": "runtime",
    }
    assert TreeFile.from_json(str(LINK.path), stored) == LINK


@pytest.mark.parametrize("change", [{"form": "folder"}, {"part": "cluster"}])
def test_an_unknown_form_or_part_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        TreeFile.from_json("/etc/a", STORED | change)
