"""What real Docker clients print (tests/data/docker), read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ds01.core.process import Completed
from ds01.deployer.containers import RunningContainer
from ds01.deployer.docker import Engine, ask_engine, running_containers

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
    alice = "/ds01.slice/ds01-student.slice/ds01-student-alice.slice"
    assert running_containers(client, DATA / "proc") == (
        RunningContainer("g2", has_gpu=True),
        RunningContainer("gpus", has_gpu=True, labels={"ds01.user": "alice", "ds01.allocation": "7f3a"}),
        RunningContainer(
            "my-project._.alice",
            has_gpu=False,
            cgroup=f"{alice}/docker-a575393b71a30e3c5ce1d804a4081c2fb4e8ed1f1254d81bdd72defb694d054d.scope",
            labels={"ds01.user": "alice", "note": "a\tb"},
        ),
        RunningContainer("old-style", has_gpu=True, labels={"aime.mlc.USER": "bob"}),
        RunningContainer(
            "plain",
            has_gpu=False,
            cgroup="/system.slice/docker-4b51202b1fd8d7e7070ecd5571d16a7333b0782f6a0a76a8c22143268b65b07b.scope",
        ),
        RunningContainer("void", has_gpu=False),
        RunningContainer("web", has_gpu=False),
    )


@pytest.mark.parametrize(
    ("runtime", "environment", "has_gpu"),
    [
        ("nvidia", '["PATH=/bin","NVIDIA_VISIBLE_DEVICES=0,1"]', True),
        ("nvidia", '["CUDA_VERSION=11.8"]', True),  # an image from before the variable
        ("nvidia", '["CUDA_VERSION=11.8","NVIDIA_VISIBLE_DEVICES="]', False),
        ("nvidia", '["NVIDIA_VISIBLE_DEVICES=none"]', False),
        ("nvidia", "[]", False),
        ("runc", '["NVIDIA_VISIBLE_DEVICES=all"]', False),
    ],
)
def test_the_nvidia_runtime_gives_gpus_to_those_that_ask(
    tmp_path: Path, runtime: str, environment: str, *, has_gpu: bool
) -> None:
    client = Client(ps=(0, "id\n", ""), inspect=(0, f'/a\tnull\t{runtime}\t{environment}\t0\t""\tnull\n', ""))
    assert running_containers(client, tmp_path) == (RunningContainer("a", has_gpu=has_gpu),)


@pytest.mark.parametrize(
    ("kernel", "parent", "cgroup"),
    [
        ("0::/system.slice/docker-1.scope\n", "ds01-a-b.slice", "/system.slice/docker-1.scope"),
        ("12:cpu:/docker/1\n0::/docker/1\n", "", "/docker/1"),
        ("12:cpu:/docker/1\n", "", ""),
        (None, "ds01-student-alice.slice", "/ds01.slice/ds01-student.slice/ds01-student-alice.slice"),
        (None, "/somewhere", ""),
        (None, "", ""),
    ],
)
def test_the_kernel_knows_where_a_container_runs_and_what_was_asked_for_is_second_best(
    tmp_path: Path, kernel: str | None, parent: str, cgroup: str
) -> None:
    if kernel is not None:
        (tmp_path / "7").mkdir()
        (tmp_path / "7/cgroup").write_text(kernel)
    client = Client(ps=(0, "id\n", ""), inspect=(0, f'/a\tnull\trunc\tnull\t7\t"{parent}"\tnull\n', ""))
    assert running_containers(client, tmp_path) == (RunningContainer("a", has_gpu=False, cgroup=cgroup),)


def test_no_containers_is_another_answer_than_no_answer() -> None:
    assert running_containers(Client(ps=(0, "", ""))) == ()
    assert running_containers(Client(ps=(1, "", DOWN))) is None
    assert running_containers(Client(ps=(127, "", "docker is not installed"))) is None


ROW = '/{name}\tnull\trunc\t{environment}\t0\t""\t{labels}\n'
WELL = ROW.format(name="well", environment="null", labels="null")
# U+0085 and U+2028 break lines for Python, and stand in JSON as they are.
BREAKS = "a\x85b\u2028c"


def test_what_a_user_writes_into_labels_and_environment_hides_nobody(tmp_path: Path) -> None:
    odd = ROW.format(name="odd", environment=f'["A={BREAKS}"]', labels=f'{{"a": "{BREAKS}"}}')
    client = Client(ps=(0, "1\n2\n", ""), inspect=(0, odd + WELL, ""))
    assert running_containers(client, tmp_path) == (
        RunningContainer("odd", has_gpu=False, labels={"a": BREAKS}),
        RunningContainer("well", has_gpu=False),
    )


@pytest.mark.parametrize(
    "inspect",
    [
        (124, "", "docker gave no answer within 10 s"),
        (1, WELL, "Error response from daemon: it hangs"),
        (0, WELL + "/cut\tnull\trunc\n", ""),
        (0, WELL + ROW.format(name="torn", environment="null", labels='{"a": "'), ""),
    ],
    ids=["no answer", "one is missing", "too short", "no JSON"],
)
def test_a_container_that_cannot_be_judged_is_no_answer_and_never_none(
    tmp_path: Path, inspect: tuple[int, str, str]
) -> None:
    assert running_containers(Client(ps=(0, "1\n2\n", ""), inspect=inspect), tmp_path) is None
