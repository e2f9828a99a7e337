"""State files are replaced whole, read strictly, and written by one process at a time."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ds01.core.errors import BusyError
from ds01.core.jsonstate import StateError, exclusive, read_json, write_bytes, write_json

HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[2])
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from ds01.core.jsonstate import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None, True], "a": {"name": "zoë"}}
    write_json(tmp_path / "state.json", value)
    assert read_json(tmp_path / "state.json") == value


def test_file_is_text_that_people_can_read(tmp_path: Path) -> None:
    write_json(tmp_path / "state.json", {"name": "zoë"})
    assert (tmp_path / "state.json").read_text() == '{\n "name": "zoë"\n}\n'


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o600])
def test_permissions_do_not_depend_on_the_umask(mode: int, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_json(tmp_path / "state.json", {}, mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == mode


@pytest.mark.root
def test_a_file_is_given_to_a_group_before_anybody_sees_it(tmp_path: Path) -> None:
    write_bytes(tmp_path / "state", b"text", mode=0o640, group=60)
    found = (tmp_path / "state").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 60, 0o640)


def test_readers_of_the_old_file_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"n": 1})
    with path.open() as old:
        write_json(path, {"n": 2})
        assert (old.read(), read_json(path), names(tmp_path)) == ('{\n "n": 1\n}\n', {"n": 2}, ["state.json"])


def test_value_that_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json(path, {"n": 1})
    with pytest.raises(TypeError):
        write_json(path, {"n": object()})
    assert (read_json(path), names(tmp_path)) == ({"n": 1}, ["state.json"])


def test_failed_rename_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "state.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_json(tmp_path / "state.json", {})
    assert names(tmp_path) == ["state.json"]


def test_symlink_in_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / ".state.json.ds01-tmp").symlink_to("victim")
    with pytest.raises(OSError) as refused:  # noqa: PT011 - the number is checked below
        write_json(tmp_path / "state.json", {})
    assert (refused.value.errno, (tmp_path / "victim").read_text()) == (errno.ELOOP, "precious")


def test_file_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "state.json") is None


@pytest.mark.parametrize(
    ("content", "brief"),
    [
        (b"", "{path} cannot be read"),
        (b"{", "{path} cannot be read"),
        (b'{"a": "\xff"}', "{path} cannot be read"),
        (b"[1]", "{path} is not a JSON object"),
        (b"null", "{path} is not a JSON object"),
    ],
)
def test_broken_state_is_reported_and_kept(content: bytes, brief: str, tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(StateError) as refused:
        read_json(path)
    assert (refused.value.brief, path.read_bytes()) == (brief.format(path=path), content)


def test_taken_lock_names_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, os.fspath(lock), os.fspath(SCRIPTS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    with holder, holder.stdout as out:
        assert out.readline() == b"held\n"
        with pytest.raises(BusyError) as refused, exclusive(lock):
            pass
        holder.kill()
    assert refused.value.brief == f"another deploy is at work (pid {holder.pid})"


def test_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    script = HOLDER.replace("sys.stdin.read()", killed)
    subprocess.run(
        [sys.executable, "-c", script, os.fspath(lock), os.fspath(SCRIPTS)], stdout=subprocess.DEVNULL, check=False
    )
    with exclusive(lock):
        assert lock.read_text() == f"{os.getpid()}\n"


def test_lock_file_is_never_replaced(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    inodes = []
    for _ in range(2):
        with exclusive(lock):
            inodes.append(lock.stat().st_ino)
    assert (inodes[0] == inodes[1], lock.exists()) == (True, True)


def test_symlink_in_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "x.lock").symlink_to("victim")
    with pytest.raises(OSError) as refused, exclusive(tmp_path / "x.lock"):  # noqa: PT011 - the number is checked below
        pass
    assert (refused.value.errno, (tmp_path / "victim").read_text()) == (errno.ELOOP, "precious")


@pytest.mark.root
@pytest.mark.parametrize(("uid", "mode"), [(12345, 0o644), (0, 0o664), (0, 0o646)])
def test_root_believes_no_state_that_others_could_have_written(tmp_path: Path, uid: int, mode: int) -> None:
    path = tmp_path / "state.json"
    path.write_text("{}")
    os.chown(path, uid, 0)
    path.chmod(mode)
    assert read_json(path) == {}
    with pytest.raises(StateError) as caught:
        read_json(path, of_root=True)
    assert caught.value.render() == (
        f"root does not believe {path}: others than root can write it\n"
        f"owner uid {uid}, mode {mode:04o}\n"
        "To fix: look at what it says; restore it from a backup, or move it aside"
    )


def test_link_in_place_of_roots_state_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "state.json").symlink_to("real.json")
    with pytest.raises(StateError, match="cannot be read"):
        read_json(tmp_path / "state.json", of_root=True)


def test_pipe_in_place_of_state_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "state.json")
    with pytest.raises(StateError, match="is not a file"):
        read_json(tmp_path / "state.json")


def test_endless_device_in_place_of_state_is_not_read() -> None:
    with pytest.raises(StateError, match="is not a file"):
        read_json(Path("/dev/zero"))


def test_text_in_a_lock_that_is_no_pid_is_not_repeated(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with exclusive(lock):
        lock.write_bytes(b"\x1b]0;gotcha\x07 1")
        with pytest.raises(BusyError) as caught, exclusive(lock):
            pass
    assert caught.value.brief == "another deploy is at work (pid unknown)"


def hold(lock: Path, seconds: float) -> subprocess.Popen[str]:
    """Let another process hold a lock so long; returns when it has it."""
    code = "import sys, time; from pathlib import Path; from ds01.core.jsonstate import exclusive\n"
    code += "with exclusive(Path(sys.argv[1])): print(flush=True); time.sleep(float(sys.argv[2]))"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, lock, str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(SCRIPTS)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "\n"
    return holder


def test_a_lock_is_waited_for(tmp_path: Path) -> None:
    with hold(tmp_path / ".lock", 0.3) as holder:
        with exclusive(tmp_path / ".lock", wait_seconds=60, work="allocation"):
            assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
        assert holder.wait(60) == 0


def test_a_lock_that_was_waited_for_in_vain_is_not_kept_when_it_comes_at_last(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with hold(lock, 60) as holder:
        with pytest.raises(BusyError) as caught, exclusive(lock, wait_seconds=0.05, work="allocation"):
            pass
        assert caught.value.brief == f"another allocation is at work (pid {holder.pid})"
        holder.kill()
    # The thread that stood in the line may have it for a moment, to let it go.
    with exclusive(lock, wait_seconds=60), pytest.raises(BusyError), exclusive(lock):
        pass
    with exclusive(lock, wait_seconds=60):
        pass


def test_many_threads_take_turns(tmp_path: Path) -> None:
    inside, most = [], []

    def work() -> None:
        for _ in range(20):
            with exclusive(tmp_path / ".lock", wait_seconds=60):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work) for _ in range(8)]:
            done.result(120)
    assert (len(most), max(most)) == (160, 1)


def test_what_means_nothing_after_a_power_cut_is_written_in_one_step_too(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    for text in (b"one", b"two"):
        write_bytes(path, text, mode=0o600, durable=False)
        assert path.read_bytes() == text
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["state.json"]
