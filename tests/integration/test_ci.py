"""The script that CI runs: what it says and what it leaves, however its steps end. Only the steps are pretended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
STRANGER = 12345
INV = """#!/bin/bash
[[ $DS01_TEST_STRICT == 1 ]] || exit 99
name=$1${3:+.$3} # two parts of one task run at once
echo "$name" >>calls
echo $$ >"./$name.new" && mv "./$name.new" "./$name.pid"
if [[ -f $1.sh ]]; then . "./$1.sh"; fi
"""
# What a step waits for that must be ended: inv becomes it, as it becomes Python.
FOR_EVER = "exec sleep 600"

pytestmark = pytest.mark.root


@dataclass(frozen=True)
class Ended:
    """How the script ended; times are left out of what it said."""

    code: int
    words: list[str]


class Checkout:
    """A checkout whose ./inv does what the test says, on a machine with everything installed."""

    def __init__(self, root: Path) -> None:
        self.root = root / "checkout"
        self.tools = root / "tools"
        (self.root / ".ci").mkdir(parents=True)
        self.tools.mkdir()
        shutil.copy(CHECKOUT / ".ci/run", self.root / ".ci/run")
        self.script(self.root / "inv", INV)
        self.script(self.tools / "dpkg-query", "#!/bin/sh\nprintf installed\n")
        self.script(self.tools / "docker", "#!/bin/sh\n")
        self.script(self.tools / "apt-get", "#!/bin/sh\nexit 9\n")

    def script(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def task(self, name: str, script: str) -> None:
        (self.root / f"{name}.sh").write_text(script)

    def start(self) -> subprocess.Popen[str]:
        environment = {"PATH": f"{self.tools}:{os.environ['PATH']}", "TMPDIR": os.fspath(self.tools)}
        return subprocess.Popen(
            [self.root / ".ci/run"],
            cwd="/",
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def end(self, child: subprocess.Popen[str]) -> Ended:
        out = child.communicate(timeout=60)[0]
        untimed = [line for line in out.splitlines() if " took " not in line and " was ready " not in line]
        return Ended(child.returncode, untimed)

    def run(self) -> Ended:
        return self.end(self.start())

    def wait_for(self, task: str) -> None:
        deadline = time.monotonic() + 30
        while not (self.root / f"{task}.pid").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def is_running(self, task: str) -> bool:
        return Path(f"/proc/{(self.root / f'{task}.pid').read_text().strip()}").exists()

    @property
    def calls(self) -> list[str]:
        return (self.root / "calls").read_text().split()

    @property
    def temporary(self) -> list[str]:
        return [path.name for path in self.tools.iterdir() if path.name.startswith("tmp.")]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


HEAD = ["ci: 1 of 3: tools and .venv", "ci: 2 of 3: ./inv check, no skips; meanwhile the lab's machine is built"]
LAB = "ci: 3 of 3: the lab, briefly, no skips"


def after_times(word: str) -> str:
    """A last line without how long it all took."""
    start, _, end = word.partition(" after ")
    return f"{start}: {end.partition(': ')[2]}" if end else start.partition(" in ")[0]


def test_words_come_in_order_though_check_and_build_run_side_by_side(checkout: Checkout) -> None:
    checkout.task("check", "until [[ -e built ]]; do sleep 0.05; done; echo checked")
    checkout.task("lab.build", "echo building >&2; touch built; until [[ -e go ]]; do sleep 0.05; done; echo built >&2")
    checkout.task("lab.test", 'echo "tested $3"')
    child = checkout.start()
    checkout.wait_for("lab.build")
    (checkout.root / "go").touch()
    ended = checkout.end(child)
    assert (ended.code, ended.words[:-1]) == (
        0,
        [*HEAD, "checked", LAB, "building", "built", "tested working", "tested waiting"],
    )
    assert after_times(ended.words[-1]) == "ci: passed"
    assert checkout.calls[0] == "--list"
    assert sorted(checkout.calls[1:3]) == ["check", "lab.build"]
    assert (sorted(checkout.calls[3:]), checkout.temporary) == (["lab.test.waiting", "lab.test.working"], [])


def test_tests_that_wait_begin_as_soon_as_the_machine_is_ready(checkout: Checkout) -> None:
    checkout.task("check", "until [[ -e lab.test.waiting.pid ]]; do sleep 0.05; done; echo checked")
    checkout.task("lab.build", "echo built")
    checkout.task("lab.test", 'echo "tested $3"')
    ended = checkout.run()
    assert (ended.code, ended.words[:-1]) == (0, [*HEAD, "checked", LAB, "built", "tested working", "tested waiting"])
    assert (checkout.calls[3:], checkout.temporary) == (["lab.test.waiting", "lab.test.working"], [])


def test_failed_check_ends_the_tests_that_wait(checkout: Checkout) -> None:
    checkout.task("check", "until [[ -e lab.test.waiting.pid ]]; do sleep 0.05; done; exit 3")
    checkout.task("lab.test", FOR_EVER)
    ended = checkout.run()
    assert (ended.code, after_times(ended.words[-1])) == (1, "ci: FAILED: ./inv check exited with 3")
    assert (checkout.is_running("lab.test.waiting"), checkout.temporary) == (False, [])


def test_how_long_each_part_took_is_said(checkout: Checkout) -> None:
    out = checkout.start().communicate(timeout=60)[0]
    begins = [line.partition(" took ")[0] for line in out.splitlines() if line.endswith(" s") and " took " in line]
    parts = [f"ci: ./inv lab.test --part {part}" for part in ("working", "waiting")]
    assert begins == ["ci: tools and .venv", "ci: ./inv check", *parts]
    assert "ci: the lab's machine was ready 0 min " in out


def test_failed_check_fails_and_ends_the_build(checkout: Checkout) -> None:
    checkout.task("lab.build", FOR_EVER)
    checkout.task("check", "until [[ -e lab.build.pid ]]; do sleep 0.05; done; echo red; exit 3")
    ended = checkout.run()
    assert (ended.code, ended.words[:-1]) == (1, [*HEAD, "red"])
    assert after_times(ended.words[-1]) == "ci: FAILED: ./inv check exited with 3"
    assert (checkout.is_running("lab.build"), checkout.temporary) == (False, [])


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("lab: the kernel cannot be built\nlines\nCause: no space left", "no space left"),
        ("lab: kernel: compiling ...\nlab: it takes root\nTo fix: be root", "it takes root"),
        ("Killed", "Killed"),
    ],
)
def test_machine_that_cannot_be_built_fails_loudly_with_its_cause(checkout: Checkout, said: str, cause: str) -> None:
    checkout.task("lab.build", f"printf '%s\\n' '{said}' >&2; exit 1")
    ended = checkout.run()
    assert (ended.code, ended.words[:-2]) == (1, [*HEAD, LAB, *said.splitlines()])
    assert ended.words[-2].startswith("ci: THE LAB'S MACHINE CANNOT BE BUILT, so its tests did not run.")
    assert after_times(ended.words[-1]) == f"ci: FAILED: the lab's machine cannot be built: {cause}"
    assert not [each for each in checkout.calls if each.startswith("lab.test")]


@pytest.mark.parametrize("part", ["working", "waiting"])
def test_failed_lab_test_fails_and_both_parts_are_shown(checkout: Checkout, part: str) -> None:
    checkout.task("lab.test", f'echo "$3"; [[ $3 != {part} ]] || exit 1')
    ended = checkout.run()
    assert (ended.code, ended.words[:-1]) == (1, [*HEAD, LAB, "working", "waiting"])
    assert after_times(ended.words[-1]) == f"ci: FAILED: ./inv lab.test --part {part} exited with 1"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("during", ["check", "lab.test"])
def test_interrupted_it_leaves_nothing_running(
    checkout: Checkout, during: str, number: signal.Signals, code: int
) -> None:
    running = ["check", "lab.build"] if during == "check" else ["lab.test.working", "lab.test.waiting"]
    for task in running:
        checkout.task(task.removesuffix(".working").removesuffix(".waiting"), FOR_EVER)
    child = checkout.start()
    for task in running:
        checkout.wait_for(task)
    child.send_signal(number)
    assert checkout.end(child).code == code
    assert ([task for task in running if checkout.is_running(task)], checkout.temporary) == ([], [])


def test_steps_can_be_interrupted_as_in_a_terminal(checkout: Checkout) -> None:
    """A plain background job would ignore SIGINT, and so would every program that a test starts."""
    checkout.task("check", "trap 'exit 7' INT; kill -INT $$; exit 1")
    assert after_times(checkout.run().words[-1]) == "ci: FAILED: ./inv check exited with 7"


def test_checkout_of_somebody_else_is_refused(checkout: Checkout) -> None:
    os.chown(checkout.root, STRANGER, STRANGER)
    ended = checkout.run()
    assert (ended.code, len(ended.words)) == (1, 1)
    assert "is not root's" in ended.words[0]


def test_machine_without_the_tools_says_which_it_wanted(checkout: Checkout) -> None:
    checkout.script(checkout.tools / "dpkg-query", "#!/bin/sh\ncase $* in *shfmt) ;; *) printf installed ;; esac\n")
    ended = checkout.run()
    assert (ended.code, ended.words[:-1]) == (1, [HEAD[0], "ci: installing shfmt"])
    assert after_times(ended.words[-1]) == "ci: FAILED: apt-get update failed: are the mirrors reachable?"
