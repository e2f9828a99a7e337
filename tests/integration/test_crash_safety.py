"""A deploy dies at each system call that changes the root; afterwards the root is old or new, never between."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import ClassVar, NamedTuple

import pytest
from tests.integration import crash_deploys, crash_driver
from tests.releases import seal

from ds01.core.paths import HostPaths
from ds01.deployer.apply import Remove, Write, recover, stage
from ds01.deployer.files import FilesError
from ds01.deployer.journal import State, pending
from ds01.deployer.release import Release

SCRIPTS = Path(__file__).parents[2] / "scripts"
DRIVER = Path(crash_driver.__file__)
# Every system call of Linux that can change a file system; openat counts where it creates. Not those that only make
# changes durable: killed before one, a process leaves what it leaves when it is killed before the next change (what a
# power cut leaves is proved in the lab). The question marks let strace pass over names that this machine's
# architecture does not have.
CHANGING = """
    openat open creat openat2 write pwrite64 writev pwritev pwritev2 rename renameat renameat2 link linkat symlink
    symlinkat unlink unlinkat mkdir mkdirat rmdir mknod mknodat chmod fchmod fchmodat chown lchown fchown fchownat
    truncate ftruncate fallocate copy_file_range sendfile splice setxattr fsetxattr utimensat
"""
TRACE = "trace=" + ",".join(f"?{name}" for name in CHANGING.split())
SAMPLES = 10
# Roots for one strace: starting it and Python costs as much as three deploys.
BATCH = 12

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


class Point(NamedTuple):
    """The number-th call of a name in one process; the text is for the message when it goes wrong."""

    name: str
    number: int
    text: str


class Bench:
    """Builds roots, runs the driver on them in processes of its own, kills it, and compares whole trees."""

    driver = DRIVER
    # More than what the parent of a batch does itself, so that strace lets it live: imports, and one line of output.
    parents_calls: ClassVar = {"openat": 200, "write": 9}

    def __init__(self, folder):
        self.folder = folder
        self.old, self.new = expected(crash_driver.OLD), expected(crash_driver.NEW)
        self.drive("deploy", self.build("warm"))  # fills the cache of compiled modules, so that later runs are alike

    def build(self, name):
        root = self.folder / name
        for path, (mode, content) in crash_driver.OLD.items():
            file = root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            if mode == crash_driver.LINK:
                file.symlink_to(content)
            else:
                file.write_text(content)
                file.chmod(mode)
        return root

    def snapshot(self, root):
        return snapshot(root)

    def copy(self, root, name):
        """Copy with hard links kept, because recovery works with them."""
        target = self.folder / name
        subprocess.run(["cp", "-a", root, target], check=True)
        return target

    def command(self, verb, roots, **jobs):
        cache = f"pycache_prefix={self.folder / 'pycache'}"
        jobs |= {"verb": verb, "roots": [os.fspath(root) for root in roots]}
        return [sys.executable, "-I", "-S", "-X", cache, self.driver, SCRIPTS, json.dumps(jobs)]

    def drive(self, verb, *roots):
        """Run to the end in one new process."""
        done = subprocess.run(self.command(verb, roots), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def points(self, verb, *roots):
        """Run to the end, and return for each root the calls that changed something, in order."""
        log = self.folder / "trace.log"
        strace = ["strace", "-f", "-qq", "-s", "200", "-o", log, "-e", "signal=none", "-e", TRACE]
        subprocess.run([*strace, *self.command(verb, roots, call="")], check=True, stdout=subprocess.DEVNULL)
        counts, found = Counter(), {}
        for line in log.read_text().splitlines():
            match = re.fullmatch(r"(\d+) +(\w+)\((.*)", line)
            if match is None:
                continue
            process, name, rest = match.groups()
            counts[process, name] += 1
            if name != "openat" or "O_CREAT" in rest:
                found.setdefault(process, []).append(Point(name, counts[process, name], rest))
        *children, _ = found.values()  # the only change of their parent is what it prints at the end
        assert len(children) == len(roots)
        return children

    def kill(self, verb, points):
        """Run in each root, in a process that is killed at its point, before the call happens."""
        by_name = {}
        for root, point in points.items():
            by_name.setdefault(point.name, []).append(root)
        batches = [roots[at : at + BATCH] for roots in by_name.values() for at in range(0, len(roots), BATCH)]

        def one(roots):
            name = points[roots[0]].name
            last = max(points[root].number for root in roots) + self.parents_calls.get(name, 0)
            burn = {os.fspath(root): last - points[root].number for root in roots}
            inject = f"inject={name}:signal=KILL:when={last}"
            strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={name}", "-e", inject]
            command = [*strace, *self.command(verb, roots, call=name, burn=burn)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.stdout == json.dumps([-signal.SIGKILL] * len(roots)), (name, done.stderr)

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            list(pool.map(one, batches))

    def check(self, root, outcome, point):
        """The tree is as recovery said, with nothing left over; without a journal it may be either."""
        now = self.snapshot(root)
        match outcome:
            case "nothing":
                assert now in (self.old, self.new), point
            case "undone":
                assert now == self.old, point
            case "applied" | "finished":
                assert now == self.new, point
            case _:
                pytest.fail(f"{outcome} {point}")
        shutil.rmtree(root)
        return "old" if now == self.old else "new"


def snapshot(root):
    """Everything below a root: folders with their mode; files and links with names, owner, group and what they hold."""
    found = {}
    for path in root.rglob("*"):
        info = path.lstat()
        mode = stat.S_IMODE(info.st_mode)
        held = (info.st_nlink, info.st_uid, info.st_gid)
        if path.is_symlink():
            state = (crash_driver.LINK, *held, os.fspath(path.readlink()))
        elif path.is_file():
            state = (mode, *held, path.read_text())
        else:
            state = ("folder", mode)
        found[f"/{path.relative_to(root)}"] = state
    return found


def expected(files):
    found = {}
    for path, (mode, content) in files.items():
        found |= {str(folder): ("folder", 0o755) for folder in PurePosixPath(path).parents[:-1]}
        found[path] = (mode, 1, os.geteuid(), os.getegid(), content)
    return found


@pytest.fixture(scope="module")
def bench():
    memory = Path("/dev/shm")  # hundreds of trees are written
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Bench(Path(folder))


def test_the_whole_deploy_and_its_undoing_without_a_crash(bench):
    deployed, undone = bench.build("deployed"), bench.build("undone")
    assert bench.drive("deploy", deployed) == ["deployed"]
    assert bench.drive("undo", undone) == ["undone"]
    assert (snapshot(deployed), snapshot(undone)) == (bench.new, bench.old)
    assert bench.drive("recover", deployed, undone) == ["nothing", "nothing"]
    assert (snapshot(deployed), snapshot(undone)) == (bench.new, bench.old)


@needs_strace
def test_killed_anywhere_a_deploy_is_undone_or_finished_and_so_is_a_killed_recovery(bench):
    (calls,) = bench.points("deploy", bench.build("traced"))
    assert len(calls) >= 60
    points = {bench.build(f"deploy{number}"): point for number, point in enumerate(calls)}
    bench.kill("deploy", points)
    samples = {root: bench.copy(root, f"sample-{root.name}") for root in spread(points)}
    outcomes = dict(zip(points, bench.drive("recover", *points), strict=True))
    left = {root: bench.check(root, outcomes[root], point) for root, point in points.items()}
    assert set(outcomes.values()) == {"nothing", "undone", "applied", "finished"}
    assert kill_recoveries(bench, {copy: left[root] for root, copy in samples.items()}) >= 100


@needs_strace
def test_killed_anywhere_an_undoing_is_undone(bench):
    (calls,) = bench.points("undo", bench.build("traced-undo"))
    renames = [number for number, call in enumerate(calls) if call.name.startswith("rename")]
    switch = next(number for number in renames if ".journal.json.undoing" in calls[number].text)
    points = {bench.build(f"undo{number}"): call for number, call in enumerate(calls[switch + 1 :])}
    assert len(points) >= 20
    bench.kill("undo", points)
    samples = {bench.copy(root, f"sample-{root.name}"): "old" for root in spread(points)}
    outcomes = dict(zip(points, bench.drive("recover", *points), strict=True))
    assert set(outcomes.values()) == {"nothing", "undone"}
    assert {bench.check(root, outcomes[root], point) for root, point in points.items()} == {"old"}
    assert kill_recoveries(bench, samples) >= 30


# --- A deploy that puts another release in force, cleared up at boot ----------------------------------------

LAUNCHER = f"""#!{sys.executable} -IS
import sys

sys.path.insert(0, {os.fspath(SCRIPTS)!r})
from ds01.cli import main

sys.exit(main())
"""


class RuntimeBench(Bench):
    """Roots with release a in force and release b beside it, small ones that run this checkout's own modules."""

    driver = Path(crash_deploys.__file__)
    parents_calls: ClassVar = {"openat": 400, "write": 9}

    def __init__(self, folder):
        self.folder = folder
        self.template = folder / "template"
        self.lay_release("a")
        self.drive("first", self.template)
        self.lay_release("b")
        warm = self.build("warm")
        self.old = self.snapshot(warm)
        self.drive("second", warm)
        self.new = self.snapshot(warm)

    def lay_release(self, name):
        release = self.template / "opt/ds01/releases" / name
        (release / "bin").mkdir(parents=True)
        for command in ("ds01", "ds01-generate-limits"):
            (release / "bin" / command).write_text(LAUNCHER)
            (release / "bin" / command).chmod(0o755)
        (release / "venv/bin").mkdir(parents=True)
        (release / "venv/bin/python").symlink_to(sys.executable)
        seal(release, Release(name, {"ds01": name}))

    def build(self, name):
        return self.copy(self.template, name)

    def snapshot(self, root):
        """All but the lock, whose text is a process's number, and the releases, of which the link names one."""
        passed_over = ("/var/lib/ds01/deploy/.lock", "/opt/ds01/releases/")
        return {path: state for path, state in snapshot(root).items() if not path.startswith(passed_over)}

    def command(self, verb, roots, **jobs):
        # Where files are laid out for their checks: killed there, a deploy leaves them.
        (self.folder / "scratch").mkdir(exist_ok=True)
        return ["env", f"TMPDIR={self.folder / 'scratch'}", *super().command(verb, roots, **jobs)]


@pytest.fixture(scope="module")
def runtime():
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield RuntimeBench(Path(folder))


def test_old_and_new_differ_in_the_release_its_commands_and_the_policy(runtime):
    differing = {path for path in {*runtime.old, *runtime.new} if runtime.old.get(path) != runtime.new.get(path)}
    limits = "/etc/systemd/system/ds01-student-{}.slice.d"
    assert {path for path in differing if not path.startswith("/var/lib/ds01/deploy")} == {
        "/opt/ds01/current",
        "/usr/local/bin/ds01-generate-limits",
        "/etc/ds01/policy.json",
        "/etc/systemd/system/ds01-recover.service",
        limits.format("alice") + "/10-resource-limits.conf",
        limits.format("bob"),
        limits.format("bob") + "/10-resource-limits.conf",
        limits.format("carol"),
        limits.format("carol") + "/10-resource-limits.conf",
    }


@needs_strace
def test_killed_anywhere_release_commands_and_files_are_old_or_new_together_after_boot(runtime):
    (calls,) = runtime.points("second", runtime.build("traced"))
    assert len(calls) >= 100
    points = {runtime.build(f"second{number}"): point for number, point in enumerate(calls)}
    runtime.kill("second", points)
    states = {root: pending(HostPaths(root)) for root in points}
    assert set(states.values()) == {None, *State} - {State.UNDOING}
    boot_with_the_installed_command(runtime, states)
    outcomes = dict(zip(points, runtime.drive("boot", *points), strict=True))
    assert set(outcomes.values()) == {"nothing", "undone", "applied", "finished"}
    for root, point in points.items():
        goal = (root / "opt/ds01/current").readlink()
        assert (root / "opt/ds01" / goal / "bin/ds01").is_file(), point
        runtime.check(root, outcomes[root], point)


def boot_with_the_installed_command(runtime, states):
    """In a copy of one root of each state, let the command that the service calls do it."""
    wanted = {
        None: "nothing",
        State.STAGING: "undone",
        State.APPLYING: "undone",
        State.APPLIED: "applied",
        State.FINISHING: "finished",
    }
    for state, outcome in wanted.items():
        root = max(root for root, each in states.items() if each is state)
        copy = runtime.copy(root, f"booted-{root.name}")
        done = subprocess.run(
            [copy / "opt/ds01/current/bin/ds01", "recover", "--boot", "--root", copy],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (crash_deploys.outcome(done.returncode, done.stderr), done.stdout) == (outcome, "")
        runtime.check(copy, outcome, state)


def spread(roots):
    """About SAMPLES of those with a journal, evenly, so that every state of it is among them."""
    interrupted = [root for root in roots if pending(HostPaths(root)) is not None]
    return interrupted[:: max(1, len(interrupted) // SAMPLES)]


def kill_recoveries(bench, samples):
    """Kill the recovery of each sample at each of its changes, recover again, compare; returns how often."""
    traced = bench.points("recover", *(bench.copy(root, f"{root.name}-traced") for root in samples))
    points, goals = {}, {}
    for root, calls in zip(samples, traced, strict=True):
        for number, point in enumerate(calls):
            copy = bench.copy(root, f"{root.name}-{number}")
            points[copy], goals[copy] = point, samples[root]
    bench.kill("recover", points)
    outcomes = bench.drive("recover", *points)
    for (root, point), outcome in zip(points.items(), outcomes, strict=True):
        assert bench.check(root, outcome, point) == goals[root], point
    return len(points)


# --- a disk that is full, a root that is read-only ----------------------------------------------------------


@contextmanager
def mounted(*arguments, at):
    at.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *arguments, at], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


needs_root = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")]


def a_root(folder):
    for path in ("etc/ds01/first.conf", "etc/ds01/second.conf"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("old\n")
    (folder / "var/lib/ds01/deploy").mkdir(parents=True)
    return HostPaths(folder)


def changes(size):
    return [
        Write(PurePosixPath("/etc/ds01/first.conf"), b"new\n", 0o644),
        Remove(PurePosixPath("/etc/ds01/second.conf")),
        Write(PurePosixPath("/etc/ds01/more/third.conf"), b"x" * size, 0o644),
    ]


class TestWithoutSpaceOrPermission:
    pytestmark = needs_root

    def test_a_full_disk_changes_nothing(self, tmp_path):
        with mounted("-t", "tmpfs", "-o", "size=256k", "none", at=tmp_path / "small") as folder:
            paths = a_root(folder)
            before = snapshot(folder)
            with pytest.raises(FilesError) as caught:
                stage(paths, changes(300_000))
            assert caught.value.render() == (
                "/etc/ds01/more/third.conf cannot be written: there is no space left\n"
                "To fix: free some space (df -h, df -i) and try again"
            )
            assert (snapshot(folder), recover(paths)) == (before, None)

    def test_a_disk_without_room_for_the_journal_changes_nothing(self, tmp_path):
        with mounted("-t", "tmpfs", "-o", "size=64k", "none", at=tmp_path / "small") as folder:
            paths = a_root(folder)
            fill(folder)
            before = snapshot(folder)
            with pytest.raises(FilesError, match="there is no space left"):
                stage(paths, changes(1))
            assert snapshot(folder) == before

    @pytest.mark.parametrize("ending", ["finish", "undo", "recover"])
    def test_once_staged_a_disk_may_fill_up(self, tmp_path, ending):
        with mounted("-t", "tmpfs", "-o", "size=256k", "none", at=tmp_path / "small") as folder:
            paths = a_root(folder)
            before = snapshot(folder)
            transaction = stage(paths, changes(10))
            fill(folder)
            if ending != "recover":
                transaction.commit()
            if ending == "finish":
                transaction.finish()
            elif ending == "undo":
                transaction.undo()
            else:
                recover(paths)
            (folder / "filler").unlink()
            after = {path: state[-1] for path, state in snapshot(folder).items() if state[0] != "folder"}
            if ending == "finish":
                assert after == {"/etc/ds01/first.conf": "new\n", "/etc/ds01/more/third.conf": "x" * 10}
            else:
                assert snapshot(folder) == before

    def test_a_read_only_root_changes_nothing(self, tmp_path):
        paths = a_root(tmp_path / "root")
        with mounted("--bind", tmp_path / "root", at=tmp_path / "view") as view:
            subprocess.run(["mount", "-o", "remount,ro,bind", view], check=True)
            before = snapshot(view)
            with pytest.raises(FilesError) as caught:
                stage(HostPaths(view), changes(1))
            assert caught.value.render() == (
                "/var/lib/ds01/deploy/journal.json cannot be written: the file system is read-only\n"
                "To fix: remount it writable (mount -o remount,rw) and try again"
            )
            assert (snapshot(view), recover(paths)) == (before, None)

    def test_one_read_only_folder_changes_nothing_anywhere(self, tmp_path):
        paths = a_root(tmp_path / "root")
        before = snapshot(tmp_path / "root")
        with mounted("-t", "tmpfs", "-o", "ro", "none", at=tmp_path / "root/usr"):
            wanted = [*changes(1), Write(PurePosixPath("/usr/tool"), b"x", 0o755)]
            with pytest.raises(FilesError, match="/usr/tool cannot be written: the file system is read-only"):
                stage(paths, wanted)
        (tmp_path / "root/usr").rmdir()
        assert (snapshot(tmp_path / "root"), recover(paths)) == (before, None)

    def test_a_file_that_is_mounted_over_is_refused(self, tmp_path):
        paths = a_root(tmp_path / "root")
        (tmp_path / "other").write_text("mounted\n")
        target = tmp_path / "root/etc/ds01/first.conf"
        subprocess.run(["mount", "--bind", tmp_path / "other", target], check=True)
        try:
            before = snapshot(tmp_path / "root")
            with pytest.raises(FilesError, match=r"first\.conf cannot be written: something is mounted there"):
                stage(paths, changes(1))
            assert snapshot(tmp_path / "root") == before
        finally:
            subprocess.run(["umount", target], check=True)


def fill(folder):
    """Write until the disk is full."""

    def write_on(out):
        while True:
            out.write(b"x" * 4096)

    with (folder / "filler").open("wb", buffering=0) as out, pytest.raises(OSError, match="No space left"):
        write_on(out)


def test_the_journal_states_are_all_known_here():
    # A new state needs a look at the tests above: they promise to have killed in each.
    assert [state.value for state in State] == ["staging", "applying", "applied", "finishing", "undoing"]
