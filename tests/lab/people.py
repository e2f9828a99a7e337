"""People who log in and use docker as on any server: members of the group docker, through DS01's wrapper."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any, Final

from tests.lab.containers import CGROUP, CLIENT, Slice, remove_all
from tests.lab.host import deploy, override

if TYPE_CHECKING:
    from tests.lab.machine.machine import Machine

    from ds01.core.process import Completed

WRAPPER: Final = "/usr/local/bin/docker"
HELPER: Final = "/usr/local/sbin/ds01-docker-helper"
PAGES: Final = "/var/lib/ds01/pages"
SLEEP: Final = ("busybox", "sleep", "6000")
MIB: Final = 1 << 20
# Two containers of what one may have fit, and a third does not.
ONE, ALL = 96 * MIB, 256 * MIB
MOST: Final = 3
ALICE: Final = """\
  alice:
    {memory: 96M, max_containers: 3, max_cpus: 0.5, pids_limit: 64, shm_size: 16M,
     aggregate: {memory_max: 256M, memory_high: null}}
"""


def open_house(machine: Machine) -> None:
    """Deploy with small limits for alice, and let alice and bob use Docker."""
    machine.script("for name in alice bob; do gpasswd --add $name docker; done")
    override(machine, ALICE)
    deploy(machine, "--restart-docker")


def tidy(machine: Machine) -> None:
    """Remove all containers, and forget refusals: after some within an hour their boxes get short."""
    remove_all(machine)
    machine.script(f"rm -f {PAGES}/*.json")


def slice_of_alice(machine: Machine) -> Slice:
    return Slice.of(machine, "student", "alice")


def docker(machine: Machine, *words: str, user: str = "alice", **more: Any) -> Completed:
    """Run what somebody types."""
    return machine.run(["docker", *words], user=user, **more)


def started(machine: Machine, *words: str) -> str:
    """Start a container of alice's; return its id."""
    return machine.must(["docker", "run", "--detach", *words], user="alice").strip()


def inspect(machine: Machine, container: str) -> dict[str, Any]:
    (found,) = json.loads(machine.must([CLIENT, "inspect", container]))
    return dict(found)


def cgroup_of(machine: Machine, container: str) -> str:
    """Return where a container's first process is, below the root of the control groups."""
    pid = inspect(machine, container)["State"]["Pid"]
    return machine.must(["cat", f"/proc/{pid}/cgroup"]).strip().removeprefix("0::")


def kernel(machine: Machine, path: str, *names: str) -> dict[str, str]:
    """Return what files of a control group say."""
    return {name: machine.must(["cat", f"{CGROUP}{path}/{name}"]).strip() for name in names}


def at_terminal(machine: Machine, *steps: str, user: str = "alice") -> Completed:
    """Log somebody in at a terminal, in an interactive shell.

    Args:
        steps: shell commands of the one who sits there, run by root; what they print is typed.
    """
    typing = "; ".join(steps)
    return machine.run(["bash", "-c", f"({typing}) | script -qec {shlex.quote(f'su - {user}')} /dev/null"])


def typed(line: str) -> str:
    """Return the step that types a line."""
    return f"printf '%s\\n' {shlex.quote(line)}"
