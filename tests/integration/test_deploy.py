"""`./inv deploy` below a folder, as a process: exit codes, words, and what the system refuses."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.integration.machine import (
    CHECKOUT,
    VENV_PYTHON,
    Ended,
    inv,
    needs_venv,
    without_runtime,
    write_inventory,
)

ALICE = "etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf"
NO_DOCKERD = "notice: dockerd is not installed here, so its check did not run\n"


class Folder:
    """A root, an inventory, and tasks on both."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self.inventory = write_inventory(folder / "inventory")

    def words(self, task: str, *more: str) -> list[str]:
        inventory = ["--inventory", str(self.inventory)] if task in {"plan", "deploy"} else []
        return [task, "--root", str(self.root), *inventory, *more]

    def inv(self, task: str, *more: str, stdin: str = "") -> Ended:
        done = inv(*self.words(task, *more), stdin=stdin)
        return Ended(done.code, done.out, done.err.replace(NO_DOCKERD, ""))

    def tree(self) -> dict[str, str]:
        found = (path for path in sorted(self.root.rglob("*")) if path.is_file() and path.name != ".lock")
        return {str(path.relative_to(self.root)): path.read_text() for path in found}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.fixture(scope="module")
def deployed_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Folder(tmp_path_factory.mktemp("deployed"))
    assert made.inv("deploy", "--yes").code == 0
    return made.root


@pytest.fixture
def deployed(folder: Folder, deployed_once: Path) -> Folder:
    shutil.rmtree(folder.root)
    subprocess.run(["cp", "-a", deployed_once, folder.root], check=True)
    return folder


@needs_venv
def test_policy_becomes_files_and_files_go_with_their_accounts(folder: Folder) -> None:
    command = [str(CHECKOUT / "inv"), *without_runtime(folder.words("deploy", "--yes"))]
    first = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert (first.returncode, first.stderr.replace(NO_DOCKERD, "")) == (
        0,
        "Deployed generation 1: 13 to add, 0 to change, 0 to remove, 0 unchanged.\n",
    )
    second = folder.inv("deploy", "--yes")
    assert (second.code, second.out, second.err) == (
        0,
        f"Plan for ds01 on {folder.root}: 0 to add, 0 to change, 0 to remove, 13 unchanged\n",
        "Nothing to do: the host is as the policy says.\n",
    )
    write_inventory(folder.inventory, members="alice, carol", memory="8g")
    third = folder.inv("deploy", "--yes")
    assert third.err == "Deployed generation 2: 1 to add, 5 to change, 1 to remove, 7 unchanged.\n"
    assert "MemoryMax=16G\n" in (folder.root / ALICE).read_text()
    units = {path.name for path in (folder.root / "etc/systemd/system").iterdir()}
    assert "ds01-student-carol.slice.d" in units
    assert "ds01-student-bob.slice.d" not in units


def test_drift_is_refused_and_force_keeps_a_copy(deployed: Folder) -> None:
    (deployed.root / ALICE).write_text("mine\n")
    before = deployed.tree()
    refused = deployed.inv("deploy", "--yes")
    assert (refused.code, refused.err) == (
        4,
        (
            "error: 1 file changed by hand since the last deploy; nothing was deployed\n"
            f"  /{ALICE}: edited by hand since generation 1\n"
            "To fix: bring the edit into the inventory, or deploy --force"
            " (a copy is kept under /var/lib/ds01/deploy/kept)\n"
        ),
    )
    assert deployed.tree() == before
    forced = deployed.inv("deploy", "--yes", "--force")
    assert (forced.code, forced.err) == (
        0,
        (
            "Deployed generation 2: 0 to add, 1 to change, 0 to remove, 12 unchanged.\n"
            "What others had written there is kept below /var/lib/ds01/deploy/kept/000002.\n"
        ),
    )
    assert (deployed.root / "var/lib/ds01/deploy/kept/000002" / ALICE).read_text() == "mine\n"


def test_a_daemon_json_that_is_no_json_stops_everything_with_its_place(folder: Folder) -> None:
    daemon = folder.root / "etc/docker/daemon.json"
    daemon.parent.mkdir(parents=True)
    daemon.write_text('{\n  // mirrors\n  "dns": []\n}\n')
    done = folder.inv("deploy", "--yes")
    assert (done.code, done.err) == (
        4,
        (
            "error: 1 file cannot be deployed; nothing was changed\n"
            "  /etc/docker/daemon.json, line 2, column 3: JSON has no comments\n"
            "  To fix: remove the comment; nothing was changed\n"
            "To fix: see to what each line names, then deploy again\n"
        ),
    )
    assert list(folder.tree()) == ["etc/docker/daemon.json"]


def test_a_key_that_would_keep_docker_down_stops_everything(folder: Folder) -> None:
    daemon = folder.root / "etc/docker/daemon.json"
    daemon.parent.mkdir(parents=True)
    daemon.write_text('{"dnss": []}\n')
    done = folder.inv("deploy", "--yes")
    assert (done.code, list(folder.tree())) == (1, ["etc/docker/daemon.json"])
    if shutil.which("dockerd"):  # from release 23 on it has words of its own
        assert "dnss" in done.err
        assert "nothing was changed" in done.err
    else:
        assert done.err == (
            "error: /etc/docker/daemon.json has the key 'dnss', which keeps Docker from starting;"
            " nothing was changed\n"
            "To fix: remove the key from /etc/docker/daemon.json, then deploy again\n"
        )


@needs_venv
def test_two_deploys_at_once_are_one_and_a_busy_one(folder: Folder) -> None:
    first = subprocess.Popen(
        [VENV_PYTHON, "-I", "-X", "utf8", "-m", "ds01.program", *without_runtime(folder.words("deploy"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    assert first.stdin is not None
    assert first.stderr is not None
    try:
        assert first.stderr.read(len("Deploy this?")) == "Deploy this?"  # it waits for an answer with the lock held
        second = folder.inv("deploy", "--yes")
        assert (second.code, second.err) == (
            5,
            (
                f"error: another deploy is at work (pid {first.pid})\n"
                f"it holds {folder.root}/var/lib/ds01/deploy/.lock\n"
                "To fix: wait until it has ended and try again\n"
            ),
        )
        first.communicate("y\n")
    finally:
        first.kill()
        first.wait()
    assert first.returncode == 0
    assert folder.inv("deploy", "--yes").err == "Nothing to do: the host is as the policy says.\n"


def test_a_lock_that_a_dead_deploy_left_holds_nobody_up(deployed: Folder) -> None:
    lock = deployed.root / "var/lib/ds01/deploy/.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("999999\n")
    assert deployed.inv("deploy", "--yes").code == 0


# --- What the system refuses --------------------------------------------------------------------------------


def mounted(folder: Folder, options: str, *words: str) -> Ended:
    """Run a task with a tmpfs as the root's file system, in a mount namespace that ends with it."""
    script = f'mount -t tmpfs -o {options} none "$1"; shift; exec "$@"'
    command = [VENV_PYTHON, "-I", "-X", "utf8", "-m", "ds01.program", *without_runtime(words)]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", folder.root, *command],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    return Ended(done.returncode, done.stdout, done.stderr.replace(NO_DOCKERD, ""))


needs_mounts = pytest.mark.skipif(
    os.geteuid() == 0
    and subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode != 0,
    reason="no mount namespace of its own can be had here",
)


@pytest.mark.root
@needs_mounts
def test_a_full_disk_changes_nothing_and_says_where(folder: Folder) -> None:
    done = mounted(folder, "size=64k", *folder.words("deploy", "--yes"))
    assert done.code == 1
    assert (
        "cannot be written: there is no space left\nTo fix: free some space (df -h, df -i) and try again\n" in done.err
    )
    assert "Traceback" not in done.err


@pytest.mark.root
@needs_mounts
def test_a_disk_without_any_inode_left_is_the_same(folder: Folder) -> None:
    done = mounted(folder, "nr_inodes=3", *folder.words("deploy", "--yes"))
    assert (done.code, done.err) == (
        1,
        (
            "error: /var/lib/ds01/deploy cannot be written: there is no space left\n"
            "To fix: free some space (df -h, df -i) and try again\n"
        ),
    )


@pytest.mark.root
@needs_mounts
@pytest.mark.parametrize("task", ["deploy", "plan", "verify", "history"])
def test_on_a_read_only_root_looking_works_and_deploying_says_why_not(deployed: Folder, task: str) -> None:
    write_inventory(deployed.inventory, memory="8g")
    script = 'mount --bind "$1" "$1"; mount -o remount,bind,ro "$1"; shift; exec "$@"'
    words = deployed.words(task, *(["--yes"] if task == "deploy" else []))
    command = [VENV_PYTHON, "-I", "-X", "utf8", "-m", "ds01.program", *without_runtime(words)]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", deployed.root, *command],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    if task == "deploy":
        assert (done.returncode, done.stderr) == (
            1,
            (
                "error: /var/lib/ds01/deploy/.lock cannot be written: the file system is read-only\n"
                "To fix: remount it writable (mount -o remount,rw) and try again\n"
            ),
        )
    else:
        assert (done.returncode, done.stderr) == (0, "")
