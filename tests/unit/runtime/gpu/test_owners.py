"""Whose a uid is: an account's own, one of its further ones, or nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest

from ds01.runtime.gpu.hardware import nameless
from ds01.runtime.gpu.owners import Owners

# Accounts that every Debian has stand for people.
SUBUIDS = """\
games:700000:65536
www-data:800000:65536
65534:900000:10
ghost:1000000:10
65534:8:2
www-data:33:1
games:9:1
games:1100000:10
www-data:1100005:10

# no comment is known here
broken:1200000
mail:x:10
"""


@pytest.fixture
def owners(tmp_path: Path) -> Owners:
    (tmp_path / "subuid").write_text(SUBUIDS)
    return Owners(tmp_path / "subuid")


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        (0, "root"),
        (700000, "games"),
        (765535, "games"),
        (765536, None),
        (800001, "www-data"),
        (900009, "nobody"),
        (900010, None),
        (1000000, None),
        (1100004, "games"),
        (1100007, None),
        (1100012, "www-data"),
        (1200000, None),
        (5, "games"),
        # Another person, here nobody, may use these two as well; the system's own accounts are no people.
        (8, None),
        (9, None),
        (33, "www-data"),
        (2**64, None),
    ],
)
def test_a_uid_is_its_accounts_or_that_of_the_one_account_that_may_use_it(
    uid: int, name: str | None, owners: Owners
) -> None:
    assert owners(uid) == (nameless(uid) if name is None else name)


@pytest.mark.parametrize("content", [None, b"", b"\xff:\x00:1\n", b"games:-5:100000000\n"])
def test_without_such_a_file_only_accounts_are_known(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "subuid").write_bytes(content)
    assert (Owners(tmp_path / "subuid")(0), Owners(tmp_path / "subuid")(700000)) == ("root", "uid 700000")
