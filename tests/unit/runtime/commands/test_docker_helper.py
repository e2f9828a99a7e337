"""The helper as a whole process: it takes no arguments, believes no garbage, and always says what becomes of a line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.fake_nvml.samples import shipped_host
from tests.unit.runtime.gpu.engines import engine_with, inspected
from tests.unit.runtime.wrapper.desks import events, make_paths

import ds01
from ds01.core.paths import HostPaths
from ds01.runtime.gpu.record import parse_ledger

if TYPE_CHECKING:
    from tests.fake_nvml.fixture import FakeNvml

SCRIPTS = Path(ds01.__file__).parents[1]
PROGRAM = """
import sys; sys.path.insert(0, {scripts!r})
from pathlib import Path
from ds01.runtime.commands.docker_helper import main
sys.exit(main(Path({root!r})))
"""


def ask(paths: HostPaths, data: bytes, *words: str) -> tuple[int, bytes, str]:
    code = PROGRAM.format(scripts=os.fspath(SCRIPTS), root=os.fspath(paths.root))
    environment = {"SUDO_UID": "5", "PATH": os.defpath}
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *words], input=data, capture_output=True, check=False, env=environment,
        timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr.decode()


def request(*words: str) -> bytes:
    fields = ("1", str(os.getpid()), "C.UTF-8", "", "", "", *words)
    return b"".join(os.fsencode(field) + b"\0" for field in fields)


@pytest.fixture
def paths(tmp_path: Path) -> HostPaths:
    paths = make_paths(tmp_path)
    paths.docker_client.parent.mkdir(parents=True)
    paths.docker_client.write_text("#!/bin/sh\necho 'Docker version 28.2.2, build abc'\n")
    paths.docker_client.chmod(0o755)
    return paths


def test_it_explains_itself_and_takes_no_arguments(paths: HostPaths):
    assert ask(paths, b"", "--help")[:1] == (0,)
    code, said, words = ask(paths, request("ps"), "run")
    assert (code, said) == (2, b"")
    assert "takes no arguments" in words


@pytest.mark.parametrize("data", [b"", b"\0\0", b"x" * 100_000, os.urandom(4096)])
def test_garbage_is_refused_without_an_answer(paths: HostPaths, data: bytes):
    code, said, words = ask(paths, data)
    assert (code, said) == (2, b"")
    assert words.startswith("docker: ")
    assert "Traceback" not in words


def test_a_line_may_run_with_what_was_added(paths: HostPaths):
    with engine_with(paths.engine):
        code, said, words = ask(paths, request("create", "alpine", "true"))
    assert (code, words) == (0, "")
    fields = said.split(b"\0")
    assert fields[:2] == [b"run", b"create"]
    assert b"--label=ds01.user=games" in fields
    assert fields[-3:] == [b"alpine", b"true", b""]


def test_a_refusal_is_the_code_that_ends_the_command(paths: HostPaths):
    with engine_with(paths.engine, inspected("web", labels={"ds01.user": "bob"})):
        for line, code in ((("run", "-m", "1000g", "x"), b"125"), (("create", "-m", "1000g", "x"), b"1")):
            assert ask(paths, request(*line))[:2] == (0, b"refuse\0" + code + b"\0")
        assert ask(paths, request("stop", "web")) == (
            0, b"refuse\x001\x00", "Permission denied: container owned by bob (web)\n"
        )  # fmt: skip
        code, said, words = ask(paths, request("run", "--no-such", "x"))
    assert (code, said) == (0, b"refuse\x00125\x00")
    assert "--no-such" in words
    assert "28.2" in words


def test_a_way_to_a_gpu_that_is_not_given_is_counted_and_logged_like_any_refusal(paths: HostPaths):
    refused = (
        ("--device=/dev/nvidia0", "the device '/dev/nvidia0' is not given to containers"),
        ("--annotation=cdi.k8s.io/x=nvidia.com/gpu=0", "the annotation 'cdi.k8s.io/x' is not given to containers"),
    )
    with engine_with(paths.engine):
        for option, text in refused:
            code, said, words = ask(paths, request("run", option, "alpine"))
            assert (code, said) == (0, b"refuse\x00125\x00")
            assert words.startswith(f"docker: {text}\nTo fix: use --gpus 1")
        assert [(each["event_type"], each["user"], each["details"]) for each in events(paths)] == [
            ("admission.refused", "games", {"rule": "gpu", "verb": "run", "text": text}) for _, text in refused
        ]
        told = [ask(paths, request("create", refused[0][0], "alpine"))[2] for _ in range(10)]
    assert [each.startswith("docker: ") for each in told] == [True] * 8 + [False] * 2
    assert told[-1] == (f"ds01: create refused: {refused[0][1]} (refusal 12 within an hour; check-limits says more)\n")
    assert len(events(paths)) == 11
    assert events(paths)[-1]["details"] == {"text": "more refusals of this hour are only counted"}


def test_a_slice_that_an_administrator_may_not_name_is_logged_too(paths: HostPaths):
    document = json.loads(paths.policy.read_text())
    document["access_control"]["admin_users"] = ["games"]
    paths.policy.write_text(json.dumps(document))
    with engine_with(paths.engine):
        code, said, words = ask(paths, request("create", "--cgroup-parent=system.slice", "alpine"))
    text = "the policy lists no slice 'system.slice' for containers of administrators"
    assert (code, said, words.split("\n")[0]) == (0, b"refuse\x001\x00", f"docker: {text}")
    assert [each["details"] for each in events(paths)] == [{"rule": "limits", "verb": "create", "text": text}]


def test_help_and_other_verbs_are_the_clients(paths: HostPaths):
    for line in (("run", "--help"), ("images",), ("compose", "up")):
        assert ask(paths, request(*line)) == (0, b"run\0" + b"".join(w.encode() + b"\0" for w in line), "")


def test_without_a_policy_it_lets_through_and_logs(paths: HostPaths):
    paths.policy.unlink()
    with engine_with(paths.engine):
        assert ask(paths, request("create", "x")) == (0, b"run\0create\0x\0", "")
        assert ask(paths, request("create", "--gpus=1", "x"))[:2] == (0, b"refuse\x001\x00")
    assert [each["event_type"] for each in events(paths)] == ["admission.fail_open"]
    assert events(paths)[0]["user"] == "games"


def test_whoever_is_gone_gets_nothing(paths: HostPaths):
    """The docker command has closed its end: no traceback, and an exit code that says so."""
    code = PROGRAM.format(scripts=os.fspath(SCRIPTS), root=os.fspath(paths.root))
    reading, writing = os.pipe()
    os.close(reading)
    with engine_with(paths.engine):
        done = subprocess.run(
            [sys.executable, "-I", "-c", code], input=request("images"), stdout=writing, stderr=subprocess.PIPE,
            check=False, env={"SUDO_UID": "5"}, timeout=60,
        )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


# --- With a GPU -------------------------------------------------------------------------------------------------------


@pytest.fixture
def gpus(paths: HostPaths, fake_nvml: FakeNvml) -> FakeNvml:
    fake_nvml.write(shipped_host())
    for path in (paths.gpu_state, paths.gpu_topology):
        path.parent.mkdir(parents=True, exist_ok=True)
    return fake_nvml


def held(paths: HostPaths) -> set[str]:
    return set(parse_ledger(paths.gpu_state.read_bytes()).allocations) if paths.gpu_state.exists() else set()


def start(paths: HostPaths, gpus: FakeNvml, answer: int) -> subprocess.Popen[bytes]:
    """Ask for a container with a GPU, for this process, which goes on."""
    code = PROGRAM.format(scripts=os.fspath(SCRIPTS), root=os.fspath(paths.root))
    environment = {"SUDO_UID": "5", "PATH": os.defpath, **gpus.environment}
    helper = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=answer, stderr=subprocess.PIPE, env=environment
    )
    assert helper.stdin is not None
    helper.stdin.write(request("create", "--gpus=1", "--name=train", "x"))
    helper.stdin.close()
    helper.stdin = None
    return helper


def test_a_gpu_is_handed_out_with_the_line_that_uses_it(paths: HostPaths, gpus: FakeNvml):
    with engine_with(paths.engine), start(paths, gpus, subprocess.PIPE) as helper:
        said, words = helper.communicate(timeout=60)
    assert (said.split(b"\0")[:2], words, held(paths)) == ([b"run", b"create"], b"", {"train"})


def test_whoever_is_gone_gets_no_gpu(paths: HostPaths, gpus: FakeNvml):
    """The docker command was killed while its GPU was looked for."""
    reading, writing = os.pipe()
    with engine_with(paths.engine), start(paths, gpus, writing) as helper:
        os.close(writing)
        os.close(reading)
        assert (helper.wait(60), helper.stderr and helper.stderr.read()) == (1, b"")
    assert held(paths) == set()
    assert [each["event_type"] for each in events(paths)] == ["gpu.allocated", "gpu.released"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, b"130"), (signal.SIGTERM, b"143"), (signal.SIGHUP, b"129")]
)
def test_who_ends_the_helper_just_when_a_gpu_is_granted_has_it_or_leaves_no_trace(
    paths: HostPaths, gpus: FakeNvml, number: signal.Signals, code: bytes
):
    with engine_with(paths.engine), start(paths, gpus, subprocess.PIPE) as helper:
        deadline = time.monotonic() + 60
        while not held(paths) and helper.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        helper.send_signal(number)
        said, words = helper.communicate(timeout=60)
    assert b"Traceback" not in words
    granted = said.startswith(b"run\0")
    assert granted or said == b"refuse\0" + code + b"\0"
    assert held(paths) == ({"train"} if granted else set())
