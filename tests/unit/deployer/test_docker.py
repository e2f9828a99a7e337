"""What real Docker clients print (tests/data/docker), read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ds01.core.process import Completed
from ds01.deployer.docker import Engine, RunningContainer, ask_engine, running_containers

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = Path(__file__).parents[2] / "data" / "docker"
DOWN = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


class Client:
    """Answers each sub-command of docker with a code and two texts."""

    def __init__(self, **answers: tuple[int, str, str]) -> None:
        self.answers = answers

    def __call__(self, argv: Sequence[str], **_: object) -> Completed:
        assert argv[0] == "docker"
        return Completed(tuple(argv), *self.answers[argv[1]])


def test_an_engine_says_what_it_is() -> None:
    engine = ask_engine(Client(info=(0, (DATA / "info-20.10.json").read_text(), "")))
    assert (engine.error, engine.missing, engine.version, engine.live_restore) == (None, False, "20.10.24+dfsg1", False)
    assert engine.info["CgroupDriver"] == "cgroupfs"


@pytest.mark.parametrize(
    ("answer", "engine"),
    [
        ((0, (DATA / "info-no-daemon-20.10.json").read_text(), ""), Engine({}, DOWN)),
        ((1, (DATA / "info-no-daemon-28.2.json").read_text(), DOWN), Engine({}, DOWN)),
        ((127, "", "docker is not installed"), Engine({}, "the docker client is not installed", missing=True)),
        ((124, "", "docker gave no answer within 10 s"), Engine({}, "docker gave no answer within 10 s")),
        ((1, "not json", "permission denied"), Engine({}, "permission denied")),
        ((0, "[]", ""), Engine({}, "[]")),
    ],
)
def test_no_answer_says_why(answer: tuple[int, str, str], engine: Engine) -> None:
    assert ask_engine(Client(info=answer)) == engine


def test_live_restore_is_only_what_the_engine_calls_so() -> None:
    assert Engine({"LiveRestoreEnabled": True}).live_restore
    assert not Engine({"LiveRestoreEnabled": "true"}).live_restore


def test_running_containers_are_named_with_who_has_a_gpu() -> None:
    # One of the containers ended between the two questions, so inspect exits with 1 and shows the others.
    client = Client(
        ps=(0, (DATA / "ps.txt").read_text(), ""),
        inspect=(1, (DATA / "inspect.txt").read_text(), "Error: No such object: e114c734684950"),
    )
    assert running_containers(client) == (
        RunningContainer("g2", has_gpu=True),
        RunningContainer("gpus", has_gpu=True),
        RunningContainer("my-project._.alice", has_gpu=False),
        RunningContainer("old-style", has_gpu=True),
        RunningContainer("plain", has_gpu=False),
    )


def test_no_containers_is_another_answer_than_no_answer() -> None:
    assert running_containers(Client(ps=(0, "", ""))) == ()
    assert running_containers(Client(ps=(1, "", DOWN))) is None
    assert running_containers(Client(ps=(127, "", "docker is not installed"))) is None
