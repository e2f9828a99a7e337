"""The engine of the tests marked docker, and what they need on it."""

from __future__ import annotations

import io
import secrets
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.engine.image import IMAGE
from tests.integration.dockers import docker
from tests.integration.wrapper_host import ADMIN, ALICE, BOB, WrapperHost, make_host, remove

from ds01.runtime.containers.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Iterator

# A program that waits, for images that hold nothing else.
WAIT = "int pause(void); int main(void) { for (;;) pause(); }"


@pytest.fixture(scope="module")
def engine(docker_host: str) -> Engine:
    assert docker_host.startswith("unix://")
    return Engine(Path(docker_host.removeprefix("unix://")), timeout_seconds=60)


@pytest.fixture(scope="module")
def image(docker_host: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """An image and a command that waits: busybox where the engine has it, else made here, without any registry."""
    if docker("images", "--quiet", IMAGE):
        yield [IMAGE, "sleep", "6000"]
        return
    folder = tmp_path_factory.mktemp("image")
    (folder / "wait.c").write_text(WAIT)
    subprocess.run(["cc", "-static", "-o", folder / "wait", folder / "wait.c"], check=True, capture_output=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.add(folder / "wait", "wait")
    name = f"ds01-test-{secrets.token_hex(4)}"
    docker("import", "-", name, data=packed.getvalue())
    yield [name, "/wait"]
    docker("rmi", "--force", name)


@pytest.fixture
def prefix(docker_host: str) -> Iterator[str]:
    """How the containers of one test are named; they are removed after it."""
    made = f"ds01-test-{secrets.token_hex(4)}"
    yield made
    ids = docker("ps", "--all", "--quiet", "--filter", f"name={made}").split()
    if ids:
        docker("rm", "--force", *ids)


@pytest.fixture
def host(docker_host: str, tmp_path: Path) -> Iterator[WrapperHost]:
    """A host on which docker is called through the wrapper; its containers are removed afterwards."""
    made = make_host(tmp_path)
    yield made
    accounts = (ALICE, BOB, ADMIN)
    filters = [f"--filter=label=ds01.user={account}" for account in accounts]
    ids = {each for one in filters for each in docker("ps", "--all", "--quiet", one).split()}
    remove(ids)
