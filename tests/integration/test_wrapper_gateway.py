"""The docker command on a host with a gateway: who asks for a GPU is shown the line, and nothing else is decided."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from ds01.core.errors import BadInputError
from ds01.runtime.client.arguments import parse
from ds01.runtime.client.tables import load
from ds01.runtime.wrapper.options import read_request

TESTS = Path(__file__).parents[1]
RENDERED = TESTS / "golden/lab/expected/root/usr/local/bin/docker"
LINES = yaml.safe_load((TESTS / "data/client/run_lines.yaml").read_text(encoding="utf-8"))
TABLE = load("28.2")
ASKS = (
    "--gpus all",
    "--gpus=1",
    "--gpus '\"device=0,1\"'",
    "--runtime nvidia",
    "--runtime=nvidia-experimental",
    "-e NVIDIA_VISIBLE_DEVICES=all",
    "-eNVIDIA_VISIBLE_DEVICES=0",
    "--env=NVIDIA_VISIBLE_DEVICES=GPU-1",
    "-ite NVIDIA_VISIBLE_DEVICES",
    "--device nvidia.com/gpu=all",
    "--device=nvidia.com/gpu=0:1",
)


class Command:
    """The command with a client and a waiter that only say that they were called."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        text = RENDERED.read_text()
        for name, path in (
            ("client", "/usr/bin/docker"),
            ("waiter", "/opt/ds01/current/bin/ds01-gpu-line"),
            ("engine", "/run/docker.sock"),
        ):
            assert text.count(path) == 1
            text = text.replace(path, os.fspath(folder / name))
        self._put("docker", text)
        self._put("client", "#!/bin/sh\nprintf 'client %s\\n' \"$*\"\n")
        self.waiter(0)

    def _put(self, name: str, text: str) -> None:
        (self._folder / name).write_text(text)
        (self._folder / name).chmod(0o755)

    def waiter(self, code: int) -> None:
        self._put("waiter", f'#!/bin/sh\nprintf "waiter %s\\n" "$*"\nexit {code}\n')

    def without_waiter(self) -> None:
        (self._folder / "waiter").unlink()

    def __call__(self, *words: str, **environment: str) -> tuple[int, str]:
        env = {"PATH": os.environ["PATH"], "HOME": os.fspath(self._folder), **environment}
        argv = [os.fspath(self._folder / "docker"), *words]
        done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=60)
        assert done.stderr == ""
        return done.returncode, done.stdout


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def asks_for_gpu(words: list[str]) -> bool:
    """Whether DS01 reads a line as one that asks for a GPU."""
    try:
        parsed = parse(words, TABLE)
        return parsed.topic in {"run", "create"} and read_request(parsed, "all").gpu is not None
    except BadInputError:
        return False


@pytest.mark.parametrize("verb", ["run", "create", "container run", "-D --log-level debug container create", "-- run"])
@pytest.mark.parametrize("ask", ASKS)
def test_every_way_of_asking_for_a_gpu_shows_the_line(command: Command, verb: str, ask: str) -> None:
    words = shlex.split(f"{verb} {ask} busybox true")
    assert asks_for_gpu(words)
    line = " ".join(words)
    assert command(*words) == (0, f"waiter {line}\nclient {line}\n")


def test_no_line_that_asks_for_a_gpu_goes_past_the_waiter(command: Command) -> None:
    lines = [shlex.split(text) for text in (*LINES["options"], *LINES["lines"])]
    asking = [words for words in lines if asks_for_gpu(words)]
    assert len(asking) >= 10
    assert [words for words in asking if not command(*words)[1].startswith("waiter ")] == []


@pytest.mark.parametrize(
    "line",
    [
        "run busybox true",
        "exec c run --gpus all",
        "exec -e NVIDIA_VISIBLE_DEVICES=all c create",
        "compose run --gpus all web",
        "logs nvidia run",
        "volume create nvidia",
        "image ls run nvidia",
        "-H tcp://127.0.0.1:9 run --gpus all busybox",
        "-DH ssh://far run --gpus all busybox",
        "--help",
        "",
    ],
)
def test_nobody_else_waits(command: Command, line: str) -> None:
    assert command(*line.split()) == (0, f"client {line}\n")


def test_who_leaves_the_line_starts_nothing(command: Command) -> None:
    command.waiter(130)
    assert command("run", "--gpus=1", "busybox") == (130, "waiter run --gpus=1 busybox\n")
    command.without_waiter()
    assert command("run", "--gpus=1", "busybox") == (0, "client run --gpus=1 busybox\n")
