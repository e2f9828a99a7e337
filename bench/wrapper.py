"""What the docker command costs before the client: passing through, admitting a container; on a real engine."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from groups import lay_down
from measure import BenchError, Command, Timing, interleave
from section import Lab, Row, Section, Verdict
from sudorule import let_everybody_ask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.integration.wrapper_host import WrapperHost

ROUNDS: Final = 25
_PASS: Final = "python -I -S -c pass"
_HELPER: Final = "helper, run without a GPU"
_OWNER: Final = "helper, exec: whose container"
_LIST: Final = "helper, ps: which containers"
_ADMINS_LIST: Final = "docker ps of an administrator"
_PLAIN_LIST: Final = "docker ps"
# Pass through by one exec; each of them with the budget.
_PASSING: Final = ("docker version", "docker images", _ADMINS_LIST, _PLAIN_LIST)
# Ask the helper, so an ordinary account's need sudo; of a list the filter since= does.
_ASKED_LIST: Final = "docker ps, since one's own"
_ASKING: Final = (_ASKED_LIST, "docker exec", "docker run")
_LINES: Final = {
    "docker version": ("version", "--format", "{{.Client.Version}}"),
    "docker images": ("images",),
    _ADMINS_LIST: ("ps",),
    _PLAIN_LIST: ("ps",),
    _ASKED_LIST: ("ps", "--filter=since=bench"),
    "docker exec": ("exec", "bench", "true"),
    "docker run": ("run", "--rm", "--network=none", "busybox:latest", "true"),
}
_BUDGET_PASS_MS: Final = 5
_BUDGET_ADMISSION_MS: Final = 30
_WORDS: Final = f"""
Each command by itself, and through the wrapper; the ratio is to the bare client's. All of it is an ordinary account's
process, whom the real sudo lets ask by DS01's own rule; where sudo cannot be had, those rows are missing. `docker
version`, `docker images` and `docker ps` pass through by one exec, an ordinary account's `ps` because `/run/ds01/lists`
says that the label tells all; where it does not, and with `since=`, `ps` asks the helper which containers are the
account's to touch, `exec` whose one is, `run` whether it may start. The helper's own rows are a
shell that pipes one request into it, as the wrapper does, without sudo; their ratio is to the same shell with
`{_PASS}`. Three containers are somebody's and one is nobody's, which no ordinary account may touch; the engine is
Docker 20.10; control groups are files laid down for it.
"""


def measure(lab: Lab) -> Section:
    """Time the client with and without the wrapper, and the helper alone, in one run."""
    sys.path[:0] = [str(lab.checkout), str(lab.checkout / "scripts")]
    from tests.engine.daemon import Daemon  # noqa: PLC0415 - only where this is measured
    from tests.engine.packages import EngineMissingError, cache_folder, unpacked  # noqa: PLC0415
    from tests.integration.wrapper_host import ALICE, BOB, make_host  # noqa: PLC0415

    try:
        with Daemon(unpacked(cache_folder())) as engine:
            os.environ.update(engine.environment)
            host = make_host(lab.folder)
            _launch_as_installed(lab, host)
            lay_down(host.paths.cgroup, ALICE, 3)
            host.override(max_containers=1000)
            host.change_policy(access_control={"unowned_containers": "deny"})
            sleep = ("busybox:latest", "sleep", "9000")
            engine.docker("run", "-d", "--name", "bench", "-l", f"ds01.user={ALICE}", *sleep)
            engine.docker("run", "-d", "-l", f"ds01.user={ALICE}", *sleep)
            engine.docker("run", "-d", "-l", f"ds01.user={BOB}", *sleep)
            engine.docker("run", "-d", *sleep)
            _open_to_everybody(lab, host, engine.socket)
            asking = let_everybody_ask(_rule(lab, host), lab.folder)
            with _lists_by_label(host):
                timings = interleave(_commands(lab, host, asking=asking), 1 if lab.quick else ROUNDS, lab.folder)
    except EngineMissingError as error:
        raise BenchError(f"no engine of its own can be started: {error}") from error
    return Section("wrapper", "The docker command", _WORDS, tuple(_rows(timings)), tuple(_verdicts(timings)))


def _open_to_everybody(lab: Lab, host: WrapperHost, socket: Path) -> None:
    """Let ordinary accounts reach the wrapper, the client and the engine, as on a host those in the group docker do."""
    socket.chmod(0o666)
    socket.parent.chmod(0o711)
    lab.folder.chmod(0o711)
    client = host.paths.docker_client
    real = client.resolve()
    client.unlink()
    shutil.copyfile(real, client)
    client.chmod(0o755)
    text = host.wrapper.read_text()
    host.wrapper.write_text(text.replace("ADMINS=(", f"ADMINS=({_admin()} "))


@contextmanager
def _lists_by_label(host: WrapperHost) -> Iterator[None]:
    """Say for as long as the block takes that the label tells all, as the events daemon would here."""
    from ds01.core.jsonstate import write_bytes  # noqa: PLC0415 - the checkout's own
    from ds01.runtime.containers.touch import lists_text  # noqa: PLC0415
    from ds01.runtime.telemetry.lists import GOOD_SECONDS  # noqa: PLC0415

    lists, ended = host.paths.lists, threading.Event()
    lists.parent.mkdir(parents=True, exist_ok=True)

    def renew() -> None:
        while True:
            write_bytes(lists, lists_text(frozenset(), int(time.time()) + GOOD_SECONDS).encode(), mode=0o644)
            if ended.wait(GOOD_SECONDS / 3):
                return

    renewing = threading.Thread(target=renew, daemon=True)
    renewing.start()
    while not lists.exists():
        time.sleep(0.01)
    try:
        yield
    finally:
        ended.set()
        renewing.join()


def _rule(lab: Lab, host: WrapperHost) -> str:
    text = (lab.checkout / "generated/ds01/root/etc/sudoers.d/ds01").read_text()
    return text.replace("/usr/local/sbin/ds01-docker-helper", os.fspath(host.helper))


def _admin() -> str:
    from tests.integration.wrapper_host import ADMIN  # noqa: PLC0415 - only where this is measured

    return ADMIN


def _account(name: str) -> tuple[str, ...]:
    from tests.integration.wrapper_host import ALICE  # noqa: PLC0415 - only where this is measured

    found = pwd.getpwnam(_admin() if name == _ADMINS_LIST else ALICE)
    return ("setpriv", f"--reuid={found.pw_uid}", f"--regid={found.pw_gid}", "--clear-groups", "--")


def _commands(lab: Lab, host: WrapperHost, *, asking: bool) -> list[Command]:
    environment = host.env()
    # What is the caller's own goes for nothing behind sudo, which says itself who it is.
    people = {name: value for name, value in environment.items() if name != "SUDO_UID"}
    commands = []
    for name in (*_PASSING, *(_ASKING if asking else ())):
        become, words = _account(name), _LINES[name]
        commands += [
            Command(name, (*become, host.paths.docker_client, *words), environment=people),
            Command(f"{name}, wrapped", (*become, host.wrapper, *words), _is_in_order, environment=people),
        ]
    python = shlex.quote(str(lab.checkout / ".venv/bin/python"))
    return [
        *commands,
        Command(_PASS, ("bash", "-c", f"printf x | {python} -I -S -c pass")),
        _asks(_HELPER, host, environment, ("run", "-d", "busybox", "true")),
        _asks(_OWNER, host, environment, ("exec", "bench", "true")),
        _asks(_LIST, host, environment, ("ps",)),
    ]


def _is_in_order(said: str) -> str | None:
    return "the helper was not to be had" if "out of order" in said else None


def _asks(name: str, host: WrapperHost, environment: Mapping[str, str], words: tuple[str, ...]) -> Command:
    line = " ".join(map(shlex.quote, words))
    ask = f"printf '%s\\0' 1 $$ C.UTF-8 '' '' '' {line} | {shlex.quote(str(host.helper))} | tr '\\0' ' '"
    return Command(name, ("bash", "-c", ask), lambda said: None if said.startswith("run ") else said, None, environment)


def _launch_as_installed(lab: Lab, host: WrapperHost) -> None:
    """Start the helper as a release's own command does: without the module site."""
    python, scripts = lab.checkout / ".venv/bin/python", lab.checkout / "scripts"
    host.helper.write_text(
        f"#!{python} -ISXutf8\nimport gc\nimport sys\n\ngc.set_threshold(50000)\nsys.path.append({str(scripts)!r})\n"
        "from pathlib import Path\nfrom ds01.runtime.commands.docker_helper import main\n\n"
        f"sys.exit(main(Path({str(host.paths.root)!r})))\n"
    )


def _rows(timings: dict[str, Timing]) -> list[Row]:
    rows = []
    for name, timing in timings.items():
        base = timings[_PASS if name.startswith("helper") else name.removesuffix(", wrapped")]
        rows.append(Row(name, timing, f"{timing.wall / base.wall:.2f} x"))
    return rows


def _verdicts(timings: dict[str, Timing]) -> list[Verdict]:
    found = []
    for name in _PASSING:
        more = (timings[f"{name}, wrapped"].fastest - timings[name].fastest) * 1000
        budget = f"≤ {_BUDGET_PASS_MS} ms over the bare client"
        found.append(Verdict(f"{name}, wrapped", budget, f"{more:.1f} ms, fastest runs", met=more <= _BUDGET_PASS_MS))
    for name in (_HELPER, _LIST):
        more = (timings[name].fastest - timings[_PASS].fastest) * 1000
        budget = f"≤ {_BUDGET_ADMISSION_MS} ms over {_PASS}"
        found.append(Verdict(name, budget, f"{more:.0f} ms, fastest runs", met=more <= _BUDGET_ADMISSION_MS))
    return found
