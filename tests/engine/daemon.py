"""A Docker engine of the tests' own: started by them, apart from the machine, gone when they end, however they end."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.engine.image import IMAGE, packed
from tests.engine.packages import EngineMissingError, Unpacked

_KEEPER: Final = Path(__file__).with_name("keeper.py")
# Not TMPDIR: a socket's address has 108 bytes (man 7 unix), and the engine makes some below its folder.
_STATES: Final = Path("/tmp")
_ANSWER_SECONDS: Final = 60
_CLIENT_SECONDS: Final = 120
_END_SECONDS: Final = 30
_WAIT_SECONDS: Final = 0.02


class Daemon:
    """One engine with the image IMAGE; inside the block it answers, and after it nothing is left of it.

    It is Debian's dockerd with containerd, and crun in runc's place. What it is good for, tried on Docker 20.10 over
    cgroup v1 by root without CAP_SYS_RESOURCE (most of it is held by test_daemon.py):

    - It honours create, run, start, stop, kill, restart, wait, exec, attach, logs, cp, rename, commit, build (the
      classic one), import, save, load, events, inspect, labels, restart policies, live-restore, --init, --pid=host and
      --shm-size. Its networks have addresses and published ports, and no way out; names are not resolved in them.
    - It takes and tells by `inspect`, but does not enforce, for control groups are not touched: --memory,
      --memory-swap, --cpus, --pids-limit, --cgroup-parent, and what `update` changes. As with systemd's driver a parent
      has to be a slice.
    - It takes `--gpus` and starts the container, with NVIDIA_VISIBLE_DEVICES as the engine sets it and no device. It
      takes `--runtime nvidia`, which here sets nothing.
    - pause and top fail, stats tells of the tests' own group, --privileged fails where root lacks a capability, and no
      registry is to be reached. After SIGKILL a start without live-restore first stops what still runs, ten seconds
      for each that does not heed SIGTERM.

    Start it in the main thread: it ends when the thread does that started it (man 2 prctl, PR_SET_PDEATHSIG).
    Numbers of processes are the machine's: State.Pid can be looked up in /proc, and be killed.
    """

    def __init__(self, packages: Unpacked, settings: Mapping[str, object] | None = None) -> None:
        """Take what is to stand in daemon.json beside, or instead of, what every engine of the tests has there."""
        self.packages: Final = packages
        self._settings: Final = settings or {}
        self._state: Path | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            EngineMissingError: it does not come up.
        """
        self._state = Path(tempfile.mkdtemp(prefix="ds01-engine-", dir=_STATES))
        try:
            self._write_settings()
            self._keeper = self._start_keeper()
            self._await_answer()
            self.docker("import", "--change", 'CMD ["/bin/sh"]', "-", IMAGE, data=packed(self.packages.busybox))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """Where all of it lies, or lay: its socket, its data, its log, its daemon.json."""
        assert self._state is not None, "it is not started"
        return self._state

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / "docker.sock"

    @property
    def host(self) -> str:
        """Its DOCKER_HOST."""
        return f"unix://{self.socket}"

    @property
    def keeper(self) -> int:
        """The process that ends it, and whose descendants are all of it."""
        assert self._keeper is not None, "it is not started"
        return self._keeper.pid

    @property
    def pid(self) -> int:
        """The process dockerd."""
        assert self._pid is not None, "it does not run"
        return self._pid

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client needs beside its own environment to reach this engine and to follow no settings of a person.

        Only variables that are to be set; DOCKER_CONTEXT would come before DOCKER_HOST and must not be there.
        """
        return {"DOCKER_HOST": self.host, "DOCKER_CONFIG": os.fspath(self.folder / "client")}

    def docker(self, *words: str, data: bytes | None = None) -> str:
        """Ask its own client, which has to succeed."""
        environment = {"PATH": self.packages.programs, "HOME": "/nonexistent", **self.environment}
        argv = [os.fspath(self.packages.client), *words]
        done = subprocess.run(
            argv, env=environment, input=data, capture_output=True, timeout=_CLIENT_SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    # --- its life ----------------------------------------------------------------------------------------------

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End dockerd by a signal and wait for that; its containers run on after SIGKILL, as on any host."""
        os.kill(self.pid, number)
        self._expect("ended", self.pid)
        self._pid = None

    def start(self) -> None:
        """Start dockerd again after `stop`, with all it had.

        Raises:
            EngineMissingError: it does not come up.
        """
        assert self._pid is None, "it runs"
        assert self._keeper is not None
        assert self._keeper.stdin is not None
        (self.folder / "docker.pid").unlink(missing_ok=True)
        self._keeper.stdin.write(b"\n")
        self._await_answer()

    def close(self) -> None:
        """End all of it, at once."""
        keeper, self._keeper, self._pid = self._keeper, None, None
        if keeper is not None:
            keeper.terminate()
            keeper.communicate(timeout=_END_SECONDS)
        elif self._state is not None and self._state.exists():
            shutil.rmtree(self._state)

    def _write_settings(self) -> None:
        (self.folder / "client").mkdir()
        settings = {
            "data-root": os.fspath(self.folder / "data"),
            "exec-root": os.fspath(self.folder / "exec"),
            "pidfile": os.fspath(self.folder / "docker.pid"),
            "hosts": [self.host],
            "exec-opts": ["native.cgroupdriver=systemd"],
            "runtimes": {"nvidia": {"path": os.fspath(self.packages.runc)}},
            "iptables": False,
            "ip6tables": False,
            "oom-score-adjust": 0,  # root may lack the capability for less
        }
        (self.folder / "daemon.json").write_text(json.dumps(settings | dict(self._settings)))

    def _start_keeper(self) -> subprocess.Popen[bytes]:
        engine = [os.fspath(self.packages.dockerd), "--config-file", os.fspath(self.folder / "daemon.json")]
        libraries = f"LD_LIBRARY_PATH={self.packages.libraries}"
        keeper = [sys.executable, "-I", os.fspath(_KEEPER), str(os.getpid()), os.fspath(self.folder)]
        return subprocess.Popen(
            [*keeper, "env", libraries, *engine],
            env={"PATH": self.packages.programs, "TMPDIR": os.fspath(self.folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for pytest, and what comes of it is for the keeper
        )

    def _await_answer(self) -> None:
        told = self._told(_ANSWER_SECONDS)
        assert told is not None, "the keeper says nothing"
        self._pid = told[1]
        deadline = time.monotonic() + _ANSWER_SECONDS
        while not answers(self.socket):
            if self._told(_WAIT_SECONDS) or time.monotonic() > deadline:
                lines = (self.folder / "log").read_text(errors="replace").splitlines()
                raise EngineMissingError(f"dockerd does not come up: {lines[-1] if lines else 'it says nothing'}")

    def _expect(self, what: str, pid: int) -> None:
        told = self._told(_END_SECONDS)
        assert told == (what, pid), f"the keeper says {told}"

    def _told(self, seconds: float) -> tuple[str, int] | None:
        """Return what happened to which process, as the keeper tells it; None when it tells nothing in time."""
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        ready, _, _ = select.select([self._keeper.stdout], [], [], seconds)
        if not ready:
            return None
        line = self._keeper.stdout.readline().decode()
        if not line:
            _, words = self._keeper.communicate(timeout=_END_SECONDS)
            raise EngineMissingError(f"dockerd cannot be kept apart here: {words.decode().strip()}")
        what, pid = line.split()
        return what, int(pid)


def answers(engine: Path) -> bool:
    """Tell whether an engine answers on its socket.

    Source: Docker Engine API v1.41, "Ping".
    """
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(_ANSWER_SECONDS)
        try:
            asking.connect(os.fspath(engine))
            asking.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return asking.recv(64).startswith(b"HTTP/1.0 200 ")
        except OSError:
            return False
