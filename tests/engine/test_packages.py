"""The engine's packages are fetched once, are whole or not there, and are nobody's but ours."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from tests.engine.packages import EngineMissingError, unpacked

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.root


@pytest.mark.slow
def test_two_at_once_fetch_them_once_and_sweep_up_after_one_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "work-killed/root/usr").mkdir(parents=True)
    with ThreadPoolExecutor() as both:
        one, other = both.map(unpacked, [tmp_path, tmp_path])
    assert one == other
    assert sorted(tmp_path.iterdir()) == [tmp_path / "lock", one.root]
    for program in (one.dockerd, one.client, one.runc, one.busybox):
        assert program.stat().st_mode & stat.S_IXUSR, program


def test_without_an_archive_the_cause_is_said_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = tmp_path / "apt.conf"
    nothing.write_text('Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "/dev/null";\n')
    monkeypatch.setenv("APT_CONFIG", str(nothing))
    cache = tmp_path / "cache"
    with pytest.raises(EngineMissingError, match=r"^its packages cannot be fetched: E: .*docker\.io"):
        unpacked(cache)
    assert list(cache.iterdir()) == [cache / "lock"]


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "ours").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    for name in ("open", "link"):
        with pytest.raises(EngineMissingError, match="not a folder that only we can write to"):
            unpacked(tmp_path / name)
    assert [list((tmp_path / name).iterdir()) for name in ("open", "ours")] == [[], []]
