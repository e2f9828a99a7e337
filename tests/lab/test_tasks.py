"""The lab's tasks at work on a machine, as people type them; then which tests a run of them selects."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.lab.machine.settings import Suite

from ds01.core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

    Inv = Callable[..., subprocess.CompletedProcess[str]]

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Machine]:
    """The machine that the tasks start and end; here only for its name, and to leave nothing behind."""
    machine = lab.prepared("tasks", Suite.TRIXIE)
    try:
        yield machine
    finally:
        machine.down()


@pytest.fixture(scope="module")
def inv(machine: Machine) -> Inv:
    def call(task: str, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        argv = [os.fspath(CHECKOUT / "inv"), task, *words, "--name", machine.name, "--suite", "trixie"]
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)

    return call


@pytest.fixture(scope="module")
def up(machine: Machine, inv: Inv) -> Inv:
    done = inv("lab.up", "--prepared", "--memory", "1G")
    assert (done.returncode, done.stderr) == (ExitCode.DONE, f"lab: {machine.name} is up\n")
    return inv


@pytest.mark.lab
def test_commands_streams_and_exit_codes_pass_through(up: Inv):
    done = up("lab.run", "--cmd", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert up("lab.run", "--cmd", "/srv/ds01/inv plan --check").returncode == ExitCode.CHANGES_PENDING
    assert up("lab.run", "--cmd", "sleep 60", "--timeout", "0.5").returncode == 124
    words = ["--cmd", 'echo "$USER $PWD $A"; cat', "--user", "alice", "--folder", "/srv", "--env", "A=b c", "--stdin"]
    assert up("lab.run", *words, stdin="in\n").stdout == "alice /srv b c\nin\n"


@pytest.mark.lab
def test_the_machine_has_what_was_asked_for_and_the_truth_in_its_host_file(up: Inv):
    hardware = "nproc; awk '/^MemTotal/ { print $2 < 1048576 }' /proc/meminfo"
    assert up("lab.run", "--cmd", hardware).stdout == "1\n1\n"
    said = "grep -E '^(cpus|memory)' /srv/ds01/inventory/hosts/lab.yaml"
    assert up("lab.run", "--cmd", said).stdout == "cpus: 1\nmemory: 1G\n"


@pytest.mark.lab
def test_files_travel_both_ways(up: Inv, tmp_path: Path):
    (tmp_path / "-there").write_text("text\n")
    assert up("lab.push", "--source", f"{tmp_path}/-there", "--target", "/root/-here").returncode == ExitCode.DONE
    assert up("lab.pull", "--source", "/root/-here", "--target", f"{tmp_path}/back").returncode == ExitCode.DONE
    assert (tmp_path / "back").read_text() == "text\n"
    missing = up("lab.pull", "--source", "/no/such", "--target", f"{tmp_path}/none")
    assert (missing.returncode, "No such file" in missing.stderr) == (ExitCode.FAILED, True)


@pytest.mark.lab
def test_power_goes_and_comes_and_the_disk_goes_when_it_should(up: Inv, machine: Machine):
    up("lab.run", "--cmd", "echo kept >/root/mark; sync")
    assert up("lab.up").stderr.startswith(f"lab: the machine {machine.name} runs already\n")
    assert up("lab.cut").stderr == f"lab: {machine.name} has no power\n"
    assert up("lab.run", "--cmd", "true").returncode == 125
    again = up("lab.up", "--prepared")
    assert again.stderr == f"lab: {machine.name} has a disk and boots from it\nlab: {machine.name} is up\n"
    assert up("lab.run", "--cmd", "cat /root/mark").stdout == "kept\n"
    assert up("lab.down", "--keep-disk").returncode == ExitCode.DONE
    assert machine.folder.disk.exists()
    assert up("lab.down").stderr == f"lab: {machine.name} is down\n"
    assert not machine.folder.path.exists()


@pytest.mark.lab
def test_lab_test_runs_the_tests_it_is_given(inv: Inv):
    words = [os.fspath(CHECKOUT / "inv"), "lab.test", "--only", "tests/lab/test_build.py", "--suite", "trixie"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "lab: trixie is built\n")
    assert " passed in " in done.stdout


def collected(*words: str, module: str = "test_power.py") -> set[str]:
    """The names, with their suites, of what pytest would run of a module."""
    argv = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider", *words]
    environment = {name: value for name, value in os.environ.items() if name != "DS01_LAB"}
    done = subprocess.run(
        [*argv, f"tests/lab/{module}"], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
    )
    return {line.partition("::")[2] for line in done.stdout.splitlines() if "::" in line}


def test_lab_tests_run_when_they_are_asked_for_and_in_the_suite_that_is_asked_for():
    in_each = "test_what_was_synced_survives_a_power_cut"
    everything = collected("--lab")
    assert collected() == set()
    assert {f"{in_each}[bookworm]", f"{in_each}[trixie]"} < everything
    assert collected("--lab", "--suite=trixie") == everything - {f"{in_each}[bookworm]"}


def test_a_brief_run_has_each_test_in_one_suite_and_the_machine_itself_in_both():
    assert collected("--lab", "--brief") == collected("--lab")
    in_each = collected("--lab", module="test_services.py")
    brief = collected("--lab", "--brief", module="test_services.py")
    assert brief == {name for name in in_each if "[bookworm" in name}
    assert collected("--lab", "--brief", module="test_engine.py") == set()
    assert in_each == brief | {name.replace("[bookworm", "[trixie") for name in brief}
