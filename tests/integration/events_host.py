"""A host below a folder with the events daemon on it, as a process of its own, and what it wrote."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.integration.wrapper_host import SCRIPTS, WrapperHost, until

from ds01.runtime.containers.look import read_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ds01.core.events import Event

_PROGRAM: Final = "import sys; from ds01.runtime.commands.eventsd import main; sys.exit(main(sys.argv[1:]))"


@dataclass
class EventsHost:
    """The host, and its daemon."""

    host: WrapperHost
    daemon: subprocess.Popen[bytes] | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.host.folder / "eventsd.log"

    # --- The daemon -----------------------------------------------------------------------------------------------

    def start(self, *words: str) -> None:
        """Start the daemon; what happens from now on is told."""
        assert self.daemon is None
        argv = [sys.executable, "-P", "-c", _PROGRAM, "--root", os.fspath(self.host.paths.root), *words]
        own = {"PATH": os.environ["PATH"], "PYTHONPATH": os.fspath(SCRIPTS), "LANG": "C.UTF-8"}
        environment = {**own, **self.host.environment}
        with self.log.open("ab") as out:
            self.daemon = subprocess.Popen(argv, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        stat = self.host.paths.containers
        before = stat.stat().st_mtime_ns if stat.exists() else 0
        if before == 0:
            until(stat.exists)

    def end(self, number: int = signal.SIGTERM) -> int:
        """End the daemon by a signal; returns its exit code."""
        assert self.daemon is not None
        daemon, self.daemon = self.daemon, None
        daemon.send_signal(number)
        return daemon.wait(30)

    def said(self) -> str:
        return self.log.read_text()

    # --- What it wrote --------------------------------------------------------------------------------------------

    def events(self, prefix: str) -> list[Event]:
        """What happened to containers whose name begins so, as the daemon tells it."""
        named = [each for each in self.host.events() if each.event_type.startswith("container.")]
        return [each for each in named if str(each.details["container"]).startswith(prefix)]

    def told(self, prefix: str) -> list[str]:
        """Type and name of each, without what begins with the prefix, with a mark for what was reconstructed."""

        def brief(event: Event) -> str:
            mark = "*" if event.details.get("reconstructed") else ""
            name = str(event.details["container"]).removeprefix(prefix).lstrip("-")
            return f"{event.event_type.removeprefix('container.')} {name}{mark}".strip()

        return [brief(each) for each in self.events(prefix)]

    def twice(self, prefix: str) -> dict[tuple[str, str, object], int]:
        """What was told twice: the same message, or that one container came to be or was gone."""
        found: Counter[tuple[str, str, object]] = Counter()
        for each in self.events(prefix):
            once = each.event_type in {"container.create", "container.destroy", "container.bypass"}
            found[
                each.event_type, str(each.details["container_id"]), None if once else each.details.get("time_nano")
            ] += 1
        return {key: number for key, number in found.items() if number > 1}

    def gaps(self) -> list[Mapping[str, Any]]:
        return [each.details for each in self.host.events() if each.event_type == "events.gap"]

    def known(self, prefix: str = "") -> dict[str, tuple[str, str]]:
        """Name and state by id, as containers.json has them."""
        rows = read_record(self.host.paths).rows.values()
        return {row.id: (row.name, row.state.value) for row in rows if row.name.startswith(prefix)}

    def expect(self, prefix: str, *told: str) -> None:
        """Wait until the log tells just that, and only that, of containers whose name begins so."""
        until(lambda: len(self.told(prefix)) >= len(told))
        found = self.told(prefix)
        assert found == list(told), found

    def owners(self) -> Mapping[str, Any]:
        found = json.loads(self.host.paths.container_owners.read_text())
        assert isinstance(found, dict)
        return found
