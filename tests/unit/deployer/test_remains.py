"""Looking for an older DS01 on real files: what is found, what is never opened, what cannot be seen."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from tests.older_host import CALLERS, LINKS, OLDER, OURS, lay_older

from ds01.core.paths import HostPaths
from ds01.core.process import Completed
from ds01.deployer.older import Remains
from ds01.deployer.remains import find_remains

UNITS = PurePosixPath("/etc/systemd/system")
OURS_NOW = frozenset(map(PurePosixPath, OURS))


def refuse_to_run(argv: list[str], **_: object) -> Completed:
    raise AssertionError(f"nothing may be asked of a folder: {argv}")


def find(root: Path) -> Remains:
    return find_remains(HostPaths(root), OURS_NOW, refuse_to_run)  # type: ignore[arg-type]  # never called


def lay(root: Path, *targets: str, text: str = "[Slice]\nMemoryMax=1G\n") -> None:
    for target in targets:
        file = root / target.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def paths(found: Remains) -> list[str]:
    return sorted(f"{each.path}" for each in found.older)


def test_a_whole_older_server_is_found(tmp_path: Path) -> None:
    lay_older(tmp_path)
    found = find(tmp_path)
    assert paths(found) == list(OLDER)
    assert (found.callers, found.foreign, found.unseen) == (tuple(map(PurePosixPath, CALLERS)), (), ())
    assert (found.running, found.makes_slices) == (frozenset(), False)
    links = [path for path in OLDER if path in LINKS]
    assert {f"{each.path}": each.text for each in found.older if f"{each.path}" in links} == {
        path: LINKS[path] for path in links
    }


def test_an_empty_host_has_none(tmp_path: Path) -> None:
    assert find(tmp_path) == Remains()


def test_units_of_nobody_known_are_told_from_the_older_ds01s(tmp_path: Path) -> None:
    lay(
        tmp_path,
        f"{UNITS}/ds01-student-alice.slice.d/10-resource-limits.conf",  # ours
        f"{UNITS}/ds01-student-alice.slice.d/99-mine.conf",
        f"{UNITS}/ds01-student-alice.slice.d/README",
        f"{UNITS}/ds01-student-.slice.d/50-all.conf",
        f"{UNITS}/ds01.slice.d/x.conf",
        f"{UNITS}/ds01-extra.slice",
        f"{UNITS}/docker.service.d/x.conf",
    )
    (tmp_path / "etc/systemd/system/ds01-masked.slice").symlink_to("/dev/null")
    found = find(tmp_path)
    assert found.older == ()
    assert {f"{path.relative_to(UNITS)}": text for path, text in found.foreign} == {
        "ds01-extra.slice": "[Slice]\nMemoryMax=1G\n",
        "ds01-masked.slice": "/dev/null",
        "ds01-student-.slice.d/50-all.conf": "[Slice]\nMemoryMax=1G\n",
        "ds01-student-alice.slice.d/99-mine.conf": "[Slice]\nMemoryMax=1G\n",
        "ds01.slice.d/x.conf": "[Slice]\nMemoryMax=1G\n",
    }


def test_links_are_read_and_never_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    lay(elsewhere, "ds01-x", "x.conf", text="# DS01, /opt/ds01-infra\n")
    root = tmp_path / "root"
    (root / "etc/systemd/system").mkdir(parents=True)
    (root / "etc/cron.d").symlink_to(elsewhere)
    (root / "etc/systemd/system/ds01-a.slice.d").symlink_to(elsewhere)
    (root / "etc/bash.bashrc").symlink_to(elsewhere / "ds01-x")
    (root / "usr/local/bin").mkdir(parents=True)
    (root / "usr/local/bin/help").symlink_to(elsewhere / "ds01-x")
    assert find(root) == Remains()


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    for name in ("etc/cron.d", "usr/local/bin", "etc/systemd/system"):
        (tmp_path / name).mkdir(parents=True)
    os.mkfifo(tmp_path / "etc/cron.d/ds01-pipe")  # opening it would wait for a writer
    os.mkfifo(tmp_path / "usr/local/bin/docker")
    (tmp_path / "etc/systemd/system/ds01-x.service").mkdir()
    assert find(tmp_path) == Remains()


def test_other_programs_are_not_read(tmp_path: Path) -> None:
    lay(tmp_path, "/usr/local/bin/other", "/usr/local/bin/ds01-mine", text="calls /opt/ds01-infra\n")
    assert paths(find(tmp_path)) == ["/usr/local/bin/ds01-mine"]


def test_names_of_any_bytes_are_found(tmp_path: Path) -> None:
    folder = tmp_path / "usr/local/bin"
    folder.mkdir(parents=True)
    (folder / "gr\udcfcn").symlink_to("/opt/ds01-infra/gr\udcfcn")
    (found,) = find(tmp_path).older
    assert (os.fsencode(found.path), os.fsencode(found.text)) == (b"/usr/local/bin/gr\xfcn", b"/opt/ds01-infra/gr\xfcn")


def test_the_maker_of_slices_is_seen(tmp_path: Path) -> None:
    lay(tmp_path, "/opt/ds01-infra/scripts/system/create-user-slice.sh")
    assert find(tmp_path) == Remains(makes_slices=True)


@pytest.mark.root
def test_a_state_folder_that_a_group_may_write_is_said_beforehand(tmp_path: Path) -> None:
    state = tmp_path / "var/lib/ds01"
    state.mkdir(parents=True)
    shutil.chown(state, group=990)
    state.chmod(0o775)
    assert find(tmp_path).unsafe == (
        (
            f"deploy will refuse this: {state} can be written by others than root, so root neither reads nor writes"
            f" below it; chmod go-w {state}, after a look at what is in it; a folder of your own needs no root: run it"
            " without sudo"
        ),
    )


@pytest.mark.root
def test_a_folder_that_others_may_write_is_not_looked_into(tmp_path: Path) -> None:
    lay(tmp_path, "/etc/cron.d/ds01-x", "/etc/profile.d/ds01-x.sh", text="")
    (tmp_path / "etc/cron.d").chmod(0o777)
    found = find(tmp_path)
    assert paths(found) == ["/etc/profile.d/ds01-x.sh"]
    (said,) = found.unsafe
    assert said.startswith(f"whether files of an older DS01 lie there was not looked at: {tmp_path}/etc/cron.d can be ")


LOOK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from ds01.core.paths import HostPaths
from ds01.deployer.remains import find_remains
import os
os.setgroups([]); os.setgid(65534); os.setuid(65534)
found = find_remains(HostPaths(Path(sys.argv[1])), frozenset(), None)
print(*(f"{each.path}: {each.what}" for each in found.older), *found.unseen, sep="\\n")
"""


@pytest.mark.root
def test_without_root_what_cannot_be_seen_is_said() -> None:
    root = Path("/tmp") / f"ds01-remains-{os.getpid()}"
    try:
        lay(root, "/etc/sudoers.d/ds01-x", "/etc/cron.d/ds01-x", text="")
        for folder in (root, root / "etc", root / "etc/cron.d"):
            folder.chmod(0o755)
        (root / "etc/sudoers.d").chmod(0o750)
        (root / "etc/cron.d/ds01-x").chmod(0o600)
        scripts = Path(__file__).parents[3] / "scripts"
        done = subprocess.run([sys.executable, "-c", LOOK, root, scripts], capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(root)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "/etc/cron.d/ds01-x: /etc/cron.d/ds01-x may not be read; run the command as root (sudo) to see it",
        ("whether /etc/sudoers.d holds files of an older DS01 cannot be seen: run it with sudo"),
    ]
