"""What a login shows, over real login shells; that its numbers are the kernel's; and logins while DS01 is broken."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.lab.containers import CGROUP, SPIN, hold, states, wait_for
from tests.lab.machine.settings import Suite
from tests.lab.people import (
    MIB,
    PAGES,
    SLEEP,
    at_terminal,
    cgroup_of,
    docker,
    inspect,
    open_house,
    slice_of_alice,
    started,
    typed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

    from ds01.core.process import Completed

pytestmark = pytest.mark.lab

Evidence = Callable[[str], None] if TYPE_CHECKING else object
RATES = "/run/ds01/rates.json"
HELD_MIB = 40
# CPU shows as an average over a minute, taken every 15 s.
SOON_SECONDS = 90
# Between reading one number and the next, page cache and the kernel's own memory change a little.
MEMORY_TOLERANCE = 2 * MIB
CPU_TOLERANCE_PERCENT = 15


@pytest.fixture(scope="module")
def machine(lab: Lab) -> Iterator[Machine]:
    with lab.prepared("greeting", Suite.BOOKWORM) as machine:
        open_house(machine)
        yield machine


def login(machine: Machine, *lines: str, code: int = 0) -> str:
    """Log alice in, type lines, leave; return what the terminal showed, without colours."""
    seen = at_terminal(machine, *map(typed, lines), typed(f"exit {code}"))
    assert seen.code == code, seen.words
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.stdout).replace("\r", "")


def shown(text: str) -> dict[str, str]:
    """Return the words beside the bars of a greeting."""
    return dict(re.findall(r"^(Memory|Tasks|CPU|GPUs|Containers) +\[[^]]+\] (.*)$", text, re.MULTILINE))


def mebibytes_of(words: str) -> float:
    found = re.match(r"([0-9.]+)([KMG]) of ", words)
    assert found is not None, words
    return float(found[1]) * {"K": 1 / 1024, "M": 1, "G": 1024}[found[2]]


def working_set(machine: Machine) -> int:
    alice = slice_of_alice(machine)
    return alice.number("memory.current") - alice.counters("memory.stat")["inactive_file"]


def busy_percent(machine: Machine) -> float:
    """Return what rates.json says of alice's CPU; 0 before it says anything."""
    found = json.loads(machine.must(["cat", RATES]))["slices"].get("ds01-student-alice.slice", {})
    return float(found.get("cpu_percent", 0))


def test_a_login_shows_the_account_and_what_the_kernel_counts(machine: Machine, evidence: Evidence):
    wait_for("the first rates", lambda: machine.run(["test", "-e", RATES]).code == 0)
    assert machine.must(["systemctl", "is-active", "ds01-sampler"]) == "active\n"
    before = login(machine)
    assert "\nalice (student)\n" in f"\n{before}"
    assert shown(before)["Containers"] == "0 of 3"
    full = started(machine, "--name=full", "--memory=64M", "busybox", "sh", "-c", hold(HELD_MIB))
    busy = started(machine, "--name=busy", "--memory=16M", "busybox", "sh", "-c", SPIN)
    begin, alice = time.monotonic(), slice_of_alice(machine)
    used = alice.counters("cpu.stat")["usage_usec"]
    wait_for("memory in use", lambda: alice.number("memory.current") > HELD_MIB * MIB)
    assert cgroup_of(machine, busy) == f"{alice.path}/docker-{busy}.scope"

    while busy_percent(machine) < 20:
        assert time.monotonic() - begin < SOON_SECONDS, f"{busy_percent(machine)} percent of a busy container"
        time.sleep(2)
    evidence(f"a busy container shows after {time.monotonic() - begin:.0f} s: {busy_percent(machine)} percent")
    # A minute of the same load, so that all three speak of the same time.
    time.sleep(max(0.0, 65 - (time.monotonic() - begin)))
    text = login(machine, "check-limits --json >/tmp/limits.json")
    memory, tasks = working_set(machine), alice.number("pids.current")
    measured = (alice.counters("cpu.stat")["usage_usec"] - used) / (time.monotonic() - begin) / 1e4
    told: dict[str, Any] = json.loads(machine.must(["cat", "/tmp/limits.json"]))

    evidence("\n".join(line for line in text.splitlines() if "[" in line))
    evidence(f"kernel: {memory / MIB:.1f} MiB, {tasks} tasks, {measured:.0f} percent of a CPU since the start")
    words = shown(text)
    for figure in (mebibytes_of(words["Memory"]) * MIB, told["memory"]["used_bytes"]):
        assert abs(figure - memory) < MEMORY_TOLERANCE
    assert (told["memory"]["limit_bytes"], words["Memory"].partition(" of ")[2]) == (256 * MIB, "256M")
    assert (words["Tasks"], told["tasks"]["used"]) == (f"{tasks} of 192", tasks)
    assert (words["Containers"], told["containers"]["used"]) == ("2 of 3", 2)
    assert {each["name"]: each["id"] for each in told["containers"]["running"]} == {"full": full, "busy": busy}
    assert abs(told["cpu"]["used_percent"] - measured) < CPU_TOLERANCE_PERCENT
    assert words["CPU"].endswith(" of 1.5 CPUs")
    assert abs(float(words["CPU"].split()[0]) * 100 - told["cpu"]["used_percent"]) <= CPU_TOLERANCE_PERCENT
    machine.must(["docker", "rm", "--force", "busy", "full"], user="alice")


def test_the_bars_show_limits_and_lines_end(machine: Machine):
    text = login(machine)
    bars = re.findall(r"^\w+ +\[(.*)\]", text, re.MULTILINE)
    assert {len(each) for each in bars} == {20}
    assert len(bars) == len(shown(text)) == 5
    assert "check-limits shows more.\n" in text
    # Once: not again in a shell inside.
    assert login(machine, "bash -l -c true", "bash -c true").count("check-limits shows more.") == 1


def test_scripts_and_copies_see_nothing_of_it(machine: Machine):
    machine.must(["tee", "/home/alice/file"], user="alice", stdin="bytes\x00\xff".encode("latin-1"))
    for argv in (["su", "-", "alice", "-c", "true"], ["su", "-", "alice", "-s", "/bin/sh", "-c", ":"]):
        done = machine.run(argv)
        assert (done.code, done.stdout, done.stderr) == (0, "", "")
    # As scp and rsync do it: the other end is a command that speaks over its own output.
    copied = machine.run(["bash", "-c", "su - alice -c 'tar -cf - file' | tar -xOf - | od -An -tx1"])
    assert (copied.code, copied.stdout.split(), copied.stderr) == (0, ["62", "79", "74", "65", "73", "00", "ff"], "")
    assert machine.run(["su", "-", "alice", "-c", "exit 5"]).code == 5
    assert at_terminal(machine, typed("exit"), user="root").stdout.count("check-limits") == 0


# --- While DS01 is broken; what is taken away does not come back, so the order counts ---------------------------------


def quiet_login(machine: Machine) -> None:
    """A login is as if there were no DS01."""
    text = login(machine, 'echo "status=$?"', code=7)
    assert "\nstatus=0\n" in text
    for word in ("alice (", "Memory", "check-limits", "Traceback", "No such", "DS01"):
        assert word not in text
    done = machine.run(["su", "-", "alice", "-c", "exit 5"])
    assert (done.code, done.stdout, done.stderr) == (5, "", "")


def opened(machine: Machine) -> Completed:
    done = docker(machine, "run", "--rm", "--cgroupns=host", "busybox", "cat", "/proc/self/cgroup")
    assert (done.code, "Traceback" in done.stderr) == (0, False), done.words
    return done


def last_open(machine: Machine) -> str:
    """Return the last event that says that a check was not made."""
    return machine.script("grep FAIL-OPEN /var/log/ds01/events.jsonl | tail -n 1")


def test_without_state_folders_docker_goes_on_with_all_its_limits(machine: Machine):
    machine.script("rm -rf /var/lib/ds01")
    assert opened(machine).stdout.startswith(f"0::{slice_of_alice(machine).path}/docker-")
    assert machine.must(["stat", "-c", "%a %U", "/var/lib/ds01", PAGES]).splitlines() == ["755 root", "700 root"]
    # A disk that takes nothing is much like a file where the folder should be.
    machine.script("until [ -f /var/lib/ds01 ]; do rm -rf /var/lib/ds01; touch /var/lib/ds01; done")
    assert opened(machine).stdout.startswith(f"0::{slice_of_alice(machine).path}/docker-")
    assert "FAIL-OPEN: /var/lib/ds01/pages/1001.json cannot be written" in last_open(machine)
    assert shown(login(machine))["GPUs"].endswith(" of 3")
    machine.script("rm -f /var/lib/ds01")


def test_without_a_policy_docker_goes_on_and_guards_what_it_can(machine: Machine):
    started(machine, "--name=hers", *SLEEP)
    machine.script("rm -rf /etc/ds01")
    assert opened(machine).stdout.startswith("0::/ds01.slice/ds01-other.slice/docker-")
    assert '"text":"FAIL-OPEN: there is no compiled policy' in last_open(machine)
    refused = docker(machine, "run", "--gpus=all", "busybox", "true")
    assert (refused.code, "no GPU can be given" in refused.stderr) == (125, True)
    for verb in ("stop", "logs", "restart", "inspect"):
        theirs = docker(machine, verb, "hers", user="bob")
        assert (theirs.code, theirs.stdout) == (1, ""), verb
        assert "Permission denied: container owned by alice (hers)" in theirs.stderr
    assert docker(machine, "exec", "hers", "echo", "mine").stdout == "mine\n"
    assert machine.must(["docker", "exec", "hers", "echo", "root"]) == "root\n"
    assert inspect(machine, "hers")["State"]["Running"]
    quiet_login(machine)


def test_without_anything_logins_and_docker_go_on(machine: Machine):
    machine.script("rm -rf /run/ds01 /var/lib/ds01 /opt/ds01/releases; test -L /opt/ds01/current")
    quiet_login(machine)
    said = opened(machine)
    assert said.stdout.startswith("0::/ds01.slice/ds01-other.slice/docker-")
    assert "the container starts without its checks. Please tell ds01-help@lab-x.org" in said.stderr
    assert "FAIL-OPEN: the docker helper gave no answer; alice: docker run" in machine.must(
        ["journalctl", "--no-pager", "--identifier=ds01"]
    )
    refused = docker(machine, "run", "--gpus=all", "busybox", "true")
    assert (refused.code, "no GPU can be handed out" in refused.stderr) == (125, True)
    theirs = docker(machine, "stop", "hers", user="bob")
    assert (theirs.code, "nobody can tell whose container that is" in theirs.stderr) == (1, True)
    assert states(machine)["hers"].running
    assert docker(machine, "ps", "--format={{.Names}}").stdout == "hers\n"
    assert machine.must(["cat", f"{CGROUP}/ds01.slice/memory.swap.max"]) == "0\n"
