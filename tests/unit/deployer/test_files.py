"""Looking at files below a root: what is there, what is in the way, and never through a link."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from ds01.core.errors import BadInputError
from ds01.core.paths import HostPaths
from ds01.core.tree import Form
from ds01.deployer.files import (
    FilesError,
    Kind,
    Observed,
    ObstacleError,
    UnsafeFolderError,
    Walk,
    explain,
    make_folder,
    observe_file,
    observe_files,
)
from ds01.deployer.folder import LARGEST_BYTES

ME = (os.geteuid(), os.getegid())


def at(path):
    return PurePosixPath(path)


@pytest.fixture
def root(tmp_path):
    for folder in ("etc/docker", "etc/systemd/system/ds01.slice.d", "data"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/docker/daemon.json").write_bytes(b"{}\n")
    (tmp_path / "etc/docker/daemon.json").chmod(0o640)
    return tmp_path


def test_a_file_is_read_with_its_metadata(root):
    found = observe_file(HostPaths(root), at("/etc/docker/daemon.json"))
    assert found == Observed(Kind.FILE, b"{}\n", 0o640, *ME)


def test_many_are_read_in_one_go_and_in_their_order(root):
    targets = [
        at("/etc/systemd/system/ds01.slice.d/10.conf"),
        at("/nowhere/at/all"),
        at("/etc/docker/daemon.json"),
        at("/etc/docker"),
        at("/etc/docker/daemon.json/below"),
        at("/etc/docker/empty"),
    ]
    (root / "etc/docker/empty").touch(mode=0o600)
    found = observe_files(HostPaths(root), targets)
    assert list(found) == targets
    assert list(found.values()) == [
        Observed(Kind.ABSENT),
        Observed(Kind.ABSENT),
        Observed(Kind.FILE, b"{}\n", 0o640, *ME),
        Observed(Kind.FOLDER, None, (root / "etc/docker").stat().st_mode & 0o7777, *ME, "/etc/docker is a folder"),
        Observed(Kind.OTHER, obstacle="/etc/docker/daemon.json is a file, not a folder"),
        Observed(Kind.FILE, b"", 0o600, *ME),
    ]


@pytest.mark.parametrize("component", ["etc", "etc/systemd", "etc/systemd/system", "etc/systemd/system/ds01.slice.d"])
def test_a_link_on_the_way_is_named_and_not_followed(tmp_path, component):
    (tmp_path / "elsewhere/systemd/system/ds01.slice.d").mkdir(parents=True)
    link = tmp_path / component
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("/elsewhere")
    found = observe_file(HostPaths(tmp_path), at("/etc/systemd/system/ds01.slice.d/10.conf"))
    assert found == Observed(Kind.SYMLINK, obstacle=f"/{component} is a symbolic link to /elsewhere")


def test_a_link_in_the_place_of_the_file_is_named_with_its_goal_and_not_followed(root):
    (root / "etc/docker/link").symlink_to("daemon.json")
    found = observe_file(HostPaths(root), at("/etc/docker/link"))
    assert (found.kind, found.form, found.content) == (Kind.SYMLINK, Form.LINK, b"daemon.json")
    assert found.obstacle == "/etc/docker/link is a symbolic link to daemon.json"


def test_a_link_that_leads_nowhere_is_a_link(root):
    (root / "etc/docker/link").symlink_to("/nowhere")
    assert observe_file(HostPaths(root), at("/etc/docker/link")).kind is Kind.SYMLINK


def test_a_root_may_be_reached_through_links(root, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "root"
    link.symlink_to(root)
    assert observe_file(HostPaths(link), at("/etc/docker/daemon.json")).content == b"{}\n"


def test_pipes_and_sockets_are_not_opened(root):
    os.mkfifo(root / "etc/pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(root / "etc/socket"))
        found = observe_files(HostPaths(root), [at("/etc/pipe"), at("/etc/socket"), at("/etc/pipe/below")])
    assert [(each.kind, each.obstacle) for each in found.values()] == [
        (Kind.OTHER, "/etc/pipe is a pipe"),
        (Kind.OTHER, "/etc/socket is a socket"),
        (Kind.OTHER, "/etc/pipe is a pipe"),
    ]


@pytest.mark.root
def test_a_device_is_not_opened(root):
    os.mknod(root / "etc/null", 0o20666, os.makedev(1, 3))
    assert observe_file(HostPaths(root), at("/etc/null")).obstacle == "/etc/null is a device"


def test_a_huge_file_is_not_read(root):
    big = root / "etc/big"
    big.touch(mode=0o644)
    os.truncate(big, LARGEST_BYTES + 1)
    found = observe_file(HostPaths(root), at("/etc/big"))
    assert found == Observed(Kind.UNREADABLE, None, 0o644, *ME, "/etc/big is larger than 16 MiB")
    os.truncate(big, LARGEST_BYTES)
    assert observe_file(HostPaths(root), at("/etc/big")).content == bytes(LARGEST_BYTES)


def test_a_kernel_file_that_says_it_is_empty_is_read_to_its_end():
    # /proc and /sys files have size 0; a read that trusts the size would see nothing.
    found = observe_file(HostPaths(Path("/proc")), at("/version"))
    assert found.content is not None
    assert found.content.startswith(b"Linux")


AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path, PurePosixPath
from ds01.core.paths import HostPaths
from ds01.deployer.files import observe_files
os.setgroups([]), os.setgid(65534), os.setuid(65534)
targets = [PurePosixPath(each) for each in sys.argv[3:]]
for found in observe_files(HostPaths(Path(sys.argv[2])), targets).values():
    print(found.kind.value, found.content, found.mode, found.uid, found.obstacle, sep="|")
"""


@pytest.mark.root
def test_without_permission_the_rest_is_seen(root, tmp_path):
    for folder in (*tmp_path.parents[:2], tmp_path):
        folder.chmod(0o755)
    (root / "etc/docker/daemon.json").chmod(0o600)
    (root / "etc/closed").mkdir(0o700)
    (root / "etc/pass").mkdir(0o711)
    (root / "etc/pass/open").write_text("seen")
    scripts = Path(__file__).parents[3] / "scripts"
    targets = ["/etc/docker/daemon.json", "/etc/closed/file", "/etc/pass/open"]
    done = subprocess.run(
        [sys.executable, "-B", "-c", AS_NOBODY, scripts, root, *targets], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "unreadable|None|384|0|/etc/docker/daemon.json may not be read; run the command as root (sudo) to see it",
        "unreadable|None|None|None|/etc/closed/file may not be read; run the command as root (sudo) to see it",
        "file|b'seen'|420|0|None",
    ]


@pytest.mark.parametrize("target", ["etc/docker", "/etc/../etc/docker/daemon.json"])
def test_a_target_must_be_absolute_and_straight(root, target):
    with pytest.raises(ValueError, match="is not an absolute path without"):
        observe_file(HostPaths(root), at(target))


def test_a_root_that_is_not_there_is_bad_input(tmp_path):
    with pytest.raises(BadInputError) as caught:
        observe_file(HostPaths(tmp_path / "none"), at("/etc"))
    assert caught.value.render() == (
        f"the root {tmp_path}/none cannot be opened\nNo such file or directory\n"
        "To fix: name an existing folder with --root"
    )


def test_walking_leaves_no_descriptor_open(root):
    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    with Walk(HostPaths(root)) as walk:
        for folder in ("/etc/docker", "/etc/systemd/system", "/data", "/", "/etc/systemd/system/ds01.slice.d"):
            walk.enter(at(folder))
        with pytest.raises(FileNotFoundError):
            walk.enter(at("/etc/docker/none/at/all"))
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before


def test_missing_folders_are_named_outermost_first(root):
    with Walk(HostPaths(root)) as walk:
        assert walk.missing(at("/etc/docker")) == ()
        assert walk.missing(at("/etc/a/b/c")) == (at("/etc/a"), at("/etc/a/b"), at("/etc/a/b/c"))
        assert walk.missing(at("/a/b")) == (at("/a"), at("/a/b"))


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000])
def test_folders_are_made_with_the_same_mode_under_any_umask(root, umask):
    before = os.umask(umask)
    try:
        make_folder(HostPaths(root), at("/var/lib/ds01"))
        make_folder(HostPaths(root), at("/var/lib/ds01"))
    finally:
        os.umask(before)
    made = ["var", "var/lib", "var/lib/ds01"]
    assert [(root / folder).stat().st_mode & 0o7777 for folder in made] == [0o755] * 3


def test_a_folder_is_not_made_through_a_link_or_a_file(root):
    (root / "var").symlink_to("data")
    with pytest.raises(ObstacleError) as caught:
        make_folder(HostPaths(root), at("/var/lib"))
    assert caught.value.render() == (
        "/var is a symbolic link to data\n"
        "DS01 never writes through links or over things it does not know\n"
        "To fix: move it out of the way, or mount the other place there (mount --bind), and try again"
    )
    with pytest.raises(ObstacleError, match=r"/etc/docker/daemon\.json is a file, not a folder"):
        make_folder(HostPaths(root), at("/etc/docker/daemon.json/x"))
    assert list((root / "data").iterdir()) == []


REFUSALS = [
    ("ENOSPC", "there is no space left", "free some space (df -h, df -i) and try again"),
    ("EDQUOT", "there is no space left", "free some space (df -h, df -i) and try again"),
    ("EROFS", "the file system is read-only", "remount it writable (mount -o remount,rw) and try again"),
    ("EACCES", "permission denied", "run the command as root (sudo)"),
    (
        "EPERM",
        "operation not permitted",
        "run the command as root (sudo); as root, look for a protection on it (lsattr /a/b)",
    ),
    ("EXDEV", "something is mounted there", "unmount it (umount /a/b) and try again"),
    (
        "EOPNOTSUPP",
        "its file system cannot keep the old version (no hard links)",
        "use another file system",
    ),
    ("EIO", "Input/output error\n[Errno 5] Input/output error", "mend that and try again"),
]


@pytest.mark.parametrize(("name", "cause", "fix"), REFUSALS)
def test_each_refusal_says_what_to_do(name, cause, fix):
    number = getattr(errno, name)
    error = explain(OSError(number, os.strerror(number)), at("/a/b"))
    assert isinstance(error, FilesError)
    assert error.render() == f"/a/b cannot be written: {cause}\nTo fix: {fix}"


@pytest.mark.root
@pytest.mark.parametrize(
    ("uid", "gid", "mode", "why"),
    [
        (12345, 0, 0o755, "belongs to uid 12345"),
        (0, 0, 0o757, "can be written by others than root"),
        (0, 12345, 0o775, "can be written by others than root"),
    ],
)
def test_root_goes_through_no_folder_that_others_can_change(
    tmp_path: Path, uid: int, gid: int, mode: int, why: str
) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    os.chown(folder, uid, gid)
    folder.chmod(mode)
    with pytest.raises(UnsafeFolderError) as caught:
        observe_file(HostPaths(tmp_path), PurePosixPath("/etc/x"))
    assert caught.value.brief == f"{folder} {why}, so root neither reads nor writes below it"


@pytest.mark.root
@pytest.mark.parametrize(("gid", "mode"), [(0, 0o755), (50, 0o2775), (0, 0o1777)])
def test_folders_of_the_system_are_trusted(tmp_path: Path, gid: int, mode: int) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    os.chown(folder, 0, gid)
    folder.chmod(mode)
    assert observe_file(HostPaths(tmp_path), PurePosixPath("/etc/x")) == Observed(Kind.ABSENT)


@pytest.mark.root
@pytest.mark.parametrize("place", ["var/lib/ds01", "opt/ds01", "etc/ds01", "etc/systemd"])
def test_state_and_programs_may_not_even_be_writable_by_a_group_of_the_system(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True)
    os.chown(folder, 0, 50)
    folder.chmod(0o2775)
    with pytest.raises(UnsafeFolderError):
        observe_file(HostPaths(tmp_path), PurePosixPath(f"/{place}/deploy/x"))


@pytest.mark.root
def test_root_of_somebody_else_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(UnsafeFolderError, match="so root neither reads nor writes below it"):
        observe_file(HostPaths(tmp_path), PurePosixPath("/etc/x"))
