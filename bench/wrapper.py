"""What the docker command costs before the client: passing through, admitting a container; on a real engine."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from groups import lay_down
from measure import BenchError, Command, Timing, interleave
from section import Lab, Row, Section, Verdict

if TYPE_CHECKING:
    from tests.integration.wrapper_host import WrapperHost

ROUNDS: Final = 25
_PASS: Final = "python -I -S -c pass"
_HELPER: Final = "helper, run without a GPU"
_OWNER: Final = "helper, exec: whose container"
_PAIRS: Final = {
    "docker version": ("version", "--format", "{{.Client.Version}}"),
    "docker ps": ("ps",),
    "docker exec": ("exec", "bench", "true"),
    "docker run": ("run", "--rm", "--network=none", "busybox:latest", "true"),
}
_BUDGET_PASS_MS: Final = 5
_BUDGET_ADMISSION_MS: Final = 30
_WORDS: Final = f"""
Each command by itself, and through the wrapper; the ratio is to the bare client's. `docker version` and `docker ps`
pass through by one exec; `exec` asks the helper whose the container is, `run` whether it may start. The helper's own
rows are a shell that pipes one request into it, as the wrapper does, as an installed command starts; their ratio is
to the same shell with `{_PASS}`. sudo, which an ordinary account's wrapper calls, is not in them. The account has
three containers, the engine is Docker 20.10; control groups are files laid down for it.
"""


def measure(lab: Lab) -> Section:
    """Time the client with and without the wrapper, and the helper alone, in one run."""
    sys.path[:0] = [str(lab.checkout), str(lab.checkout / "scripts")]
    from tests.engine.daemon import Daemon  # noqa: PLC0415 - only where this is measured
    from tests.engine.packages import EngineMissingError, cache_folder, unpacked  # noqa: PLC0415
    from tests.integration.wrapper_host import ALICE, make_host  # noqa: PLC0415

    try:
        with Daemon(unpacked(cache_folder())) as engine:
            os.environ.update(engine.environment)
            host = make_host(lab.folder)
            _launch_as_installed(lab, host)
            lay_down(host.paths.cgroup, ALICE, 3)
            host.override(max_containers=1000)
            engine.docker("run", "-d", "--name", "bench", "-l", f"ds01.user={ALICE}", "busybox:latest", "sleep", "9000")
            timings = interleave(_commands(lab, host), 1 if lab.quick else ROUNDS, lab.folder)
    except EngineMissingError as error:
        raise BenchError(f"no engine of its own can be started: {error}") from error
    return Section("wrapper", "The docker command", _WORDS, tuple(_rows(timings)), tuple(_verdicts(timings)))


def _commands(lab: Lab, host: WrapperHost) -> list[Command]:
    environment = host.env()
    client = os.fspath(host.paths.docker_client)
    commands = []
    for name, words in _PAIRS.items():
        commands += [
            Command(name, (client, *words), environment=environment),
            Command(f"{name}, wrapped", (host.wrapper, *words), environment=environment),
        ]
    python = shlex.quote(str(lab.checkout / ".venv/bin/python"))
    return [
        *commands,
        Command(_PASS, ("bash", "-c", f"printf x | {python} -I -S -c pass")),
        _asks(_HELPER, host, environment, ("run", "-d", "busybox", "true")),
        _asks(_OWNER, host, environment, ("exec", "bench", "true")),
    ]


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
        base = timings[name.removesuffix(", wrapped")] if name in timings and "helper" not in name else timings[_PASS]
        rows.append(Row(name, timing, f"{timing.wall / base.wall:.2f} x"))
    return rows


def _verdicts(timings: dict[str, Timing]) -> list[Verdict]:
    found = []
    for name in ("docker version", "docker ps"):
        more = (timings[f"{name}, wrapped"].fastest - timings[name].fastest) * 1000
        budget = f"≤ {_BUDGET_PASS_MS} ms over the bare client"
        found.append(Verdict(f"{name}, wrapped", budget, f"{more:.1f} ms, fastest runs", met=more <= _BUDGET_PASS_MS))
    more = (timings[_HELPER].fastest - timings[_PASS].fastest) * 1000
    budget = f"≤ {_BUDGET_ADMISSION_MS} ms over {_PASS}"
    found.append(Verdict(_HELPER, budget, f"{more:.0f} ms, fastest runs", met=more <= _BUDGET_ADMISSION_MS))
    return found
