"""The Docker engine of a test session: the one that this environment names, else one of our own.

`docker_host` is behind every test marked docker. A test that has to end an engine, or needs one with settings of its
own, takes `another_engine`; as no environment can give it that, such a test is not marked docker.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

import pytest
from tests.engine.daemon import Daemon
from tests.engine.packages import EngineMissingError, cache_folder, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ANSWER_SECONDS = 20
# Each would make a client ask somebody else, or otherwise.
_MISLEADING = ("DOCKER_CONTEXT", "DOCKER_API_VERSION", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")


class StartEngine(Protocol):
    """Starts an engine with what is to stand in its daemon.json."""

    def __call__(self, settings: Mapping[str, object] | None = None) -> Daemon: ...


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """The DOCKER_HOST of an engine; the environment's `docker` is a client that asks it."""
    if named := named_engine():
        yield named
        return
    with own_engine() as daemon, pytest.MonkeyPatch.context() as environment:
        for name in _MISLEADING:
            environment.delenv(name, raising=False)
        for name, value in daemon.environment.items():
            environment.setenv(name, value)
        if shutil.which("docker") is None:
            environment.setenv("PATH", os.fspath(daemon.packages.client.parent), prepend=os.pathsep)
        yield daemon.host


@pytest.fixture
def another_engine() -> Iterator[StartEngine]:
    """Starts engines that are the test's alone and are gone after it; each is asked by its method `docker`.

    Other clients need its `environment`.
    """
    with ExitStack() as started:

        def start(settings: Mapping[str, object] | None = None) -> Daemon:
            return started.enter_context(own_engine(settings))

        yield start


def named_engine() -> str | None:
    """Return the DOCKER_HOST of the engine that a client finds in this environment; None when it names none.

    One that is named and does not answer skips the test: whoever named it wants no other.
    """
    named = os.environ.get("DOCKER_HOST")
    if _client("version", "--format", "{{.Server.Version}}") is not None:
        return named or _client("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    if named:
        client = "which does not answer" if shutil.which("docker") else "and there is no docker client"
        pytest.skip(f"docker: DOCKER_HOST is {named}, {client}")
    return None


@contextmanager
def own_engine(settings: Mapping[str, object] | None = None) -> Iterator[Daemon]:
    """Give an engine of our own, or skip the test and say what is missing."""
    with ExitStack() as started:
        try:
            daemon = started.enter_context(Daemon(unpacked(cache_folder()), settings))
        except EngineMissingError as missing:
            pytest.skip(f"docker: no engine can be started here: {missing}")
        yield daemon


def _client(*words: str) -> str | None:
    """Return what the environment's client says; None when there is none, or it has no answer."""
    if shutil.which("docker") is None:
        return None
    try:
        asked = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None
