"""`ds01 gpu` as whole processes: what docs/gpu.md says, who may do what, and every way in which it can be cut short."""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from tests.fake_nvml.samples import gpu_uuid, instance_uuid, shipped_host
from tests.integration.gpu_host import CHECKOUT, SCRIPTS, GpuHost, Said, gpu_host
from tests.unit.runtime.gpu.engines import inspected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.root
NOBODY = pwd.getpwnam("nobody").pw_uid
PAGE = (CHECKOUT / "docs/gpu.md").read_text(encoding="utf-8")
PATIENCE_SECONDS = 60


@pytest.fixture
def host(fake_nvml_library: Path) -> Iterator[GpuHost]:
    # Not in pytest's own folder, which nobody else may enter.
    with TemporaryDirectory(prefix="ds01-gpu-host-") as folder:
        Path(folder).chmod(0o755)
        with gpu_host(Path(folder), fake_nvml_library) as made:
            yield made


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


# --- The page ---------------------------------------------------------------------------------------------------------


def block(heading: str) -> list[str]:
    """Return the commands below a heading of the page."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [line.strip() for line in section.splitlines() if line.startswith("    ")]


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_a_containers_life_as_the_page_writes_it(host: GpuHost, shell: str) -> None:
    lines = block("A container's life")
    assert len(lines) == 4
    state = host.paths.gpu_state
    done = host.shell(shell, "\n".join(f"{line}\ncp {state} {host.folder}/$((n=n+1))" for line in lines))
    assert (done.code, done.err) == (0, "")
    assert done.out == "held GPU 2:0 of train\n2:0\nreleased GPU 2:0 of train\n"
    assert host.held == {}
    assert [(each["event_type"], each["user"]) for each in host.events()] == [
        ("gpu.allocated", "alice"),
        ("gpu.held", "alice"),
        ("gpu.resumed", "alice"),
        ("gpu.released", "alice"),
    ]


@pytest.mark.parametrize("shell", ["bash", "dash"])
@pytest.mark.parametrize("quiet", ["", " 2>/dev/null"], ids=["", "with errors elsewhere"])
def test_the_shell_that_has_the_options_keeps_the_reservation(host: GpuHost, shell: str, quiet: str) -> None:
    line = block("A container's life")[0].partition(" && ")[0].replace("--docker-args)", f"--docker-args{quiet})")
    done = host.shell(shell, f'{line}\necho $$\ntest -n "$options"')
    keeper = host.ledger.allocations["train"].reservation
    assert keeper is not None
    assert (done.code, done.out) == (0, f"{keeper.process.pid}\n")


def test_what_the_page_shows_can_be_read_by_everybody(host: GpuHost) -> None:
    expected = {"status": "student01  train", "queue": "nobody waits for a GPU", "validate": "there and well"}
    host.gpu("allocate", "--container", "train", "--user", "student01", "--gpu", "2:1")
    shown = [line.partition("#")[0].split()[2:] for line in block("Units")]
    assert [words[0] for words in shown] == ["status", "status", "queue", "validate"]
    for words in shown:
        if "--watch" not in words:
            done = host.gpu(*words, uid=NOBODY)
            assert (done.code, done.err, expected[words[0]] in done.out) == (0, "", True)


@pytest.mark.parametrize(
    ("user", "wanted", "given"),
    [
        ("student01", "1", "2:0"),
        ("student01", "all", "2:0"),
        ("postdoc1", "1", "2:0"),
        ("postdoc1", "2", "0,1"),
        ("postdoc1", "all", "2:0"),
        ("postdoc1", "device=1", "1"),
        ("student01", "device=2:1", "2:1"),
        ("student01", f"device={instance_uuid(3, 2)}", "3:2"),
        ("postdoc1", f"device={gpu_uuid(1)}", "1"),
    ],
)
def test_what_is_given_for_what_is_asked(host: GpuHost, user: str, wanted: str, given: str) -> None:
    assert host.gpu("allocate", "--container", "xx", "--user", user, "--gpus", wanted) == Said(0, f"{given}\n", "")


def test_the_name_that_older_scripts_call(host: GpuHost) -> None:
    argv = [sys.executable, os.fspath(SCRIPTS / "gpu_allocator.py"), "allocate", "--user", "student01"]
    argv += ["--container", "train", "--max-gpus", "2", "--priority", "7", "--root", os.fspath(host.paths.root)]
    done = subprocess.run(argv, env=host.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2:0\n", "")
    assert host.ledger.allocations["train"].priority == 7


def test_every_action_prints_one_object_or_nothing_as_json(host: GpuHost) -> None:
    host.gpu("allocate", "--container", "held", "--user", "student01", "--gpu", "3:2")
    said = {
        words: host.gpu(*words.split(), "--json")
        for words in (
            "status",
            "status --user student01",
            "queue",
            "validate --container held --gpu 3:2",
            "validate --container held --gpu 0",
            "allocate --container new --user student01",
            "allocate --container new2 --user student01 --gpus 2",
            "wait --container new2 --user bob --gpu 3:2 --wait 0.1",
            "mark-stopped --container new",
            "clear-stopped --container new",
            "release --container new",
            "release --container ghost",
            "mark-stopped --container ghost",
            "clear-stopped --container ghost",
            "reconcile",
        )
    }
    assert {words: (each.code, sorted(each.document)) for words, each in said.items() if each.code} == {
        "validate --container held --gpu 0": (1, ["problems", "valid", "version"]),
        **{
            words: (4, ["fix", "granted", "holdings", "reason", "text", "version", "waitable"])
            for words in (
                "allocate --container new2 --user student01 --gpus 2",
                "wait --container new2 --user bob --gpu 3:2 --wait 0.1",
            )
        },
    }
    assert [each.document["version"] for each in said.values()] == [1] * len(said)
    assert {words for words, each in said.items() if each.err} == {
        "wait --container new2 --user bob --gpu 3:2 --wait 0.1"
    }


# --- Who may ----------------------------------------------------------------------------------------------------------


def test_on_the_live_machine_only_root_changes(host: GpuHost) -> None:
    for action in (["allocate"], ["wait"], ["release"], ["mark-stopped"], ["clear-stopped"]):
        argv = [*host.argv(*action, "--container", "xx", uid=NOBODY)[:-1], "/"]
        done = subprocess.run(argv, env=host.environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (
            4, "", "error: who holds which GPU is changed by root alone\nTo fix: run the command through sudo\n",
        )  # fmt: skip


def test_an_account_without_rights_to_the_record_is_told(host: GpuHost) -> None:
    host.gpu("allocate", "--container", "train", "--user", "student01")
    before = host.paths.gpu_state.read_bytes()
    for words in (["allocate", "--container", "mine"], ["release", "--container", "train"]):
        done = host.gpu(*words, uid=NOBODY)
        assert (done.code, done.out, "changed by root (sudo)" in done.err) == (1, "", True)
    assert host.paths.gpu_state.read_bytes() == before


@pytest.mark.parametrize("uid", ["", "x", "-1", " 0", "0x0", "٣", "4294967295", "9" * 30, "4000000000"])
def test_a_sudo_that_names_nobody_is_refused(host: GpuHost, uid: str) -> None:
    done = host.gpu("allocate", "--container", "xx", sudo=uid)
    assert (done.code, done.out, host.held) == (4, "", {})


def test_the_word_of_sudo_counts_for_root_alone(host: GpuHost) -> None:
    """An account that sets SUDO_UID itself is still who it is."""
    argv = host.argv("reconcile", uid=NOBODY)
    done = subprocess.run(argv, env=host.environment | {"SUDO_UID": "0"}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (4, "error: nobody may not do this")


def test_nobody_takes_what_is_anothers_by_its_id(host: GpuHost) -> None:
    """Ids stand in a file that all can read."""
    host.gpu("allocate", "--container", "train", "--user", "student01", "--gpu", "2:0")
    held = host.ledger.allocations["train"].id
    with host.start("wait", "--container", "next", "--user", "student02", "--gpu", "2:0", "--wait", "60") as waiter:
        until(lambda: len(host.ledger.queue) == 1)
        before = host.ledger
        for words in (
            ["allocate", "--container", "mine", "--allocation", held],
            ["allocate", "--container", "train"],
            ["allocate", "--container", "mine", "--allocation", before.queue[0].id],
            ["wait", "--container", "mine", "--allocation", before.queue[0].id, "--wait", "0.1"],
            ["release", "--allocation", held],
            ["mark-stopped", "--allocation", held],
            ["clear-stopped", "--allocation", held],
        ):
            done = host.gpu(*words, sudo=str(NOBODY))
            assert (done.code, done.out) == (4, ""), words
        assert (host.ledger.allocations, host.ledger.queue) == (before.allocations, before.queue)
        assert host.gpu("release", "--container", "train").code == 0
        assert (waiter.wait(PATIENCE_SECONDS), waiter.stdout and waiter.stdout.read()) == (0, "2:0\n")


def test_a_container_that_has_no_gpu_of_ours_is_let_alone(host: GpuHost) -> None:
    host.container(inspected("plain"))
    host.container(inspected("stray", devices=[instance_uuid(2, 0)]))
    for action in ("release", "mark-stopped", "clear-stopped"):
        done = host.gpu(action, "--container", "plain", sudo=str(NOBODY))
        assert (done.code, done.out, done.err) == (0, "", "plain holds no GPU; nothing to do\n")
    host.gpu("reconcile")
    for action in ("release", "mark-stopped", "clear-stopped"):
        done = host.gpu(action, "--container", "stray", sudo=str(NOBODY))
        assert (done.code, done.err.splitlines()[0]) == (4, "error: stray is a container of nobody that is known")
    assert host.held == {"stray": (None, ("2:0",))}


HOSTILE = ["", "--json", "a/../b", "x\x1b[2Jy", "x\ny", "x" * 300, "a?b"]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("action", ["allocate", "release", "mark-stopped", "clear-stopped", "validate"])
def test_a_name_that_no_container_has_does_no_harm(host: GpuHost, action: str, name: str) -> None:
    done = host.gpu(action, f"--container={name}", *(["--gpu", "2:0"] if action == "validate" else []))
    # The engine takes names of any length, so a long one is merely a container that is not there.
    nothing_to_do = action in {"release", "mark-stopped", "clear-stopped"} and name == "x" * 300
    assert done.code in ({0} if nothing_to_do else {0, 2} if action in {"release", "mark-stopped"} else {1, 2})
    assert host.held == {}
    assert "\x1b" not in done.out + done.err


def test_what_labels_say_drives_no_terminal(host: GpuHost) -> None:
    labels = {"ds01.user": "al\x1b[2Jice\n", "ds01.allocation": "token-123", "ds01.gpu.uuids": instance_uuid(2, 0)}
    host.container(inspected("train", labels=labels, devices=[instance_uuid(2, 0)]))
    shown = [host.gpu("reconcile"), host.gpu("status"), host.gpu("allocate", "--container", "xx", "--gpu", "2:0")]
    assert [each.code for each in shown] == [0, 0, 4]
    assert not any("\x1b" in each.out + each.err for each in shown)
    assert [len(each.out.splitlines()) for each in shown] == [2, 9, 0]


# --- Twice, and in between --------------------------------------------------------------------------------------------


def test_each_can_be_said_twice_and_happens_once(host: GpuHost) -> None:
    for words, out in (
        (["allocate", "--container", "train", "--user", "student01"], "2:0\n"),
        (["mark-stopped", "--container", "train"], "held GPU 2:0 of train\n"),
        (["clear-stopped", "--container", "train"], "2:0\n"),
        (["release", "--container", "train"], "released GPU 2:0 of train\n"),
    ):
        first, again = host.gpu(*words), host.gpu(*words)
        assert first == Said(0, out, "")
        assert again == (Said(0, "", "train holds no GPU; nothing to do\n") if words[0] == "release" else first)
    assert host.types == ["gpu.allocated", "gpu.held", "gpu.resumed", "gpu.released"]
    assert host.gpu("reconcile") == host.gpu("reconcile") == Said(0, "0 corrections\n", "")


def test_a_container_that_restarts_keeps_its_gpu(host: GpuHost) -> None:
    host.gpu("allocate", "--container", "train", "--user", "student01")
    host.container(inspected("train", devices=[instance_uuid(2, 0)], status="restarting"))
    assert host.gpu("release", "--container", "train").code == 4
    assert set(host.held) == {"train"}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]
)
def test_a_waiter_that_is_ended_leaves_no_trace(host: GpuHost, number: signal.Signals, code: int) -> None:
    host.gpu("allocate", "--container", "train", "--user", "student01", "--gpu", "2:0")
    with host.start("wait", "--container", "nb", "--user", "student02", "--gpu", "2:0", "--wait", "60") as waiter:
        until(lambda: len(host.ledger.queue) == 1)
        assert host.gpu("queue", uid=NOBODY).out.splitlines()[1].split()[:4] == ["1", "student02", "nb", "device=2:0"]
        assert waiter.stderr is not None
        assert waiter.stderr.readline() == "GPU 2:0 is held by student01's train\n"
        waiter.send_signal(number)
        assert waiter.wait(PATIENCE_SECONDS) == code
        assert "Traceback" not in waiter.stderr.read()
    assert host.gpu("queue").out == "nobody waits for a GPU\n"
    assert set(host.held) == {"train"}
    assert host.types == ["gpu.allocated"]


@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_who_may_not_see_the_waiting_is_told_so_and_never_that_nobody_waits(host: GpuHost, hidden: int) -> None:
    host.gpu("allocate", "--container", "train", "--user", "student01", "--gpu", "2:0")
    wait = shlex.join(host.argv("wait", "--container", "nb", "--user", "student02", "--gpu", "2:0", "--wait", "60"))
    ask, as_root = shlex.join(host.argv("queue", uid=NOBODY)), shlex.join(host.argv("queue"))
    script = f"""
        mount -t proc -o hidepid={hidden} proc /proc
        {wait} >/dev/null 2>&1 & waiter=$!
        until {as_root} | grep -q student02; do sleep 0.05; done
        {ask}; {ask} --json
        {as_root} | cut -c 1-20 >&2
        kill $waiter; wait $waiter || :
    """
    # In a PID namespace of its own: the options of procfs are those of all its mounts. Source: proc(5).
    argv = ["unshare", "--mount", "--pid", "--fork", "sh", "-ec", script]
    done = subprocess.run(
        argv, env=host.environment, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS
    )
    table, _, document = done.stdout.partition("{")
    doubt = "whether those in the line still wait is not known: this account may not see their processes (hidepid)"
    assert [line.split()[:4] for line in table.splitlines()[1:]] == [["1", "student02", "nb", "device=2:0"]]
    said = json.loads("{" + document)
    assert [each["container"] for each in said["queue"]] == ["nb"]
    assert [each.partition(";")[0] for each in said["notices"]] == [doubt] * bool(hidden)
    assert done.stderr.count("notice: ") == done.stderr.count(f"notice: {doubt}") == bool(hidden)


def test_whoever_waits_need_not_start_the_driver_again(host: GpuHost) -> None:
    host.gpu("allocate", "--container", "train", "--user", "student01", "--gpu", "2:0")
    with host.start("wait", "--container", "nb", "--user", "student02", "--gpu", "2:0", "--wait", "60") as waiter:
        until(lambda: len(host.ledger.queue) == 1)
        assert waiter.stderr is not None
        waiter.stderr.readline()
        # On some machines it takes seconds, here it takes for ever.
        host.nvml.write(shipped_host().with_rules("fail nvmlInit UNKNOWN"))
        host.gpu("release", "--container", "train")
        out, err = waiter.communicate(timeout=PATIENCE_SECONDS)
    assert (waiter.returncode, out, "Traceback" in err) == (0, "2:0\n", False)
    assert host.gpu("wait", "--container", "other", "--user", "student02").code == 1


ENDS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


def ended_when(host: GpuHost, happened: Callable[[], bool], number: signal.Signals, *words: str) -> tuple[int, str]:
    """Run a command and send it a signal as soon as something has happened; returns its exit code and output."""
    with host.start(*words) as process:
        end = time.monotonic() + PATIENCE_SECONDS
        while not happened() and process.poll() is None:
            assert time.monotonic() < end, "it never came"
            time.sleep(0.0005)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in err
    return process.returncode, out


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_whoever_is_ended_just_when_it_is_granted_has_it_or_leaves_no_trace(
    host: GpuHost, number: signal.Signals, code: int
) -> None:
    """The shell that asked lives on, so what nobody was told of would be kept for as long as that."""
    host.gpu("reconcile")
    for turn in range(4):
        name = f"c{turn}"
        answer = ended_when(host, lambda: name in host.held, number, "allocate", "--container", name)  # noqa: B023 - used in this turn
        assert answer in {(0, "3:0\n"), (0, "2:0\n"), (code, "")}
        assert set(host.held) == ({name} if answer[0] == 0 else set())
        host.gpu("release", "--container", name)
    assert host.types == ["gpu.allocated", "gpu.released"] * 4


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_a_waiter_that_is_ended_just_when_it_is_served_has_it_or_leaves_no_trace(
    host: GpuHost, number: signal.Signals, code: int
) -> None:
    for turn in range(2):
        held, name = f"held{turn}", f"next{turn}"
        host.gpu("allocate", "--container", held, "--user", "student01", "--gpu", "2:0")
        words = ["wait", "--container", name, "--user", "student02", "--gpu", "2:0", "--wait", "60"]

        def served() -> bool:
            if host.ledger.queue:
                host.gpu("release", "--container", held)  # noqa: B023 - used in this turn
            return name in host.held  # noqa: B023

        answer = ended_when(host, served, number, *words)
        assert answer in {(0, "2:0\n"), (code, "")}
        assert (set(host.held), host.ledger.queue) == ({name} if answer[0] == 0 else set(), ())
        host.gpu("release", "--container", name)


@pytest.mark.parametrize(("number", "code"), ENDS)
def test_a_start_that_is_ended_leaves_the_container_held_as_it_was(
    host: GpuHost, number: signal.Signals, code: int
) -> None:
    host.gpu("allocate", "--container", "train", "--user", "student01")
    host.gpu("mark-stopped", "--container", "train")
    before = host.ledger.allocations["train"]
    words = ["clear-stopped", "--container", "train"]
    answer = ended_when(host, lambda: host.ledger.allocations["train"] != before, number, *words)
    assert answer in {(0, "2:0\n"), (code, "")}
    assert (host.ledger.allocations["train"] == before) is (answer[0] != 0)


def test_a_waiter_whose_keeper_is_gone_leaves_the_line(host: GpuHost) -> None:
    host.gpu("allocate", "--container", "train", "--user", "student01", "--gpu", "2:0")
    with subprocess.Popen(["sleep", "600"]) as keeper:
        words = ["wait", "--container", "nb", "--user", "student02", "--gpu", "2:0", "--wait", "600"]
        with host.start(*words, "--pid", str(keeper.pid)) as waiter:
            until(lambda: len(host.ledger.queue) == 1)
            keeper.kill()
            assert waiter.wait(PATIENCE_SECONDS) == 4
    assert host.ledger.queue == ()


def test_whoever_waits_gets_what_is_given_back(host: GpuHost) -> None:
    host.gpu("allocate", "--container", "train", "--user", "student01", "--gpu", "2:0")
    with host.start("wait", "--container", "nb", "--user", "student02", "--gpu", "2:0", "--json") as waiter:
        until(lambda: len(host.ledger.queue) == 1)
        host.gpu("release", "--container", "train")
        out, err = waiter.communicate(timeout=PATIENCE_SECONDS)
    assert (waiter.returncode, json.loads(out)["gpu_id"]) == (0, "2:0")
    assert re.search(r"^Waiting: place 1 of 1 in the line, \d+ s left \(Ctrl-C to leave\)$", err, re.MULTILINE)
    assert host.types == ["gpu.allocated", "gpu.released", "gpu.allocated"]


def test_a_container_that_docker_removed_without_a_word_is_in_nobodys_way(host: GpuHost) -> None:
    """docker rm -f and docker run again, before anybody has told the ledger."""
    for name in ("web", "one", "two"):
        given = host.gpu("allocate", "--container", name, "--user", "student01", "--json").document
        host.container(inspected(name, labels=given["labels"], devices=given["gpu_uuids"]))
    host.gpu("reconcile")
    held = host.held
    slot = held["web"][1][0]
    blocked = [
        ["allocate", "--container", "new", "--user", "student01"],
        ["allocate", "--container", "new", "--user", "student02", "--gpu", slot],
        ["allocate", "--container", "web", "--user", "student01", "--gpu", "3:2"],
        ["allocate", "--container", "web", "--user", "student02", "--gpu", "3:2"],
    ]
    assert [host.gpu(*words).code for words in blocked] == [4] * 4
    assert host.held == held
    record = host.paths.gpu_state.read_bytes()
    host.remove("web")
    for words in blocked:
        host.paths.gpu_state.write_bytes(record)
        assert host.gpu(*words).code == 0, words


PAGE_OF_EVENTS = (CHECKOUT / "docs/events.md").read_text(encoding="utf-8").partition("## Types")[2]
WHICH = {"container", "allocation", "gpu_id", "gpu_uuids"}


def documented() -> dict[str, set[str]]:
    """Return what the page says of each type's details."""
    rows = re.findall(r"^\| `([a-z_.]+)` \|[^|]*\| (.*) \|$", PAGE_OF_EVENTS, re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", cell)) | (WHICH if "*which*" in cell else set()) for name, cell in rows}


def test_every_event_has_the_details_that_the_page_names(host: GpuHost) -> None:
    mine, other = instance_uuid(2, 0), instance_uuid(2, 1)
    policy = json.loads(host.paths.policy.read_text())
    policy["defaults"]["gpu_hold_after_stop_seconds"] = 0
    host.paths.policy.write_text(json.dumps(policy))
    host.gpu("allocate", "--container", "train", "--user", "student01", "--gpu", "2:0")
    host.gpu("allocate", "--container", "nb", "--user", "student01", "--gpu", "2:0")
    host.gpu("mark-stopped", "--container", "train")
    host.gpu("clear-stopped", "--container", "train")
    labels = {"ds01.user": "student01", "ds01.allocation": host.ledger.allocations["train"].id}
    host.container(inspected("train", id="c" * 64, devices=[mine], labels=labels))
    host.container(inspected("one", devices=[other]))
    host.container(inspected("two", devices=[other]))
    host.gpu("reconcile")
    host.remove("train")
    host.container(inspected("renamed", id="c" * 64, devices=[mine], labels=labels))
    host.remove("one")
    host.gpu("reconcile")
    host.container(inspected("renamed", id="c" * 64, devices=[mine], labels=labels, status="exited"))
    host.gpu("reconcile")
    host.remove("two")
    host.gpu("allocate", "--container", "last", "--user", "student01", "--gpu", "3:0")
    host.gpu("release", "--container", "last")
    host.paths.gpu_state.write_text("{")
    host.gpu("reconcile")
    found = {each["event_type"]: set(each["details"]) for each in host.events()}
    of_gpus = {name: details for name, details in documented().items() if name.startswith("gpu.")}
    assert found == of_gpus


def test_a_last_no_is_told_once_with_its_reason(host: GpuHost) -> None:
    host.gpu("allocate", "--container", "train", "--user", "student01", "--gpu", "2:0")
    host.gpu("allocate", "--container", "nb", "--user", "student02", "--gpu", "2:0")
    host.gpu("wait", "--container", "nb", "--user", "student02", "--gpu", "2:0", "--wait", "0.6")
    host.gpu("allocate", "--container", "nb", "--user", "student02", "--gpus", "2")
    refused = [each for each in host.events() if each["event_type"] == "gpu.refused"]
    assert [(each["user"], each["details"]["wanted"], each["details"]["reason"]) for each in refused] == [
        ("student02", "device=2:0", "taken"),
        ("student02", "device=2:0", "taken"),
        ("student02", "2", "too_many"),
    ]


def test_a_start_after_the_hold_that_comes_too_late_is_a_refusal_too(host: GpuHost) -> None:
    labels = {"ds01.user": "student01", "ds01.allocation": "token-123"}
    host.container(inspected("old", devices=[instance_uuid(2, 0)], labels=labels, status="exited"))
    host.gpu("reconcile")
    host.gpu("allocate", "--container", "nb", "--user", "student02", "--gpu", "2:0")
    done = host.gpu("clear-stopped", "--container", "old")
    assert (done.code, done.out, done.err.splitlines()[0]) == (
        4, "", "error: old had GPU 2:0 and its hold is over: GPU 2:0 is held by student02's nb",
    )  # fmt: skip
    assert "re-create it" in done.err
    assert [(each["user"], each["details"]["container"]) for each in host.events()][1:] == [("student01", "old")]


# --- When something is wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ["DRIVER_NOT_LOADED", "NO_PERMISSION", "LIB_RM_VERSION_MISMATCH", "UNKNOWN"])
def test_a_driver_that_does_not_answer_is_told(host: GpuHost, error: str) -> None:
    host.gpu("allocate", "--container", "train", "--user", "student01")
    host.nvml.write(shipped_host().with_rules(f"fail nvmlInit {error}"))
    for words in (
        ["allocate", "--container", "xx"],
        ["wait", "--container", "xx"],
        ["status"],
        ["validate", "--container", "train", "--gpu", "2:0"],
        ["clear-stopped", "--container", "train"],
    ):
        done = host.gpu(*words)
        assert (done.code, f"NVML_ERROR_{error}" in done.err, "To fix: " in done.err) == (1, True, True), words
        assert not re.search(r"no GPU\b", done.out)
    assert host.gpu("release", "--container", "train") == Said(0, "released GPU 2:0 of train\n", "")


def test_a_lost_gpu_is_broken_and_the_others_are_given(host: GpuHost) -> None:
    host.gpu("allocate", "--container", "train", "--user", "student01", "--gpu", "2:0")
    host.nvml.write(shipped_host().with_rules("fail * 2 GPU_IS_LOST"))
    status = host.gpu("status")
    assert (status.code, "GPU_IS_LOST" in status.out) == (0, True)
    assert host.gpu("allocate", "--container", "nb", "--user", "student01").out == "3:0\n"
    assert "NVML_ERROR_GPU_IS_LOST" in host.gpu("validate", "--container", "train", "--gpu", "2:0").out


@pytest.mark.parametrize("how", ["gone", "lost"])
def test_a_restart_without_its_unit_is_refused_and_says_so(host: GpuHost, how: str) -> None:
    host.gpu("allocate", "--container", "train", "--user", "student01", "--gpu", "3:1")
    host.gpu("mark-stopped", "--container", "train")
    held = host.ledger.allocations["train"]
    hardware = shipped_host()
    *others, last = hardware.gpus
    fewer = replace(hardware, gpus=(*others, replace(last, instances=last.instances[:1])))
    host.nvml.write(fewer if how == "gone" else hardware.with_rules("fail * 3 GPU_IS_LOST"))
    for words in (["clear-stopped"], ["allocate", "--user", "student01"]):
        done = host.gpu(*words, "--container", "train")
        assert (done.code, done.out) == (4, ""), words
        assert done.err.startswith("error: train has GPU 3:1: ")
        assert "To fix: re-create it to get another one (docker rm train" in done.err
    assert (host.ledger.allocations["train"], host.types[-2:]) == (held, ["gpu.refused"] * 2)
    host.nvml.write(hardware)
    assert host.gpu("clear-stopped", "--container", "train").out == "3:1\n"


def test_what_runs_on_gpus_is_not_known_and_that_is_said(host: GpuHost) -> None:
    host.nvml.write(shipped_host().with_rules("fail nvmlDeviceGetComputeRunningProcesses UNKNOWN"))
    done = host.gpu("status")
    assert (done.code, "not all that runs on the GPUs is known" in done.err) == (1, True)


def test_a_record_that_is_lost_without_docker_gives_nothing_away(host: GpuHost) -> None:
    host.gpu("allocate", "--container", "train", "--user", "student01")
    host.paths.gpu_state.write_text("{")
    host.paths.engine.rename(host.paths.engine.with_name("away"))
    try:
        done = host.gpu("allocate", "--container", "xx", "--user", "student01")
        assert done.code == 1
        assert done.err.startswith("error: no GPU can be handed out: who holds which is not known\n")
        assert "systemctl start docker" in done.err
        status = host.gpu("status")
        assert (status.code, status.out.count("not known"), status.out.count("free")) == (1, 8, 0)
        assert host.paths.gpu_state.read_text() == "{"
    finally:
        host.paths.engine.with_name("away").rename(host.paths.engine)
    assert host.gpu("reconcile").code == 0
    assert len(list(host.paths.gpu_state.parent.glob("gpu-state.json.damaged-*"))) == 1


def test_an_answer_that_nobody_can_hear_is_no_grant(host: GpuHost) -> None:
    argv = host.argv("allocate", "--container", "train", "--user", "student01")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(argv, env=host.environment, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        1, b"error: the result cannot be written: No space left on device",
    )  # fmt: skip
    with subprocess.Popen(argv, env=host.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert (child.stderr.read(), child.wait()) == (b"", 1)
    assert (host.held, host.types) == ({}, ["gpu.allocated", "gpu.released"] * 2)


def test_a_callers_limit_on_files_keeps_nothing_out_of_the_log(host: GpuHost) -> None:
    assert host.gpu("allocate", "--container", "first").code == 0
    before = len(host.paths.events.read_text().splitlines())
    script = 'ulimit -S -f 0; exec "$@"'
    argv = ["sh", "-c", script, "sh", *host.argv("allocate", "--container", "second")]
    done = subprocess.run(argv, env=host.environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(host.paths.events.read_text().splitlines()) == before + 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_streams_that_are_closed_do_no_harm(host: GpuHost, closed: str) -> None:
    assert host.shell("bash", f"ds01 gpu allocate --container train --user student01 {closed}").code == 0
    assert host.gpu("status").code == 0
    assert host.held == {"train": ("student01", ("2:0",))}


def test_words_that_nobody_hears_do_not_end_the_waiting(host: GpuHost) -> None:
    host.gpu("allocate", "--container", "train", "--user", "student01", "--gpu", "2:0")
    with host.start("wait", "--container", "nb", "--user", "student02", "--gpu", "2:0", "--wait", "60") as waiter:
        assert waiter.stderr is not None
        assert waiter.stdout is not None
        waiter.stderr.close()
        until(lambda: len(host.ledger.queue) == 1)
        host.gpu("release", "--container", "train")
        assert (waiter.stdout.read(), waiter.wait(PATIENCE_SECONDS)) == ("2:0\n", 0)


def test_status_is_shown_again_until_it_is_interrupted(host: GpuHost) -> None:
    with host.start("status", "--watch", "0.2") as shown:
        assert shown.stdout is not None
        assert shown.stderr is not None
        heads = 0
        while heads < 3:
            heads += shown.stdout.readline().startswith("GPU ")
        shown.send_signal(signal.SIGINT)
        assert shown.wait(PATIENCE_SECONDS) == 130
        assert shown.stderr.read().endswith("interrupted\n")
