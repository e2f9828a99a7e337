"""Host paths lie below the root that was given, and nowhere else."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from ds01.core.paths import HostPaths


def test_every_path_lies_below_the_root() -> None:
    paths = HostPaths(Path("/srv/trial"))
    assert (paths.policy, paths.deploy, paths.units, paths.cgroup, paths.proc, paths.events) == (
        Path("/srv/trial/etc/ds01/policy.json"),
        Path("/srv/trial/var/lib/ds01/deploy"),
        Path("/srv/trial/etc/systemd/system"),
        Path("/srv/trial/sys/fs/cgroup"),
        Path("/srv/trial/proc"),
        Path("/srv/trial/var/log/ds01/events.jsonl"),
    )
    assert (paths.engine, paths.engine_behind_gateway) == (
        Path("/srv/trial/run/docker.sock"),
        Path("/srv/trial/run/docker-real.sock"),
    )


def test_what_is_shown_at_login_has_its_places() -> None:
    paths = HostPaths(Path("/srv/trial"))
    assert (paths.rates, paths.notices(1001)) == (
        Path("/srv/trial/run/ds01/rates.json"),
        Path("/srv/trial/var/lib/ds01/notices/1001"),
    )


@pytest.mark.parametrize("target", ["/etc/ds01", "etc/ds01", PurePosixPath("/etc/ds01")])
def test_absolute_target_is_moved_below_the_root(target: str | PurePosixPath) -> None:
    assert HostPaths(Path("/srv/trial")).at(target) == Path("/srv/trial/etc/ds01")


def test_only_the_root_of_this_machine_is_live(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/")
    roots = [Path("/"), tmp_path / "link", tmp_path]
    assert [HostPaths(root).is_live for root in roots] == [True, True, False]


def test_the_root_is_this_machine_unless_said_otherwise() -> None:
    assert HostPaths() == HostPaths(Path("/"))
