"""How the lab is built: a failure names its cause, nothing half done is taken for whole. Needs no machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.lab.machine import image, kernel, prepared
from tests.lab.machine.artefact import Artefact, one_build, recipe_hash
from tests.lab.machine.clean import remove_outdated
from tests.lab.machine.cow import backing_image
from tests.lab.machine.errors import LabError
from tests.lab.machine.jobs import Command
from tests.lab.machine.processes import members
from tests.lab.machine.settings import Cache, Folder, Hardware, Share, Suite
from tests.lab.machine.steps import Steps, child, duration

from ds01.core.errors import BadInputError

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def test_a_failed_step_names_cause_and_log(cache: Cache, capsys: pytest.CaptureFixture[str]):
    steps = Steps.begin("kernel", cache.log("kernel"))
    script = "echo a.c:1: error: no such thing; for i in 1 2 3; do echo chatter $i; done; exit 2"
    with pytest.raises(LabError) as caught:
        steps.run("compiling", ["sh", "-c", script])
    words = caught.value.render().splitlines()
    assert words[0] == "the lab's kernel cannot be built: compiling failed, sh ended with 2"
    assert words[-4:] == [
        "    chatter 2",
        "    chatter 3",
        f"The whole log is {cache.log('kernel')}.",
        "Cause: a.c:1: error: no such thing",
    ]
    assert capsys.readouterr().err == "lab: kernel: compiling ...\n"


def test_a_missing_tool_is_named(cache: Cache):
    with pytest.raises(LabError, match="no-such-tool is not there"):
        Steps.begin("image", cache.log("image")).run("making", ["no-such-tool"])


def test_an_interrupted_step_leaves_no_process(cache: Cache, tmp_path: Path):
    program = """
import signal
from pathlib import Path
from tests.lab.machine.steps import Steps
signal.signal(signal.SIGTERM, signal.default_int_handler)
script = "echo $$ >pid.new; mv pid.new pid; sleep 600; true"
Steps.begin("kernel", Path("log")).run("waiting", ["sh", "-c", script])
"""
    environment = os.environ | {"PYTHONPATH": os.fspath(CHECKOUT)}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as build:
        while not (tmp_path / "pid").exists():
            assert build.poll() is None
            time.sleep(0.02)
        build.terminate()
    deadline = time.monotonic() + 10
    while any(members(int((tmp_path / "pid").read_text()))):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_step_interrupted_while_it_looks_after_its_program_leaves_no_process_either():
    processes = []

    def interrupted() -> None:
        with child(["sh", "-c", "sleep 600; true"], None, subprocess.DEVNULL) as process:
            processes.append(process)
            # Where an interrupt comes right after Popen.wait() took this lock, nobody lets go of it.
            assert process._waitpid_lock.acquire(blocking=False)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert processes[0].returncode == -signal.SIGTERM
    assert not any(members(processes[0].pid))


def test_an_unfinished_artefact_is_not_there_and_its_workshop_goes(cache: Cache):
    artefact = Artefact("thing", cache.folder / "thing-1", build_bytes=1)

    def interrupted() -> None:
        with artefact.workshop(cache) as work:
            (work / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not artefact.ready
    assert not cache.work("thing").exists()
    with artefact.workshop(cache) as work:
        (work / "whole").write_text("whole")
        artefact.publish(work / "whole", mode=0o444)
    assert artefact.path.read_text() == "whole"


def test_too_little_disk_is_said_before_anything_is_built(cache: Cache):
    with (
        pytest.raises(LabError, match="too little space"),
        Artefact("thing", cache.folder / "thing-1", build_bytes=1 << 62).workshop(cache),
    ):
        pytest.fail("it went on")


def test_one_build_at_a_time(cache: Cache, capsys: pytest.CaptureFixture[str]):
    order: list[str] = []

    def second() -> None:
        with one_build(cache):
            order.append("second")

    thread = threading.Thread(target=second)
    with one_build(cache):
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert "another build holds" in capsys.readouterr().err


def test_another_recipe_is_another_file(cache: Cache, monkeypatch: pytest.MonkeyPatch):
    before = {suite: image.image_artefact(cache, suite).path for suite in Suite}
    assert len(set(before.values())) == len(Suite)
    assert image.image_artefact(cache, Suite.TRIXIE).path == before[Suite.TRIXIE]
    monkeypatch.setattr(image, "TRIXIE_PACKAGES", (*image.TRIXIE_PACKAGES, "jq"))
    assert image.image_artefact(cache, Suite.TRIXIE).path != before[Suite.TRIXIE]
    assert image.image_artefact(cache, Suite.BOOKWORM).path == before[Suite.BOOKWORM]
    assert recipe_hash("a", "bc") != recipe_hash("ab", "c")


def test_a_ready_kernel_is_taken_only_with_every_option_asked_for():
    everything = dict(kernel._options(kernel.OPTIONS_FILE.read_text()))
    assert kernel.missing_options(everything, everything=True) == ()
    less = everything | {"CONFIG_TUN": "n", "CONFIG_MODULES": "y"}
    assert kernel.missing_options(less, everything=True) == ("CONFIG_MODULES", "CONFIG_TUN")
    assert kernel.missing_options(less, everything=False) == ()
    assert kernel.missing_options({}, everything=False) == tuple(sorted(kernel.MUST_SURVIVE))


def test_a_disk_tells_its_image(tmp_path: Path):
    disk = tmp_path / "disk.cow"
    disk.write_bytes(b"OOOM\0\0\0\x03" + bytes(24) + b"/cache/image-1.ext4" + bytes(5000))
    assert backing_image(disk) == Path("/cache/image-1.ext4")
    disk.write_bytes(bytes(9000))
    assert backing_image(disk) is None


def test_only_outdated_files_of_the_lab_that_no_disk_needs_are_removed(cache: Cache):
    needed = cache.folder / f"image-bookworm-{'a' * 12}.ext4"
    outdated = ("kernel-{}", "prepared-trixie-{}.ext4", "root-trixie-{}.tar", "wheels-{}.tar")
    old = [cache.folder / name.format("b" * 12) for name in outdated]
    others = [cache.folder / name for name in ("image-bookworm.ext4", "notes", "kernel-of-mine")]
    current = [image.image_artefact(cache, Suite.TRIXIE).path, prepared.prepared_artefact(cache, Suite.TRIXIE).path]
    current.append(prepared.wheels_artefact(cache).path)
    for path in (needed, *old, *others, *current):
        path.write_text("")
    disk = Folder.of(cache, "kept").disk
    disk.parent.mkdir(parents=True)
    disk.write_bytes(b"OOOM\0\0\0\x03" + bytes(24) + os.fsencode(needed) + bytes(5000))
    assert remove_outdated(cache) == tuple(old)
    assert all(path.exists() for path in (needed, *others, *current))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Hardware(memory="2"),
        lambda: Hardware(memory="0G"),
        lambda: Hardware(cpus=9),
        lambda: Share.parse("/only-one"),
        lambda: Share.parse("/a:/b:rx"),
        lambda: Folder.of(Cache(), "../x"),
        lambda: Folder.of(Cache(Path("/" + "x" * 90)), "x"),
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(BadInputError):
        wrong()


def test_a_users_command_is_quoted_once():
    command = Command(["echo", "a b", "$HOME"], user="alice", folder="/a dir", environment={"N": "x y"})
    assert command.job() == {
        "argv": ["su", "-", "alice", "-c", "cd '/a dir' && exec env 'N=x y' echo 'a b' '$HOME'"],
        "cwd": None,
        "env": {},
        "timeout_seconds": None,
    }


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (754, "12 min 34 s")])
def test_durations_read_as_people_say_them(seconds: float, words: str):
    assert duration(seconds) == words
