"""docs/migration.md, run from the page itself on a machine that an older DS01 was deployed to.

The commands are those of the page, in its order; every one of them is run here. What the page promises is looked at
after each step: containers go on with the same process, nothing is mixed, what does not hold is named.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.older_host import CHECKOUT as OLDER_CHECKOUT
from tests.older_host import FILES, LINKS, UNITS, lay_older
from tests.older_host import OLDER as OLDER_WITHOUT_RUNTIME
from tests.older_host import OURS as OURS_WITHOUT_RUNTIME

from ds01.core.process import Completed

if TYPE_CHECKING:
    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

pytestmark = pytest.mark.lab

PAGE = Path(__file__).resolve().parents[2] / "docs" / "migration.md"
DEPLOY_SECONDS = 600
STUDENTS = "/ds01.slice/ds01-student.slice"
STATE = "/var/lib/ds01"

POLICY = """\
defaults:
  max_cpus: 1
  memory: 64m
  shm_size: 16m
  pids_limit: 128
  max_containers: 3
default_group: student
enforcement:
  gateway: off
groups:
  student:
    description: Students
  researcher:
    description: Researchers
    memory: 96m
  admin:
    description: Admins
    max_containers: null
    aggregate: null
"""
MEMBERS = {"student": "alice\nbob\nstudent01\n", "researcher": "j.doe@lab-x.org\n", "admin": "sysop\n"}
MAKER = f"""\
#!/bin/bash
# DS01: makes a slice for an account: create-user-slice.sh GROUP ACCOUNT
set -eu
part=${{2%%@*}}
unit=ds01-$1-${{part//[^A-Za-z0-9_]/_}}.slice
[ -e {UNITS}/$unit ] && exit
printf '[Unit]\\nDescription=DS01 %s - %s\\n\\n[Slice]\\nSlice=ds01-%s.slice\\n' "$1" "$2" "$1" >{UNITS}/$unit
mkdir -p {UNITS}/$unit.d
printf '[Slice]\\nMemoryMax=1G\\nTasksMax=512\\n' >{UNITS}/$unit.d/10-resource-limits.conf
systemctl daemon-reload
"""
# A service that stays, and a timer that ticks, so that something runs when its files are to go.
SERVICES = {
    f"{UNITS}/ds01-exporter.service": (
        "[Unit]\nDescription=DS01 Exporter\n\n[Service]\nExecStart=/bin/sleep infinity\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    ),
    f"{UNITS}/ds01-workload-detector.service": (
        "[Unit]\nDescription=DS01 Workloads\n\n[Service]\nType=oneshot\nExecStart=/bin/true\n"
    ),
}
DAEMON = {
    "exec-opts": ["native.cgroupdriver=systemd"],
    "cgroup-parent": "ds01.slice",
    "storage-driver": "overlay2",
    "log-opts": {"max-size": "10m"},
}


def blocks() -> Mapping[str, tuple[str, ...]]:
    """Return the commands of each section of the page, block by block."""
    found: dict[str, tuple[str, ...]] = {}
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        title, text = section.split("\n", 1)
        shown = re.findall(r"(?:^ {4}.*\n)+", text, flags=re.MULTILINE)
        found[title] = tuple(re.sub(r"^ {4}", "", block, flags=re.MULTILINE) for block in shown)
    return found


@dataclass
class Walk:
    """A machine on its way along the page, and which blocks were run on it."""

    machine: Machine
    done: set[tuple[str, int]] = field(default_factory=set)

    def block(self, title: str, number: int = 0) -> Completed:
        """Run a block as it stands on the page, answering yes; stops at its first failing command."""
        self.done.add((title, number))
        script = f"set -eu -o pipefail\ncd /srv/ds01\n{blocks()[title][number]}"
        return self.machine.run(["bash", "-c", script], stdin="y\n", timeout_seconds=DEPLOY_SECONDS)

    def good(self, title: str, number: int = 0) -> Completed:
        """Run a block that has to succeed."""
        done = self.block(title, number)
        assert done.code == 0, f"{title}: {done.stdout}{done.stderr}"
        return done

    def inv(self, *words: str) -> Completed:
        return self.machine.run(["/srv/ds01/inv", *words], timeout_seconds=DEPLOY_SECONDS)

    def containers(self) -> dict[str, tuple[str, str, str]]:
        """Return process, start and control group of every running container."""
        ids = self.machine.must(["/usr/bin/docker", "ps", "--quiet"]).split()
        form = "{{.Name}} {{.State.Pid}} {{.State.StartedAt}}"
        rows = self.machine.must(["/usr/bin/docker", "inspect", "--format", form, *ids]).splitlines() if ids else []
        found = {}
        for name, pid, started in (row.split() for row in rows):
            cgroup = self.machine.must(["cat", f"/proc/{pid}/cgroup"]).strip().removeprefix("0::")
            found[name.lstrip("/")] = (pid, started, cgroup.rsplit("/", 1)[0])
        return found

    def there(self, *paths: str) -> list[str]:
        """Return which paths are there, also as links that lead nowhere."""
        script = 'for path; do if [ -e "$path" ] || [ -L "$path" ]; then echo "$path"; fi; done'
        return self.machine.must(["bash", "-c", script, "bash", *paths]).splitlines()

    def limit(self, unit: str, name: str = "MemoryMax") -> str:
        return self.machine.must(["systemctl", "show", "--value", f"--property={name}", unit]).strip()


def top_folder(factory: pytest.TempPathFactory) -> Path:
    """Return a folder that can be laid over a machine's root, whose mode it gives to it."""
    folder = factory.mktemp("machine") / "root"
    folder.mkdir(mode=0o755)
    return folder


def make_older(machine: Machine, folder: Path) -> None:
    """Make the machine a server of an older DS01: files, services, people in group docker, daemon.json, state."""
    lay_older(folder)
    (folder / "etc/pam.d/common-session").unlink()  # the machine's own stays
    more = {
        **SERVICES,
        f"{OLDER_CHECKOUT}/scripts/system/create-user-slice.sh": MAKER,
        f"{OLDER_CHECKOUT}/config/runtime/resource-limits.yaml": POLICY,
        **{f"{OLDER_CHECKOUT}/config/runtime/groups/{group}.members": names for group, names in MEMBERS.items()},
        "/etc/docker/daemon.json": json.dumps(DAEMON, indent=4),
    }
    for path, text in more.items():
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if path.endswith(".sh") else 0o644)
    machine.push(folder, "/")
    # As the older deploy left it: people of the group docker may write the state, again and again.
    machine.script(
        f"""
        for name in alice bob j.doe@lab-x.org; do usermod -aG docker "$name" || gpasswd -a "$name" docker; done
        mkdir -p {STATE} /var/log/ds01
        chown root:docker {STATE} /var/log/ds01; chmod 0775 {STATE} /var/log/ds01
        systemctl daemon-reload
        systemctl start ds01-exporter.service ds01-workload-detector.timer
        systemctl restart docker.service
        """
    )


@pytest.fixture(scope="module")
def walk(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    with lab.prepared("migration") as machine:
        make_older(machine, top_folder(tmp_path_factory))
        yield Walk(machine)


MADE = f"{UNITS}/ds01-student-bob.slice"  # by the wrapper's sudo rule, once bob starts something
KEPT = ["/etc/cron.d/ds01-maintenance", "/usr/local/bin/container-create"]
# With the runtime comes a wrapper of DS01's own, in the place of the older one.
WRAPPER = "/usr/local/bin/docker"
OLDER = tuple(path for path in OLDER_WITHOUT_RUNTIME if path != WRAPPER)
OURS = (*sorted(OURS_WITHOUT_RUNTIME), WRAPPER)
SLEEP = ["busybox", "sleep", "infinity"]


def test_the_page_holds_on_a_live_server(walk: Walk) -> None:
    people_are_at_work(walk)
    started = walk.containers()
    for step in (copy_and_inventory, rehearse, plan, deploy, restart_and_make_anew, let_the_rest_go):
        step(walk)
        now = walk.containers()
        assert {name: now[name] for name in started} == started, step.__name__
    go_back(walk)


def people_are_at_work(walk: Walk) -> None:
    """Two through the wrapper, one beside it."""
    for user, name in (("alice", "alice-train"), ("bob", "bob-web")):
        walk.machine.must(["docker", "run", "--detach", "--name", name, *SLEEP], user=user)
    plain = ["/usr/bin/docker", "run", "--detach", "--name", "outside", "--cgroup-parent=system.slice"]
    walk.machine.must([*plain, *SLEEP])
    assert {name: cgroup for name, (_, _, cgroup) in walk.containers().items()} == {
        "alice-train": f"{STUDENTS}/ds01-student-alice.slice",
        "bob-web": f"{STUDENTS}/ds01-student-bob.slice",
        "outside": "/system.slice",
    }
    assert walk.there(MADE) == [MADE]


def copy_and_inventory(walk: Walk) -> None:
    assert "alice-train Up" in walk.good("1. Keep a copy, and look").stdout
    validated = walk.good("2. The inventory")
    assert validated.stdout.startswith("0 problems, "), validated.stderr


def rehearse(walk: Walk) -> None:
    """Everything on a copy, nothing on the machine."""
    before = walk.there(*OLDER, *OURS)
    done = walk.good("3. Rehearse on a copy")
    # Without the runtime, so the older wrapper goes with the rest.
    taken = len(OURS_WITHOUT_RUNTIME) + 1  # bob's limits too
    older = len(OLDER_WITHOUT_RUNTIME) + 1
    assert f" to add, 1 to change, {taken} to take over, 0 to remove, {older} older to remove" in done.stderr
    assert "\nPlan for lab on /root/rehearsal: 0 to add, 0 to change, 0 to remove, " in done.stdout
    assert walk.there(*OLDER, *OURS) == before


def plan(walk: Walk) -> None:
    """Files, containers, and what is in the way are named; nothing is deployed without a choice."""
    shown = walk.good("4. Plan").stdout
    first = shown.split("\nPlan for lab on /: ")[0]
    for path in (*OLDER, MADE):
        assert f"\no older {path}: " in first, path
    for path in OURS:
        assert f"\n! take over {path}: " in first, path
    outside = "runs outside DS01's slices (system.slice), so no limit over all containers of its account holds for it"
    assert f"Runs already: outside: {outside}; it carries no owner label. It goes on; " in first
    assert "Runs already: alice-train" not in shown
    assert f"Notice: deploy will refuse this: {STATE} can be written by others than root" in first
    assert f"\nx blocked {UNITS}/ds01-exporter.service belongs to ds01-exporter.service, which still runs" in shown
    assert walk.inv("deploy", "--yes", "--older", "remove").code == 4  # the state folder is not root's
    warn_of_what_does_not_fit(walk)


def warn_of_what_does_not_fit(walk: Walk) -> None:
    """A slice that holds more than it is to have is named before the kernel kills in it."""
    assert "Warning: ds01-student" not in walk.inv("plan").stdout
    fill = "dd if=/dev/zero of=/big/x bs=1M count=230 2>/dev/null; echo ready; sleep infinity"
    hog = ["docker", "run", "--detach", "--name", "hog", "--tmpfs", "/big", "busybox", "sh", "-c", fill]
    walk.machine.must(hog, user="alice")
    walk.machine.script("until docker logs hog | grep -q ready; do sleep 0.1; done")
    shown = walk.inv("plan").stdout
    assert re.search(
        r"\nWarning: ds01-student-alice\.slice holds 2[3-9]\dM and is to have 192M: the kernel will ", shown
    )
    walk.machine.must(["docker", "rm", "--force", "hog"])


def deploy(walk: Walk) -> None:
    walk.good("5. Choose")
    assert walk.inv("deploy", "--yes").code == 4  # no choice
    done = walk.good("6. Deploy")
    assert "Deployed generation 1: " in done.stderr
    assert walk.there(*OLDER, MADE) == KEPT
    for folder in (STATE, "/var/log/ds01"):
        assert walk.machine.must(["stat", "-c", "%a %U", folder]) == "755 root\n"
    walk.machine.must(["sh", "-c", ">/var/log/ds01/gpu-allocator.lock"], user="alice")
    three_containers = str(3 * 64 * 1024**2)
    assert walk.limit("ds01-student-alice.slice") == walk.limit("ds01-student-bob.slice") == three_containers
    assert walk.machine.run(["systemctl", "is-active", "ds01-exporter.service"]).stdout.strip() == "inactive"
    daemon = json.loads(walk.machine.must(["cat", "/etc/docker/daemon.json"]))
    assert daemon["log-opts"] == DAEMON["log-opts"]
    assert (daemon["cgroup-parent"], daemon["live-restore"]) == ("ds01-other.slice", True)
    assert "applied  FAILED" not in done.stdout
    assert "host     warning containers: 1 container outside DS01's slices" in done.stdout
    # What only enabled a unit went when it was disabled, by systemctl.
    gone = [path for path in (*OLDER, *OURS, MADE) if path not in KEPT and ".wants/" not in path]
    copies = [f"{STATE}/deploy/kept/000001{path}" for path in gone]
    assert walk.there(*copies) == copies


def restart_and_make_anew(walk: Walk) -> None:
    """Docker restarts, containers do not; what is made anew is where it belongs."""
    walk.good("7. The restart window")
    walk.good("8. Containers, one by one")
    walk.machine.must(["/usr/bin/docker", "run", "--detach", "--name", "bare", *SLEEP])
    now = walk.containers()
    assert {name: now[name][2] for name in ("anew", "by-hand", "bare")} == {
        "anew": f"{STUDENTS}/ds01-student-alice.slice",
        "by-hand": f"{STUDENTS}/ds01-student-bob.slice",
        "bare": "/ds01.slice/ds01-other.slice",
    }


def let_the_rest_go(walk: Walk) -> None:
    """What was kept is said each time, and goes when it is told to."""
    later = walk.inv("plan")
    assert f"Notice: left from an older DS01 by choice: {', '.join(KEPT)};" in later.stdout
    assert walk.inv("plan", "--check").code == 0
    walk.good("9. Afterwards")
    assert walk.there(*OLDER, MADE, OLDER_CHECKOUT) == []
    assert walk.inv("deploy", "--yes").stderr == "Nothing to do: the host is as the policy says.\n"


def go_back(walk: Walk) -> None:
    """One file comes back from its copy, then all of it from the archive."""
    machine, greeting = walk.machine, "/etc/profile.d/ds01-quota-greeting.sh"
    walk.good("The way back", 0)
    assert machine.must(["cat", greeting]) == FILES[greeting]
    assert f"left from an older DS01 by choice: {greeting};" in walk.inv("plan").stdout
    machine.script("docker ps --quiet | xargs docker rm --force")
    walk.good("The way back", 1)
    everything = [*OLDER, *OURS, MADE]
    assert walk.there(*everything) == everything
    assert {path: machine.must(["readlink", path]).strip() for path in LINKS} == LINKS
    assert json.loads(machine.must(["cat", "/etc/docker/daemon.json"])) == DAEMON
    assert machine.must(["stat", "-c", "%a %G", STATE]).strip() == "775 docker"
    assert walk.limit("ds01-student-alice.slice") == str(96 * 1024**3)
    machine.must(["docker", "run", "--rm", "busybox", "true"])


# --- a server where a filter stands before Docker's socket --------------------------------------------------------

REAL = "/var/run/docker-real.sock"
RELAY = f"""\
import socket, threading

def copy(source, target):
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)

def serve(client):
    real = socket.socket(socket.AF_UNIX)
    real.connect("{REAL}")
    threading.Thread(target=copy, args=(client, real), daemon=True).start()
    copy(real, client)

door = socket.socket(socket.AF_UNIX)
door.bind("/run/docker.sock")
door.listen()
while True:
    threading.Thread(target=serve, args=(door.accept()[0],), daemon=True).start()
"""
FILTER = f"""\
[Unit]
Description=DS01 Docker Filter
After=docker.service
Requires=docker.service

[Service]
ExecStartPre=/bin/rm -f /run/docker.sock
ExecStart=/usr/bin/python3 {OLDER_CHECKOUT}/scripts/docker/docker-filter-proxy.py
Restart=on-failure

[Install]
WantedBy=multi-user.target
"""
SOCKET = "[Service]\nExecStart=\nExecStart=/usr/sbin/dockerd\n"
THREE = [
    f"{UNITS}/docker.service.d/ds01-socket.conf",
    f"{UNITS}/ds01-docker-filter.service",
    f"{UNITS}/multi-user.target.wants/ds01-docker-filter.service",
]


@pytest.fixture(scope="module")
def filtered(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    folder = top_folder(tmp_path_factory)
    files = {
        "/etc/docker/daemon.json": json.dumps({**DAEMON, "hosts": [f"unix://{REAL}"]}),
        THREE[0]: SOCKET,
        THREE[1]: FILTER,
        f"{OLDER_CHECKOUT}/scripts/docker/docker-filter-proxy.py": RELAY,
    }
    for path, text in files.items():
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    with lab.prepared("filtered") as machine:
        machine.push(folder, "/")
        machine.script(
            "systemctl daemon-reload; systemctl restart docker.service;"
            " systemctl enable --now ds01-docker-filter.service; sleep 1; docker info >/dev/null"
        )
        yield Walk(machine)


def test_the_socket_filter_goes_with_what_it_needs_and_docker_has_its_socket_again(filtered: Walk) -> None:
    machine = filtered.machine
    machine.must(["docker", "run", "--detach", "--name", "work", "busybox", "sleep", "infinity"])
    started = filtered.containers()

    planned = filtered.inv("plan", "--older", "remove")
    assert planned.code == 0
    assert [line.split()[2] for line in planned.stdout.splitlines() if line.startswith("x blocked")] == THREE
    assert filtered.inv("deploy", "--older", "remove", "--yes").code == 4

    filtered.good("The socket filter", 0)
    assert (filtered.there(*THREE), filtered.containers()) == (THREE, started)

    done = filtered.good("The socket filter", 1)
    assert "Deployed generation 2: " in done.stderr
    assert filtered.there(*THREE, f"{UNITS}/docker.service.d") == []
    assert filtered.containers() == started  # by Docker's own socket
    assert "hosts" not in json.loads(machine.must(["cat", "/etc/docker/daemon.json"]))
    assert machine.must(["systemctl", "is-active", "docker.socket", "docker.service"]) == "active\nactive\n"


def test_every_command_of_the_page_was_run(walk: Walk, filtered: Walk) -> None:
    page = {(title, number) for title, shown in blocks().items() for number in range(len(shown))}
    assert walk.done | filtered.done == page
