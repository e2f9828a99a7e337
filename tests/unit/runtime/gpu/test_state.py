"""The state file: all of a change or nothing, and no damage is ever taken for an empty ledger."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.unit.runtime.gpu.ledgers import VALIDATOR

from ds01.core.errors import BusyError, Ds01Error, ExitCode
from ds01.core.events import EventLog
from ds01.core.jsonstate import exclusive
from ds01.core.paths import HostPaths
from ds01.core.value import replace
from ds01.runtime.gpu import state as module
from ds01.runtime.gpu.hardware import GpuUuid
from ds01.runtime.gpu.ledger import Allocation, Ledger, Reservation, Waiter
from ds01.runtime.gpu.reconcile import Present
from ds01.runtime.gpu.record import format_ledger, parse_ledger
from ds01.runtime.gpu.request import AccountLimits, Count
from ds01.runtime.gpu.state import GpuState, GpuStateError, read_ledger
from ds01.runtime.identity import ProcessRef
from ds01.runtime.machine import Machine

NOON = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
GONE = ProcessRef(2**22 + 1, 1, Machine().boot_id())
needs_root = pytest.mark.root


@dataclass
class Site:
    """A host of its own below a folder, and what its Docker has."""

    root: Path
    present: list[Present] = field(default_factory=list)
    docker_runs: bool = True
    asked: int = 0
    now: datetime = NOON
    boot_seconds: float = 1000.0

    def containers(self, _: Ledger) -> Sequence[Present]:
        self.asked += 1
        if not self.docker_runs:
            raise Ds01Error("Docker does not answer")
        return tuple(self.present)

    @property
    def state(self) -> GpuState:
        return GpuState(
            HostPaths(self.root),
            Machine(now=lambda: self.now, boot_seconds=lambda: self.boot_seconds),
            EventLog(self.root / "var/log/ds01/events.jsonl"),
            self.containers,
            lambda _: AccountLimits(hold_seconds=3600),
        )

    @property
    def file(self) -> Path:
        return self.state.paths.gpu_state

    @property
    def folder(self) -> list[str]:
        return sorted(path.name for path in self.file.parent.iterdir())

    def add(self, allocation: Allocation) -> None:
        with self.state.change() as book:
            book.ledger = book.ledger.granted(allocation)

    def told(self) -> list[str]:
        log = self.state.events.path
        return [json.loads(line)["event_type"] for line in log.read_text().splitlines()] if log.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    for folder in ("var/lib/ds01", "var/log/ds01"):
        (tmp_path / folder).mkdir(parents=True)
    return Site(tmp_path)


def held(name: str = "a", *, gpu: str = "0", **more: object) -> Allocation:
    return replace(Allocation(name, f"id-{name}", "alice", (gpu,), (GpuUuid(f"GPU-{gpu}"),), NOON, 10), **more)  # type: ignore[arg-type]  # any field


def container(name: str, gpu: str = "0", *, running: bool = True) -> Present:
    return Present(
        name, f"{name}-docker-id", "alice", f"id-{name}", (gpu,), (GpuUuid(f"GPU-{gpu}"),), running, NOON, NOON
    )


def this_process() -> ProcessRef:
    found = Machine().process(os.getpid())
    assert found is not None
    return found


def written_by(site: Site, ledger: Ledger) -> bytes:
    content = format_ledger(ledger, NOON)
    site.file.write_bytes(content)
    return content


# --- Transactions -----------------------------------------------------------------------------------------------------


def test_what_a_change_puts_there_is_what_the_next_one_finds(site: Site) -> None:
    site.add(held(container_id="c"))
    with site.state.change() as book:
        assert dict(book.ledger.allocations) == {"a": held(container_id="c")}
    assert dict(site.state.read().allocations) == {"a": held(container_id="c")}


def test_the_file_is_as_its_schema_says_and_anybody_may_read_it(site: Site) -> None:
    before = os.umask(0o077)
    try:
        site.add(held())
    finally:
        os.umask(before)
    assert VALIDATOR.is_valid(json.loads(site.file.read_bytes()))
    assert {name: f"{stat.S_IMODE((site.file.parent / name).stat().st_mode):04o}" for name in site.folder} == {
        "gpu-state.json": "0644",
        "gpu-state.lock": "0600",
    }


def test_an_exception_inside_changes_nothing_and_tells_nothing(site: Site) -> None:
    site.add(held())
    before = site.file.read_bytes()
    with pytest.raises(KeyboardInterrupt), site.state.change() as book:  # noqa: PT012 - all of it is one change
        book.ledger = Ledger()
        book.note("gpu.released", "alice", {})
        raise KeyboardInterrupt
    assert (site.file.read_bytes(), site.told()) == (before, [])
    site.add(held("b", gpu="1"))
    assert set(site.state.read().allocations) == {"a", "b"}


def test_a_change_of_nothing_writes_nothing(site: Site) -> None:
    site.add(held())
    before = site.file.stat()
    with site.state.change():
        pass
    after = site.file.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_events_are_told_once_the_ledger_is_on_disk(site: Site) -> None:
    site.add(held())
    with site.state.change() as book:
        book.ledger = book.ledger.released(held())
        book.note("gpu.released", "alice", {"container": "a"})
        assert site.told() == []
    assert site.told() == ["gpu.released"]


def test_a_reader_needs_no_lock(site: Site) -> None:
    site.add(held())
    with exclusive(site.state.paths.gpu_lock):
        assert set(site.state.read().allocations) == {"a"}


def test_a_folder_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    (tmp_path / "var/log/ds01").mkdir(parents=True)
    site = Site(tmp_path)
    site.add(held())
    assert site.folder == ["gpu-state.json", "gpu-state.lock"]


def test_a_lock_that_others_hold_for_long_is_said_to_be_busy(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    # A limit and no behaviour: twenty seconds of waiting would show nothing more.
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.05)
    site.add(held())
    with exclusive(site.state.paths.gpu_lock), pytest.raises(BusyError) as busy, site.state.change():
        pass
    assert busy.value.exit_code is ExitCode.BUSY
    assert busy.value.brief == f"another change of who holds which GPU is at work (pid {os.getpid()})"


def test_the_lock_of_a_killed_change_is_free_and_nothing_of_it_stays(site: Site) -> None:
    site.add(held())
    child = os.fork()
    if child == 0:
        with site.state.change() as book:
            book.ledger = Ledger()
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    site.add(held("b", gpu="1"))
    assert set(site.state.read().allocations) == {"a", "b"}


def test_a_temporary_file_that_a_killed_change_left_is_in_nobodys_way(site: Site) -> None:
    site.add(held())
    (site.file.parent / ".gpu-state.json.ds01-tmp").write_bytes(b"half of it")
    site.add(held("b", gpu="1"))
    assert (site.folder, set(site.state.read().allocations)) == (["gpu-state.json", "gpu-state.lock"], {"a", "b"})


# --- Damage -----------------------------------------------------------------------------------------------------------

DAMAGE = [
    pytest.param(b"", "it is empty", id="empty"),
    pytest.param(b"\0" * 512, "it is empty", id="zeros"),
    pytest.param(format_ledger(Ledger(), NOON)[:-9], "it is torn", id="torn"),
    pytest.param(b'{"version": 9}', "it has version 9, this DS01 reads version 1", id="foreign version"),
    pytest.param(
        format_ledger(Ledger(), NOON).replace(b"03-01", b"03-02"),
        "it was edited by hand, or by another program",
        id="edited",
    ),
]


@pytest.mark.parametrize(("content", "why"), DAMAGE)
def test_damage_is_kept_aside_and_rebuilt_from_docker_with_one_warning(
    content: bytes, why: str, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.file.write_bytes(content)
    site.present = [container("a")]
    with caplog.at_level(logging.DEBUG):
        site.add(held("b", gpu="1"))
        site.add(held("c", gpu="2"))
    aside = site.file.with_name("gpu-state.json.damaged-20260301T120000Z")
    assert aside.read_bytes() == content
    assert site.folder == ["gpu-state.json", aside.name, "gpu-state.lock"]
    assert set(site.state.read().allocations) == {"a", "b", "c"}
    [warning] = caplog.records
    assert warning.levelno == logging.WARNING
    assert warning.getMessage().startswith(f"{site.file} could not be believed: {why}")
    assert f"It is kept as {aside}; who holds which GPU was rebuilt from Docker." in warning.getMessage()
    assert site.told() == ["gpu.adopted", "gpu.state_rebuilt"]


def test_a_damaged_file_that_was_kept_before_stays(site: Site) -> None:
    contents = [b"first", b"second", b"third"]
    for content in contents:
        site.file.write_bytes(content)
        site.add(held())
    kept = [site.file.with_name(f"gpu-state.json.damaged-20260301T120000Z{end}") for end in ("", ".1", ".2")]
    assert [path.read_bytes() for path in kept] == contents


def test_a_link_that_leads_nowhere_takes_a_name_too(site: Site) -> None:
    taken = site.file.with_name("gpu-state.json.damaged-20260301T120000Z")
    taken.symlink_to("nowhere")
    site.file.write_bytes(b"")
    site.add(held())
    assert (taken.is_symlink(), taken.with_name(f"{taken.name}.1").read_bytes()) == (True, b"")


@pytest.mark.parametrize(("content", "why"), DAMAGE)
def test_damage_without_docker_refuses_and_leaves_the_file(content: bytes, why: str, site: Site) -> None:
    site.file.write_bytes(content)
    site.docker_runs = False
    with pytest.raises(GpuStateError) as refused, site.state.change():
        pytest.fail("nothing may be decided")
    assert refused.value.brief == "no GPU can be handed out: who holds which is not known"
    assert refused.value.details is not None
    assert refused.value.details.startswith(f"{site.file}: {why}")
    assert refused.value.details.endswith("it cannot be made from the containers there are: Docker does not answer")
    assert (site.file.read_bytes(), site.folder, site.told()) == (content, ["gpu-state.json", "gpu-state.lock"], [])


def test_damage_is_told_to_those_who_only_look(site: Site) -> None:
    site.file.write_bytes(b"")
    with pytest.raises(GpuStateError) as refused:
        site.state.read()
    assert refused.value.render() == (
        f"{site.file} cannot be believed\nit is empty\nTo fix: sudo ds01 gpu reconcile rebuilds it"
    )
    assert site.file.read_bytes() == b""


def make_link(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.write_bytes(format_ledger(Ledger(boot=Machine().boot_id()), NOON))
    path.symlink_to(target)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(f"/proc/self/fd/{(fd := os.open(path.parent, os.O_RDONLY))}/{path.name}")
        os.close(fd)


@pytest.mark.parametrize("make", [make_link, make_socket, os.mkfifo, Path.mkdir])
def test_what_is_no_file_is_kept_aside_too(make: Callable[[Path], None], site: Site) -> None:
    make(site.file)
    kind = stat.S_IFMT(site.file.lstat().st_mode)
    site.present = [container("a")]
    site.add(held("b", gpu="1"))
    aside = site.file.with_name("gpu-state.json.damaged-20260301T120000Z")
    assert stat.S_IFMT(aside.lstat().st_mode) == kind
    assert (site.file.is_symlink(), site.file.is_file()) == (False, True)
    assert set(site.state.read().allocations) == {"a", "b"}
    assert site.told() == ["gpu.adopted", "gpu.state_rebuilt"]


@needs_root
@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_root_does_not_believe_a_state_that_others_can_write(mode: int, site: Site) -> None:
    site.add(held())
    site.file.chmod(mode)
    with pytest.raises(GpuStateError, match="cannot be believed"):
        site.state.read()
    with site.state.change() as book:
        assert dict(book.ledger.allocations) == {}
    assert (site.told(), f"{stat.S_IMODE(site.file.stat().st_mode):04o}") == (["gpu.state_rebuilt"], "0644")


@needs_root
def test_root_does_not_believe_a_state_of_somebody_else(site: Site) -> None:
    site.add(held())
    os.chown(site.file, 65534, 65534)
    with site.state.change() as book:
        assert dict(book.ledger.allocations) == {}
    assert (site.told(), site.file.stat().st_uid) == (["gpu.state_rebuilt"], 0)


def test_a_state_that_is_far_too_large_is_damage(site: Site) -> None:
    with site.file.open("wb") as out:
        out.truncate(64 * 1024**2 + 1)
    site.add(held())
    assert (set(site.state.read().allocations), site.told()) == ({"a"}, ["gpu.state_rebuilt"])


# --- The first change -------------------------------------------------------------------------------------------------


def test_where_nothing_was_ever_handed_out_docker_is_asked_first(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.present = [container("a")]
    with pytest.raises(GpuStateError, match="no GPU was ever handed out here"):
        site.state.read()
    with site.state.change() as book:
        assert set(book.ledger.allocations) == {"a"}
    assert (site.asked, site.told(), caplog.records) == (1, ["gpu.adopted"], [])


def test_where_nothing_was_ever_handed_out_nothing_is_without_docker(site: Site) -> None:
    site.docker_runs = False
    with pytest.raises(GpuStateError, match="who holds which is not known") as refused, site.state.change():
        pytest.fail("nothing may be decided")
    assert (
        refused.value.details == f"{site.file}: there is none yet;"
        " and it cannot be made from the containers there are: Docker does not answer"
    )
    assert site.folder == ["gpu-state.lock"]


def test_docker_is_asked_once_a_boot(site: Site) -> None:
    for name in ("a", "b", "c"):
        site.add(held(name, gpu=name, reservation=Reservation(this_process())))
    assert site.asked == 1


def test_the_first_change_after_another_boot_asks_docker(site: Site) -> None:
    """A running container keeps its unit; what was only reserved is nobody's now, whoever has the process's number."""
    before = replace(this_process(), boot="another boot")
    kept, reserved = held(container_id="a-docker-id"), held("b", gpu="1", reservation=Reservation(before))
    waiter = Waiter("w", "bob", None, Count(1), 10, NOON, before)
    written_by(site, Ledger({"a": kept, "b": reserved}, (waiter,), "another boot"))
    site.present = [container("a")]
    with site.state.change() as book:
        assert dict(book.ledger.allocations) == {"a": kept}
        assert book.ledger.queue == ()
    assert (site.asked, site.told()) == (1, ["gpu.expired"])
    assert parse_ledger(site.file.read_bytes()).boot == Machine().boot_id()


def test_after_another_boot_nothing_is_handed_out_without_docker(site: Site) -> None:
    content = written_by(site, Ledger({"a": held()}, (), "another boot"))
    site.docker_runs = False
    with pytest.raises(GpuStateError) as refused, site.state.change():
        pytest.fail("nothing may be decided")
    assert refused.value.details is not None
    assert "it is from before the last boot" in refused.value.details
    assert site.file.read_bytes() == content


# --- The disk ---------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(site: Site) -> Iterator[Path]:
    folder = site.file.parent
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "none", folder], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> Path:
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as out, suppress(OSError):
        while True:
            out.write(bytes(4096))
    assert os.statvfs(folder).f_bavail == 0
    return filler


@needs_root
def test_on_a_full_disk_nothing_is_changed_and_nothing_is_lost(site: Site) -> None:
    with small_disk(site) as folder:
        site.add(held())
        before = site.file.read_bytes()
        filler = fill(folder)
        with pytest.raises(GpuStateError) as refused, site.state.change() as book:  # noqa: PT012 - all one change
            book.ledger = book.ledger.granted(held("b", gpu="1"))
            book.note("gpu.allocated", "alice", {})
        assert refused.value.render() == (
            f"{site.file} cannot be written, so nothing was changed\nNo space left on device\n"
            "To fix: make room on the disk (df -h), then try again"
        )
        assert (site.file.read_bytes(), site.told()) == (before, [])
        assert site.folder == ["filler", "gpu-state.json", "gpu-state.lock"]
        assert set(site.state.read().allocations) == {"a"}
        filler.unlink()
        site.add(held("b", gpu="1"))
        assert set(site.state.read().allocations) == {"a", "b"}


@needs_root
def test_damage_on_a_full_disk_stays_where_it_is(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with small_disk(site) as folder:
        site.add(held())
        site.file.write_bytes(b"{")
        filler = fill(folder)
        for _ in range(2):
            with pytest.raises(GpuStateError, match="cannot be written, so nothing was changed"), site.state.change():
                pass
        assert (site.file.read_bytes(), site.folder) == (b"{", ["filler", "gpu-state.json", "gpu-state.lock"])
        assert (caplog.records, site.told()) == ([], [])
        filler.unlink()
        with site.state.change():
            pass
        assert (len(caplog.records), site.told()) == (1, ["gpu.state_rebuilt"])


@needs_root
def test_a_disk_that_may_only_be_read_is_named(site: Site) -> None:
    with small_disk(site) as folder:
        site.add(held())
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        assert set(site.state.read().allocations) == {"a"}
        with pytest.raises(GpuStateError) as refused, site.state.change():
            pass
    assert refused.value.render() == (
        f"{site.state.paths.gpu_lock} cannot be opened\nRead-only file system\n"
        "To fix: look at what is there and at the disk (df -h)"
    )


HOLDER = """
import sys, time
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from pathlib import Path
from tests.unit.runtime.gpu.sites import Site
with Site(Path(sys.argv[3])).gpus.state.change():
    print("held", flush=True)
    sys.stdin.readline()
print("given back", flush=True)
"""


def test_who_is_stopped_by_a_terminal_gives_the_lock_back_first(tmp_path: Path) -> None:
    checkout = Path(__file__).resolve().parents[4]
    argv = [sys.executable, "-c", HOLDER, os.fspath(checkout), os.fspath(checkout / "scripts"), os.fspath(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdin is not None
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            holder.send_signal(signal.SIGTSTP)
            holder.stdin.write("\n")
            holder.stdin.flush()
            with exclusive(HostPaths(tmp_path).gpu_lock, wait_seconds=30):
                pass
            holder.send_signal(signal.SIGCONT)
            assert holder.stdout.readline() == "given back\n"
        finally:
            holder.kill()


@pytest.mark.parametrize(
    ("make", "why"),
    [(make_link, "Too many levels of symbolic links"), (Path.mkdir, "Is a directory")],
    ids=["link", "folder"],
)
def test_what_is_no_lock_is_refused(make: Callable[[Path], None], why: str, site: Site) -> None:
    make(site.state.paths.gpu_lock)
    with pytest.raises(GpuStateError) as refused, site.state.change():
        pytest.fail("nothing may be decided")
    assert (refused.value.brief, refused.value.details) == (f"{site.state.paths.gpu_lock} cannot be opened", why)
    assert not site.file.exists()


def test_a_pipe_in_place_of_the_lock_hangs_nobody_and_locks_as_well(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.05)
    os.mkfifo(site.state.paths.gpu_lock)
    with site.state.change() as book:
        book.ledger = book.ledger.granted(held())
        with pytest.raises(BusyError), site.state.change():
            pass
    assert set(site.state.read().allocations) == {"a"}


# --- Without root -----------------------------------------------------------------------------------------------------

AS_NOBODY = """
import os, sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from pathlib import Path
from tests.unit.runtime.gpu.test_state import Site, held
from ds01.core.errors import Ds01Error
site = Site(Path(sys.argv[3]))
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
print(sorted(site.state.read().allocations))
try:
    site.add(held("b", gpu="1"))
except Ds01Error as error:
    print(error.render())
"""


@needs_root
def test_without_root_one_can_look_and_change_nothing() -> None:
    checkout = Path(__file__).resolve().parents[4]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for part in ("var/lib/ds01", "var/log/ds01"):
            (Path(folder) / part).mkdir(parents=True)
        site = Site(Path(folder))
        site.add(held())
        argv = [sys.executable, "-c", AS_NOBODY, checkout / "scripts", checkout, folder]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        after = set(site.state.read().allocations)
    assert (done.stdout.splitlines(), done.stderr) == (
        [
            "['a']",
            f"{site.state.paths.gpu_lock} cannot be opened",
            "Permission denied",
            "To fix: who holds which GPU is changed by root (sudo)",
        ],
        "",
    )
    assert after == {"a"}


# --- Processes and clocks ---------------------------------------------------------------------------------------------


def waiting(name: str, process: ProcessRef) -> Waiter:
    return Waiter(name, "bob", None, Count(1), 10, NOON, process)


def test_dead_waiters_are_left_out_of_the_line(site: Site) -> None:
    with site.state.change() as book:
        book.ledger = book.ledger.waiting(waiting("alive", this_process())).waiting(waiting("dead", GONE))
    assert [each.id for each in site.state.read().queue] == ["alive"]
    assert [each.id for each in parse_ledger(site.file.read_bytes()).queue] == ["alive", "dead"]
    with site.state.change():
        pass
    assert [each.id for each in parse_ledger(site.file.read_bytes()).queue] == ["alive"]


def test_it_is_noted_once_when_a_reservation_lost_its_process(site: Site) -> None:
    site.add(held(reservation=Reservation(GONE)))
    seen = []
    for seconds in (1010.0, 1050.0):
        site.boot_seconds = seconds
        with site.state.change() as book:
            seen.append(book.ledger.allocations["a"].reservation)
    assert seen == [Reservation(GONE, 1010.0)] * 2


def test_a_reservation_lapses_by_the_clock_that_nobody_can_set(site: Site) -> None:
    site.add(held(reservation=Reservation(GONE)))
    gone = []
    for seconds, days in ((1010.0, 0), (1069.9, 400), (1070.0, -400)):
        site.boot_seconds, site.now = seconds, NOON + timedelta(days=days)
        with site.state.change() as book:
            site.state.reconcile(book)
            gone.append("a" not in book.ledger.allocations)
    assert gone == [False, False, True]


def test_a_reservation_of_a_living_process_never_lapses(site: Site) -> None:
    site.add(held(reservation=Reservation(this_process())))
    site.boot_seconds, site.now = 10.0**7, NOON + timedelta(days=400)
    with site.state.change() as book:
        site.state.reconcile(book)
        assert set(book.ledger.allocations) == {"a"}


def test_a_clock_that_was_set_back_keeps_everything(site: Site) -> None:
    site.add(held(reservation=Reservation(this_process())))
    site.now = NOON - timedelta(days=10_000)
    site.add(held("b", gpu="1", reservation=Reservation(this_process())))
    assert set(site.state.read().allocations) == {"a", "b"}
    assert json.loads(site.file.read_bytes())["last_updated"] == "1998-10-14T12:00:00Z"


def test_those_who_only_look_change_nothing(site: Site) -> None:
    site.add(held(reservation=Reservation(GONE)))
    before = site.file.read_bytes()
    site.boot_seconds = 2000.0
    found = read_ledger(site.state.paths, site.state.machine)
    assert found.allocations["a"].reservation == Reservation(GONE, 2000.0)
    assert (site.file.read_bytes(), site.asked) == (before, 1)


def test_where_others_cannot_be_seen_nobody_is_taken_for_dead(site: Site, tmp_path: Path) -> None:
    waiter = Waiter("w", "bob", "nb", Count(1), 10, NOON, GONE)
    with site.state.change() as book:
        book.ledger = book.ledger.granted(held(reservation=Reservation(GONE))).waiting(waiter)
    hidden = tmp_path / "proc"
    (hidden / "sys/kernel/random").mkdir(parents=True)
    (hidden / "sys/kernel/random/boot_id").write_text(GONE.boot)
    machine = replace(site.state.machine, proc=hidden)
    found = read_ledger(site.state.paths, machine)
    assert (found.queue, found.allocations["a"].reservation) == ((waiter,), Reservation(GONE))
    with replace(site.state, machine=machine).change() as book:
        assert book.ledger == found
    assert read_ledger(site.state.paths, site.state.machine).queue == ()
