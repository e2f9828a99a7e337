"""Who answers at the exporter's port on a real engine, whose docker-proxy is root's own program on the host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from tests.engine.image import IMAGE
from tests.integration.wrapper_host import SCRIPTS, make_host, until

if TYPE_CHECKING:
    from tests.engine.fixture import StartEngine

pytestmark = pytest.mark.root
PORT: Final = 9400
METRIC: Final = 'DCGM_FI_PROF_GR_ENGINE_ACTIVE{UUID="GPU-a"} 0.5'
SERVE: Final = f"mkdir /www && echo '{METRIC}' > /www/metrics && exec httpd -f -p {PORT} -h /www"
ASK: Final = """
import sys
from pathlib import Path
from ds01.core.paths import HostPaths
from ds01.core.policy import read_policy
from ds01.runtime.gpu.exporter import ask_exporter
from ds01.runtime.gpu.sitecontainers import SiteContainers
paths = HostPaths(Path(sys.argv[1]))
print(ask_exporter(int(sys.argv[2]), Path("/proc"), SiteContainers(paths, read_policy(paths.policy))))
"""
FOUND: Final = "{('GPU-a', None): 0.5}"
NOT_BELIEVED: Final = (
    f"the DCGM exporter at 127.0.0.1:{PORT} tells nothing: its port is taken by a container, which is not believed: end"
    " nb; the site's own is named in monitoring.infrastructure_containers"
)


def test_a_port_that_a_container_publishes_is_believed_of_the_sites_own_alone(
    another_engine: StartEngine, tmp_path: Path
) -> None:
    engine = another_engine()
    host = make_host(tmp_path, engine.socket)

    def ask() -> str:
        # The engine's ports are its own, apart from the machine's.
        argv = ["nsenter", f"--net=/proc/{engine.pid}/ns/net", sys.executable, "-P", "-c", ASK]
        done = subprocess.run(
            [*argv, os.fspath(host.paths.root), str(PORT)],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.fspath(SCRIPTS)},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def serve(name: str, address: str) -> None:
        engine.docker(
            "run", "--detach", "--name", name, "--publish", f"{address}:{PORT}:{PORT}", IMAGE, "sh", "-c", SERVE
        )

    assert ask().startswith(f"no DCGM exporter answers at 127.0.0.1:{PORT}")
    serve("nb", "0.0.0.0")
    until(lambda: ask() == NOT_BELIEVED)
    engine.docker("rename", "nb", "ds01-dcgm-exporter")
    assert ask() == FOUND
    engine.docker("rm", "--force", "ds01-dcgm-exporter")
    serve("ds01-dcgm-exporter", "127.0.0.1")
    serve("nb", "127.0.0.2")
    until(lambda: ask() == FOUND)
