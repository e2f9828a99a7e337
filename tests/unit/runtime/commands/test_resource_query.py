"""`ds01-resource-query`: the whole as JSON, or single values for scripts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.runtime.overview.hosts import FIRST, allocation, make_host, put_gpus, put_rates

from ds01.core.paths import HostPaths
from ds01.runtime.commands import check_limits
from ds01.runtime.commands.resource_query import find, main
from ds01.runtime.machine import Machine

LAUNCHER = Path(__file__).resolve().parents[4] / "scripts/ds01-resource-query.py"
GIB = 2**30
Ask = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.root


@pytest.fixture
def host(tmp_path: Path) -> HostPaths:
    paths = make_host(tmp_path)
    put_rates(paths, at=Machine().now())
    put_gpus(paths, allocation("train", "0:0"))
    return paths


@pytest.fixture
def ask(host: HostPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    monkeypatch.delenv("SUDO_UID", raising=False)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["--root", str(host.root), *words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


def test_the_whole_is_what_check_limits_prints(ask: Ask, host: HostPaths, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ask("alice")
    assert (code, err) == (0, "")
    assert check_limits.main(["--root", str(host.root), "alice", "--json"]) == 0
    assert capsys.readouterr().out == out
    assert ask("alice", "--json")[1] == out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("memory.used", f"{32 * GIB}"),
        ("memory.used_bytes", f"{32 * GIB}"),
        ("pressure.memory_full", "8.25"),
        ("memory.limit", f"{96 * GIB}"),
        ("memory.origin", "group:student"),
        ("cpu.used", "412.5"),
        ("cpu.limit_percent", "9600"),
        ("tasks.used", "74"),
        ("gpus.used", "1"),
        ("gpus.holdings.0.slots.0", "0:0"),
        ("gpus.holdings.0.held_until", "none"),
        ("containers.running.1.id", FIRST),
        ("containers.running.1.memory_limit", f"{32 * GIB}"),
        ("containers.running.2.memory_limit", "unlimited"),
        ("limits.memory.value", f"{32 * GIB}"),
        ("limits.aggregate.memory_max.value", f"{96 * GIB}"),
        ("limits.aggregate.io_weight.value", "unlimited"),
        ("limits.allow_full_gpu.value", "false"),
        ("listed", "true"),
        ("group", "student"),
        ("differing", "[]"),
    ],
)
def test_a_value_is_one_line(ask: Ask, name: str, text: str) -> None:
    assert ask("alice", name) == (0, f"{text}\n", "")


def test_several_values_are_a_line_each_in_their_order(ask: Ask) -> None:
    assert ask("alice", "tasks.limit", "group", "tasks.used") == (0, "12288\nstudent\n74\n", "")
    assert ask("--value", "account", "--value", "group") == (0, "root\nstudent\n", "")


def test_what_cannot_be_told_is_unknown_and_a_failure(ask: Ask, host: HostPaths) -> None:
    host.rates.unlink()
    why = f"there is no {host.rates}; systemctl status ds01-sampler says why nobody writes it"
    assert ask("alice", "cpu.used", "cpu.limit") == (
        1,
        "unknown\n9600\n",
        f"error: cpu.used cannot be told: {why}\n",
    )
    assert ask("alice", "containers.running.0.cpu_percent")[:2] == (1, "unknown\n")
    (host.cgroup / "cgroup.controllers").unlink()
    assert ask("alice", "containers.running")[:2] == (1, "unknown\n")


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("memry", "there are: version, account, group,"),
        ("", "there are: version, account, group,"),
        ("memory.", "there are below memory: used_bytes,"),
        ("memory.use", "there are below memory: used_bytes,"),
        ("memory.used.x", "nothing is below memory.used_bytes"),
        ("gpus.holdings.1", "there are 1 entries below gpus.holdings"),
        ("gpus.holdings.-1", "there are 1 entries below gpus.holdings"),
        ("gpus.holdings.x", "there are 1 entries below gpus.holdings"),
    ],
)
def test_a_value_that_is_none_is_bad_input_with_those_there_are(ask: Ask, name: str, fix: str) -> None:
    code, out, err = ask("alice", name)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: there is no value {name!r}\nTo fix: {fix}")


def test_everything_and_a_single_value_cannot_both_be_asked_for(ask: Ask) -> None:
    assert ask("alice", "group", "--json")[:2] == (2, "")


def test_every_value_of_the_object_is_found_by_its_name(ask: Ask) -> None:
    document = json.loads(ask("alice")[1])

    def names(value: object, path: str) -> list[tuple[str, object]]:
        below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [(path, value), *(each for key, found in below for each in names(found, f"{path}.{key}"))]

    for key, value in document.items():
        for name, expected in names(value, key):
            assert find(document, name) == (name, expected)


def test_others_are_refused_as_check_limits_refuses(
    host: HostPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "65534")
    assert main(["--root", str(host.root), "alice", "group"]) == 4
    shown = capsys.readouterr()
    assert (shown.out, shown.err.split("\n")[0]) == ("", "error: what alice uses is not shown to nobody")


@pytest.mark.root
def test_a_slip_in_a_name_is_bad_input(
    host: HostPaths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert main(["--root", str(host.root), "alcie", "memory.used"]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.split("\n")[0]) == ("", "error: there is no account 'alcie'")


def test_the_name_that_scripts_know_starts_it(host: HostPaths) -> None:
    argv = [sys.executable, LAUNCHER, "--root", host.root, "alice", "tasks.used"]
    environment = {name: value for name, value in os.environ.items() if name != "SUDO_UID"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "74\n", "")
