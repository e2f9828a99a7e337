"""The docker client, asked as people do, and answering or failing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def engine_socket() -> Path:
    """Return where the client finds the engine: as DOCKER_HOST says, else where every client looks."""
    return Path(os.environ.get("DOCKER_HOST", "unix:///run/docker.sock").removeprefix("unix://"))


def docker(*words: str, data: bytes | None = None) -> str:
    done = subprocess.run(["docker", *words], input=data, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()
