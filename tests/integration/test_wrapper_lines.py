"""Real command lines: docker through the wrapper makes what plain docker makes, DS01's additions, and nothing else.

A daemon that only listens sees both. What the wrapper refuses is in a list of its own, with the words it refuses by.
"""

from __future__ import annotations

import os
import pty
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from tests.integration.clients import Client, Outcome, installed
from tests.integration.recorder import recording
from tests.integration.wrapper_host import ALICE, WrapperHost, make_host, uid_of
from tests.unit.runtime.gpu.engines import inspected

from ds01.core.errors import BadInputError
from ds01.core.process import run
from ds01.runtime.client.arguments import parse
from ds01.runtime.client.realclient import read_version
from ds01.runtime.client.tables import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCKER = installed()
pytestmark = pytest.mark.skipif(DOCKER is None, reason="no docker client here")
DATA = yaml.safe_load((Path(__file__).parents[1] / "data/client/run_lines.yaml").read_text(encoding="utf-8"))
GIB = 2**30
SLICE = f"ds01-student-{ALICE}.slice"
PIDS, SHM, MEMORY = 4096, 16 * GIB, 32 * GIB

# How people call it, beside the lines that the client's parser is tried with.
MORE = (
    "run alpine cmd --memory 1g --gpus all",
    "-D run -d alpine",
    "-l debug run -d alpine",
    "-ldebug run -d alpine",
    "-Dl fatal run -d alpine",
    "-Dlfatal run -d alpine",
    "-DDlfatal run -d alpine",
    "--log-level=error run -d alpine",
    "--log-level error container run -d alpine",
    "--config config run -d alpine",
    "--config=config create alpine",
    "--context default run -d alpine",
    "-c default run -d alpine",
    "-Dc default container create alpine",
    "-D=false run -d alpine",
    "--debug -l info container run --rm -d alpine",
    "container run -itd -m2g --cpus 1 alpine sh -c 'exit 3'",
    "run -d --memory 1g --memory 2g --memory=3g alpine",
    "run --rm -m .5g alpine",
    "run -d --memory=1.g --shm-size .25g alpine",
    "run -d -m 0 alpine",
    "run -d --memory=0 --memory-swap=0 alpine",
    "run -d --cpus 0 alpine",
    "-DDc default run -d alpine",
    "-vD run -d alpine",
    "-D -- container run -d alpine",
    "-- container create alpine",
    *(f"run -d --{name}= alpine" for name in ("cpus", "memory", "shm-size", "pids-limit", "cpu-quota", "cpu-period")),
    "run -d --memory-swap= alpine",
    "run -d --cpus 2 --cpus= alpine",
    "run -d --label-file= alpine",
    "run -d --env-file nv.env alpine",
    "run -d --label-file our.labels alpine",
    "run -d --cpu-quota=-1 alpine",
    "run -d --cpu-quota 0 --cpu-period 50000 alpine",
    "run -d --cpu-period 50000 alpine",
    "run -d --cpu-period 50000 --cpu-quota 50000 alpine",
    "run -d --shm-size 0 alpine",
    "run -d --ipc=private alpine",
    "run -d --ipc=shareable --shm-size=1g alpine",
    "run -d --ipc=none alpine",
    "run -d --ipc= alpine",
    "run -d --pids-limit 100 --pids-limit=200 alpine",
    "run -d --memory-reservation 64m -m 512m alpine",
    "run -d --memory-swap 8g alpine",
    "run -d -m 1.5g alpine",
    "run -d -m 64MiB alpine",
    "run -d -m 1073741824 alpine",
    "run -d --cgroup-parent=evil.slice alpine",
    "run -d -e NVIDIA_VISIBLE_DEVICES=none alpine",
    "run -d -e NVIDIA_VISIBLE_DEVICES= -e CUDA_VISIBLE_DEVICES=0 alpine",
    "run -d -e NVIDIA_VISIBLE_DEVICES alpine",
    "run -d -e NVIDIA_DRIVER_CAPABILITIES=all alpine",
    "run -d --label ds01.user=bob --label=ds01.protected=true -lds01.slice=x alpine",
    "run -d -l aime.mlc.USER=bob -l DS01_MANAGED=true -l CUSTOM_IMAGE=x alpine",
    "run -d -l com.docker.compose.project=x alpine",
    "run -d -l devcontainer.metadata=x alpine",
    "run -d -l devcontainer.local_folder=/home/alice/x alpine",
    "run -d -l ds01 -l ds01x=1 alpine",
    "run -d --name=$'a\\tb' alpine",
    "create -e 'TEXT=two\nlines' alpine printf '%s\\n' '\"' \"'\" '*' '$HOME' '`id`' '\\'",
)


class Verdict(NamedTuple):
    """What the wrapper says to a line that plain docker takes."""

    code: int
    words: str


_NO_GPU = "GPU"
# Lines of the data that are refused, by what stands in them.
REFUSED = {
    "--ipc=host": "--ipc=host",
    "--ipc host": "--ipc=host",
    "--pids-limit -1": "--pids-limit unlimited",
    "--gpus": _NO_GPU,
    "--runtime nvidia": _NO_GPU,
    "--runtime=nvidia": _NO_GPU,
    "--device nvidia.com/gpu=all": _NO_GPU,
}


def texts() -> list[str]:
    """Return the lines that make a container; what Windows' options do is no question here."""
    assert DOCKER is not None
    table = nearest(read_version(DOCKER, run))
    found = []
    for text in dict.fromkeys([*DATA["options"], *DATA["lines"], *MORE]):
        try:
            topic = parse(shlex.split(text), table).topic
        except BadInputError:
            continue
        if topic in {"run", "create"}:
            found.append(text)
    return found


class Both(NamedTuple):
    """The same client, called as it is and through the wrapper."""

    plain: Client
    wrapped: Client
    host: WrapperHost


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    assert DOCKER is not None
    folder = tmp_path_factory.mktemp("lines")
    above, below = pty.openpty()
    db = inspected("db", labels={"ds01.user": ALICE})
    db["State"] |= {"Running": True}  # type: ignore[operator]
    db["Config"] |= {"Tty": False}  # type: ignore[operator]
    try:
        with recording(folder / "docker.sock", clients_only=True, container=db) as recorder:
            host = make_host(folder, recorder.socket_path)
            host.override(max_containers=None, max_cpus=2, aggregate={"memory_max": None})
            more = {"LANG": "C.UTF-8"}
            plain = Client(DOCKER, recorder, folder / "work", below, more)
            wrapped = Client(host.wrapper, recorder, folder / "work", below, more | {"SUDO_UID": str(uid_of(ALICE))})
            yield Both(plain, wrapped, host)
    finally:
        os.close(above)
        os.close(below)


def expected(plain: dict[str, Any], line: str) -> dict[str, Any]:
    """Return the container that comes of one that plain docker makes."""
    host = dict(plain["HostConfig"])
    host |= {"CgroupParent": SLICE, "Memory": host["Memory"] or MEMORY}
    host["MemorySwap"] = host["Memory"]
    host["PidsLimit"] = host["PidsLimit"] or PIDS
    if not host["NanoCpus"] and host["CpuQuota"] <= 0:
        period = host["CpuPeriod"]
        host |= {"CpuQuota": 2 * period} if period else {"CpuQuota": 0, "NanoCpus": 2 * 10**9}
    if host["IpcMode"] in {"", "private", "shareable"}:
        host["ShmSize"] = host["ShmSize"] or SHM
    kept = {"ds01.x": "1"} if "our.labels" in line else {}
    labels = kept | {name: text for name, text in plain["Labels"].items() if not is_ours(name)}
    kind = "compose" if "com.docker.compose.project" in labels else "docker"
    if any(name.startswith("devcontainer.") for name in labels):
        kind = "devcontainer"
    labels |= {"ds01.user": ALICE, "ds01.managed": "true", "ds01.container_type": kind, "ds01.slice": SLICE}
    labels |= {"ds01.protected": "false"}
    if "--label-file" in line:
        labels |= LABELS_OF_FILES
    by_file = "--env-file nv.env" in line  # read by the client alone; of two values the later one counts
    env = [each for each in plain["Env"] or () if by_file or each.partition("=")[0] not in {VISIBLE, CUDA}]
    return plain | {"HostConfig": host, "Labels": labels, "Env": sorted([*env, f"{VISIBLE}=void"])}


VISIBLE, CUDA = "NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"
# What a file of labels says is read by the client alone; it says ds01.user=bob and more.
LABELS_OF_FILES = {"ds01.allocation": "", "ds01.gpu.slots": "", "ds01.gpu.uuids": ""}


def is_ours(name: str) -> bool:
    return name.startswith("ds01.") or name in {"aime.mlc.USER", "DS01_MANAGED", "CUSTOM_IMAGE"}


def without_instant(created: dict[str, Any]) -> dict[str, Any]:
    labels = dict(created["Labels"])
    assert labels.pop("ds01.created_at").endswith("Z")
    return created | {"Labels": labels}


def others(outcome: Outcome) -> list[object]:
    """Return all that was asked for, and of the container that is made its name and platform alone."""
    return sorted(
        (each._replace(body=None) if each.target.startswith("/containers/create") else each)
        for each in outcome.requests
    )


def difference(text: str, both: Both) -> str | None:
    """Return what is not as it should be with a line; None when all is."""
    words = shlex.split(text)
    plain, wrapped = both.plain.outcome(words), both.wrapped.outcome(words)
    refusal = next((says for option, says in REFUSED.items() if option in text), None)
    if plain.created is None:
        return None if plain == wrapped else f"plain docker {plain}, the wrapper {wrapped}"
    if refusal is not None and not wrapped.requests:
        return None if wrapped.refused and refusal in wrapped.stderr else f"refused by other words: {wrapped.stderr}"
    if wrapped.created is None:
        return f"refused: {wrapped.stderr}"
    if "ds01.created_at" not in (wrapped.created["Labels"] or {}):  # type: ignore[operator]
        return "went past the helper"
    wanted, made = expected(plain.created, text), without_instant(wrapped.created)
    if made != wanted:
        return f"{changes(wanted, made)}"
    same = (others(plain), plain.refused) == (others(wrapped), wrapped.refused)
    return None if same else f"other requests: {plain} {wrapped}"


def changes(wanted: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    keys = {key for key in wanted | made if wanted.get(key) != made.get(key)}
    found = {key: (wanted.get(key), made.get(key)) for key in keys}
    if "HostConfig" in found:
        found["HostConfig"] = changes(wanted["HostConfig"], made["HostConfig"])  # type: ignore[assignment]
    return found


def test_lines_make_what_plain_docker_makes_and_our_additions(both: Both) -> None:
    lines = texts()
    assert len(lines) >= 200
    assert {text: why for text in lines if (why := difference(text, both)) is not None} == {}
