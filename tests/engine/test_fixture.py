"""Which engine a session's tests get, and that none is missed without a word."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.engine.fixture import named_engine, own_engine
from tests.integration.dockers import docker

CHECKOUT = Path(__file__).resolve().parents[2]
NOWHERE = "unix:///nonexistent/docker.sock"


@pytest.mark.docker
def test_the_session_s_engine_is_what_the_environment_names(docker_host: str) -> None:
    assert named_engine() == docker_host
    assert docker("version", "--format", "{{.Server.Os}}") == "linux"


@pytest.mark.docker
def test_an_engine_named_by_the_client_s_settings_is_used(
    docker_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    docker("context", "create", "--docker", f"host={docker_host}", "mine")
    docker("context", "use", "mine")
    assert named_engine() == docker_host


@pytest.mark.root
def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.setenv("DS01_TEST_CACHE", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=r"^docker: no engine can be started here: .*DS01_TEST_CACHE"):
        own_engine().__enter__()


@pytest.mark.parametrize(("strict", "code", "told"), [("0", 0, "1 skipped"), ("1", 1, "1 error")])
def test_an_engine_that_is_named_and_missing_is_a_skip_and_in_ci_a_failure(strict: str, code: int, told: str) -> None:
    test = "tests/integration/test_engine.py::test_the_engine_says_who_it_is"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test],
        cwd=CHECKOUT,
        env=os.environ | {"DOCKER_HOST": NOWHERE, "DS01_TEST_STRICT": strict},
        capture_output=True,
        text=True,
        check=False,
    )
    client = "which does not answer" if shutil.which("docker") else "and there is no docker client"
    assert (done.returncode, f"DOCKER_HOST is {NOWHERE}, {client}" in done.stdout) == (code, True), done.stdout
    assert re.search(rf"^{told} ", done.stdout, re.MULTILINE), done.stdout
