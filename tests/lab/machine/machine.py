"""A machine of the lab: boots in seconds, runs commands, can lose its power at any moment.

It has a disk of its own over the shared image. The disk outlives a power cut and a reboot, until `down`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.lab.machine import processes
from tests.lab.machine.cow import backing_image
from tests.lab.machine.errors import LabError, MachineStoppedError
from tests.lab.machine.jobs import Command, Postbox, Sink
from tests.lab.machine.settings import Bootable, Cache, Folder, Hardware, Share
from tests.lab.machine.steps import say

from ds01.core.process import Completed

AGENT: Final = Path(__file__).with_name("guest") / "agent.py"
RUN_SECONDS: Final = 120
_BOOT_SECONDS: Final = 180
_SHUTDOWN_SECONDS: Final = 120
_POWER_OFF_SECONDS: Final = 5
_CONSOLE_LINES: Final = 20
_MEMORY_FILES: Final = Path("/dev/shm")


class Machine:
    """One machine; as a context manager it is up inside the block and leaves nothing behind.

    Its folder is named after it: one name is one machine at a time.
    """

    def __init__(
        self,
        name: str,
        bootable: Bootable,
        hardware: Hardware = Hardware(),  # noqa: B008 - frozen
        *,
        cache: Cache = Cache(),  # noqa: B008 - frozen
    ) -> None:
        self.name: Final = name
        self.folder: Final = Folder.of(cache, name)
        self._bootable: Final = bootable
        self._hardware: Final = hardware
        self._postbox: Final = Postbox(self.folder.share, self.folder.control, self.is_alive)
        self._lifeline: int | None = None

    def __enter__(self) -> Self:
        if not self._hardware.keeps_disk:
            self.down()  # what a run that was killed left behind
        try:
            self.up()
        except BaseException:
            self.cut()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    def is_alive(self) -> bool:
        """Tell whether it runs."""
        return processes.is_alive(self.folder)

    # --- power -------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Boot, from its disk when it has one, and wait until every service is started.

        Raises:
            LabError: it runs already, its disk is of another image, or it does not come up.
        """
        if self.is_alive():
            raise LabError(f"the machine {self.name} runs already", None, "end it with lab.down")
        self._check_disk()
        self._clear()
        tied = self._hardware.tied
        self._lifeline = processes.launch(self.folder, self._command_line(), tied=tied, scratch=self._memory_folder())
        self._await_agent()
        state = self.run(["systemctl", "is-system-running", "--wait"], timeout_seconds=_BOOT_SECONDS)
        if not state.ok:
            failed = self.run(["systemctl", "--failed", "--plain", "--no-legend"]).stdout
            say(f"{self.name} is {state.stdout.strip()}: {failed.strip() or state.stderr.strip()}")
        for share in self._hardware.shares:
            self._mount(share)

    def down(self) -> None:
        """Switch it off without ado and throw its disk away, unless the disk is to be kept."""
        if self.is_alive():
            self._postbox.switch_off()
            processes.wait_gone(self.folder, _POWER_OFF_SECONDS)
        self.cut()
        if self._hardware.keeps_disk and self.folder.disk.exists():
            self._clear()
        else:
            self.erase()

    def cut(self) -> None:
        """Cut the power: nothing inside gets another instruction; the disk holds what had been written to it."""
        processes.kill(self.folder)
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def reboot(self) -> None:
        """Stop every service as `reboot` does, and boot again from the same disk.

        Raises:
            LabError: it does not stop, or does not come up again.
        """
        with contextlib.suppress(MachineStoppedError):
            self.run(["systemctl", "poweroff"])
        if not processes.wait_gone(self.folder, _SHUTDOWN_SECONDS):
            raise LabError(f"the machine {self.name} does not shut down", self._console_end())
        self.cut()
        self.up()

    def erase(self) -> None:
        """Remove all that is left of the machine; it must not run.

        Raises:
            LabError: it runs.
        """
        if self.is_alive():
            raise LabError(f"the machine {self.name} runs", None, "end it first")
        shutil.rmtree(self.folder.path, ignore_errors=True)

    # --- commands and files ------------------------------------------------------------------------------------

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_seconds: float = RUN_SECONDS,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        folder: str | None = None,
        stdin: bytes | str | Path | None = None,
    ) -> Completed:
        """Run a command inside to its end, as root or in a user's login shell (see jobs.Command).

        A machine's `run` is a `ds01.core.process.Run`.

        Raises:
            MachineStoppedError: the machine went away.
            LabError: it gave no answer in time.
        """
        text = stdin.encode() if isinstance(stdin, str) else stdin
        command = Command(argv, user, folder, environment or {}, text, timeout_seconds)
        out, err = bytearray(), bytearray()
        code = self.stream(command, out.extend, err.extend)
        return Completed(tuple(argv), code, out.decode("utf-8", "replace"), err.decode("utf-8", "replace"))

    def must(
        self,
        argv: Sequence[str],
        *,
        timeout_seconds: float = RUN_SECONDS,
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
        folder: str | None = None,
        stdin: bytes | str | Path | None = None,
    ) -> str:
        """Run a command that has to succeed and return what it wrote to standard output.

        Raises:
            LabError: it failed; also as `run`.
        """
        done = self.run(
            argv, timeout_seconds=timeout_seconds, environment=environment, user=user, folder=folder, stdin=stdin
        )
        if not done.ok:
            raise LabError(f"{self.name}: {' '.join(argv)} ended with {done.code}", f"{done.stdout}{done.stderr}")
        return done.stdout

    def script(self, text: str, *, user: str | None = None, timeout_seconds: float = RUN_SECONDS) -> str:
        """Run a bash script that has to succeed and return what it wrote to standard output."""
        argv = ["bash", "-o", "errexit", "-o", "nounset", "-o", "pipefail", "-c", text]
        return self.must(argv, user=user, timeout_seconds=timeout_seconds)

    def stream(self, command: Command, stdout: Sink, stderr: Sink) -> int:
        """Run a command, handing on its output as it comes; return its exit status.

        Raises:
            MachineStoppedError: the machine went away.
            LabError: it gave no answer in time.
        """
        if not self.is_alive():
            raise MachineStoppedError(f"the machine {self.name} is not up", None, "start it with lab.up")
        return self._postbox.run(command, stdout, stderr)

    def push(self, source: Path, target: str, *, exclude: Sequence[str] = (".git",)) -> None:
        """Copy a file to the file target, or what is in a folder into the folder target; root's, modes kept.

        Raises:
            LabError: either side cannot.
        """
        if not source.is_dir():
            mode = f"{source.stat().st_mode & 0o7777:o}"
            script = 'mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1"'
            self.must(["sh", "-c", script, "sh", target, mode], stdin=source)
            return
        with tempfile.NamedTemporaryFile(dir=self.folder.scratch) as archive:
            left_out = [f"--exclude={pattern}" for pattern in exclude]
            pack = ["tar", "-C", os.fspath(source), *left_out, "--owner=0", "--group=0", "-cf", archive.name, "."]
            subprocess.run(pack, check=True)
            script = 'mkdir -p "$1" && tar -xpf - -C "$1"'
            self.must(["sh", "-c", script, "sh", target], stdin=Path(archive.name))

    def pull(self, source: str, target: Path) -> None:
        """Copy a file to the file target, or what is in a folder into the folder target; ours, modes kept.

        Raises:
            LabError: there is no such thing inside.
        """
        kind, mode = self.must(["stat", "-L", "-c", "%F/%a", source]).strip().rsplit("/", 1)
        folder = kind == "directory"
        argv = ["tar", "-C", source, "-cf", "-", "."] if folder else ["cat", source]
        with tempfile.TemporaryFile(dir=self.folder.scratch) as file:
            words = bytearray()
            if self.stream(Command(argv), file.write, words.extend) != 0:
                raise LabError(f"{self.name}: {source} cannot be read", words.decode("utf-8", "replace"))
            file.seek(0)
            if folder:
                target.mkdir(parents=True, exist_ok=True)
                subprocess.run(["tar", "-xp", "--no-same-owner", "-C", target], stdin=file, check=True)
            else:
                with target.open("wb") as copy:
                    shutil.copyfileobj(file, copy)
                target.chmod(int(mode, 8))

    # --- the making of it --------------------------------------------------------------------------------------

    def _command_line(self) -> list[str]:
        hardware, folder = self._hardware, self.folder
        image = os.fspath(self._bootable.image)
        disk = image if hardware.writes_image else f"{folder.disk},{image}"
        return [
            *self._pinning(),
            os.fspath(self._bootable.kernel),
            f"mem={hardware.memory}",
            f"ncpus={hardware.cpus}",
            # The fast way to run user space: twice as fast as ptrace, and needed for more than one CPU.
            "seccomp=on",
            f"ubd0={disk}",
            "root=/dev/ubda",
            "rw",
            "init=/lib/systemd/systemd",
            # The console goes to our log; the second serial line takes its input from the control line. Its output
            # goes to null: with a real file as output channel the guest never got its input.
            "con=null",
            "con0=null,fd:1",
            "ssl=null",
            "ssl1=fd:8,null",
            "console=tty0",
            "systemd.show_status=0",
            "quiet",
            f"uml_dir={folder.sockets}",
            "umid=lab",
            f"lab_share={folder.share}",
        ]

    def _pinning(self) -> list[str]:
        """One guest CPU runs best on one host CPU: kernel and user-space stubs hand over to each other all the time.

        Measured: `docker run` takes 1.35 s bound to one CPU, 1.95 s not.
        """
        if self._hardware.cpus > 1:
            return []
        return ["taskset", "--cpu-list", str(processes.pick_cpu(self.folder.path.parent))]

    def _memory_folder(self) -> Path:
        """Return where the sparse file lies that is the guest's memory: in memory, where that will do.

        A container's /dev/shm is often too small, and programs may not run from it.
        """
        if not _MEMORY_FILES.is_dir():
            return self.folder.scratch
        status = os.statvfs(_MEMORY_FILES)
        enough = status.f_bavail * status.f_frsize > self._hardware.memory_bytes
        return _MEMORY_FILES if enough and not status.f_flag & os.ST_NOEXEC else self.folder.scratch

    def _check_disk(self) -> None:
        """Refuse a disk over another image: read with this one it would be garbage."""
        if not self.folder.disk.exists():
            return
        image = backing_image(self.folder.disk)
        if image is None:
            self.folder.disk.unlink()
        elif image != self._bootable.image:
            raise LabError(
                f"the disk of the machine {self.name} is over another image",
                f"It is over {image}; the image of this suite is {self._bootable.image} by now.",
                "throw the disk away (lab.down), or choose the suite it was made for",
            )

    def _clear(self) -> None:
        """Make the folder ready for a boot; only the disk stays."""
        folder = self.folder
        for path in (folder.share, folder.sockets, folder.scratch):
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        (folder.share / "jobs").mkdir()
        shutil.copyfile(AGENT, folder.share / AGENT.name)
        folder.control.unlink(missing_ok=True)
        os.mkfifo(folder.control)

    def _await_agent(self) -> None:
        deadline = time.monotonic() + _BOOT_SECONDS
        while not self.folder.ready.exists():
            if not self.is_alive():
                raise LabError(f"the machine {self.name} stopped while it booted", self._console_end())
            if time.monotonic() > deadline:
                raise LabError(f"the machine {self.name} does not come up", self._console_end())
            time.sleep(0.02)

    def _console_end(self) -> str:
        lines = self.folder.console.read_text(errors="replace").splitlines() if self.folder.console.exists() else []
        return "\n".join(["The end of its console:", *(f"    {line}" for line in lines[-_CONSOLE_LINES:])])

    def _mount(self, share: Share) -> None:
        options = f"{share.source},{'rw' if share.writable else 'ro'}"
        script = 'mkdir -p "$2" && LIBMOUNT_FORCE_MOUNT2=always mount -t hostfs -o "$1" none "$2"'
        self.must(["sh", "-c", script, "sh", options, os.fspath(share.target)])
