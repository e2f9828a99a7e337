"""ds01-gpuwatch at work: real processes of real accounts, in every place they can be, and never the wrong one ended."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from tests.fake_nvml.samples import gpu_uuid, instance_uuid
from tests.integration.gpu_host import gpu_host
from tests.integration.watched_host import (
    ALICE,
    ALICE_UID,
    APART,
    BOB,
    BOB_UID,
    DEAF,
    HEADLESS,
    PATIENCE_SECONDS,
    WatchedHost,
    ended_by,
    lives,
    until,
    working,
)
from tests.unit.runtime.gpu.engines import inspected
from tests.unit.runtime.gpu.test_exporter import http_server

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root
A, B, C = gpu_uuid(0), gpu_uuid(1), instance_uuid(2, 0)


@pytest.fixture
def watched(fake_nvml_library: Path) -> Iterator[WatchedHost]:
    # Not in pytest's own folder, which nobody else may enter.
    with TemporaryDirectory(prefix="ds01-gpuwatch-") as folder:
        Path(folder).chmod(0o755)
        with gpu_host(Path(folder), fake_nvml_library) as made:
            (made.paths.root / "proc").symlink_to("/proc")
            host = WatchedHost(made)
            host.policy()
            yield host


# --- Warned -----------------------------------------------------------------------------------------------------------


def test_a_process_of_another_account_is_warned_on_file_and_in_the_log(watched: WatchedHost) -> None:
    watched.policy("warn")
    with working() as child:
        watched.on((child, A))
        watched.look()
        watched.look()
        (row,) = watched.record["processes"]
        assert lives(child)
    assert (row["pid"], row["uid"], row["user"], row["slots"], row["verdict"], row["sightings"], row["ends_at"]) == (
        child.pid, ALICE_UID, ALICE, ["0"], "warned", 2, None,
    )  # fmt: skip
    assert watched.told == [("baremetal.warned", ALICE, child.pid)]
    (notice,) = watched.notices()
    assert f"(pid {child.pid}) computes on GPU 0 outside a container" in notice


def test_its_terminal_says_so_at_once(watched: WatchedHost) -> None:
    watched.policy("warn")
    ours, theirs = os.openpty()
    name = Path(os.ttyname(theirs))
    os.fchown(theirs, ALICE_UID, -1)
    os.fchmod(theirs, 0o620)
    folder = watched.host.paths.terminals
    folder.parent.mkdir(parents=True)
    folder.symlink_to(name.parent)
    with working() as child:
        watched.on((child, A))
        watched.look()
        assert b"outside a container" in os.read(ours, 4096)
    os.close(theirs)
    os.close(ours)


# --- Ended ------------------------------------------------------------------------------------------------------------


def test_the_condemned_ends_and_nothing_else_does(watched: WatchedHost) -> None:
    with working() as child, working() as idle, working(BOB_UID) as granted, working(0) as roots:
        watched.on((child, A), (granted, B), (roots, C))
        assert watched.host.ds01("bare-metal", "grant", BOB).code == 0
        watched.look()
        assert (watched.verdicts[child.pid], lives(child)) == ("warned", True)
        watched.look()
        assert ended_by(child) is signal.SIGTERM
        assert (lives(idle), lives(granted), lives(roots)) == (True, True, True)
        assert watched.verdicts == {child.pid: "terminate", granted.pid: "granted", roots.pid: "exempt"}
    assert watched.told == [("baremetal.warned", ALICE, child.pid), ("baremetal.terminated", ALICE, child.pid)]
    assert [len(watched.notices()), watched.notices(BOB_UID)] == [1, []]
    assert "was ended" in watched.notices()[0]


def test_one_that_does_not_listen_is_killed(watched: WatchedHost) -> None:
    with working(script=DEAF) as child, working(script=DEAF) as other:
        watched.on((child, A))
        watched.look()
        watched.look()
        assert ended_by(child) is signal.SIGKILL
        assert lives(other)
    (event,) = (each for each in watched.host.events() if each["event_type"] == "baremetal.terminated")
    assert event["details"]["signal"] == "SIGKILL"


def test_the_running_service_warns_waits_and_ends(watched: WatchedHost) -> None:
    watched.policy(grace_seconds=2)
    with watched.service(), working() as child:
        watched.on((child, A))
        until(lambda: len(watched.told) == 1)
        assert lives(child)
        assert ended_by(child) is signal.SIGTERM
        until(lambda: len(watched.told) == 2)
        watched.on()
        until(lambda: watched.record["processes"] == [])


def test_a_service_that_is_killed_forgets_nothing_and_tells_nobody_twice(watched: WatchedHost) -> None:
    watched.policy(grace_seconds=3)
    with working() as child:
        watched.on((child, A))
        with watched.service() as service:
            until(lambda: len(watched.told) == 1)
            service.kill()
        with watched.service():
            assert ended_by(child) is signal.SIGTERM
            until(lambda: len(watched.told) == 2)
    assert [each[0] for each in watched.told] == ["baremetal.warned", "baremetal.terminated"]


# --- In every place ---------------------------------------------------------------------------------------------------


def test_one_in_a_user_namespace_of_its_own_is_its_accounts_and_not_roots(watched: WatchedHost) -> None:
    with working(script=APART) as child:
        assert Path(f"/proc/{child.pid}/uid_map").read_text().split() == ["0", str(ALICE_UID), "1"]
        watched.on((child, A))
        watched.look()
        (row,) = watched.record["processes"]
        assert (row["user"], row["uid"], row["verdict"]) == (ALICE, ALICE_UID, "warned")
        watched.look()
        assert ended_by(child) is signal.SIGTERM


def test_one_whose_first_thread_has_ended_hides_from_nobody(watched: WatchedHost) -> None:
    with working(script=HEADLESS) as child:
        until(lambda: Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
        watched.on((child, A))
        watched.look()
        assert watched.verdicts == {child.pid: "warned"}
        watched.look()
        assert ended_by(child) is signal.SIGTERM
    assert watched.told == [("baremetal.warned", ALICE, child.pid), ("baremetal.terminated", ALICE, child.pid)]


def test_one_with_a_further_uid_of_an_account_is_that_accounts(watched: WatchedHost) -> None:
    watched.host.paths.subuids.write_text(f"{ALICE}:700000:65536\n")
    with working(700_005) as child, working(900_000) as nobodys:
        watched.on((child, A), (nobodys, B))
        watched.look()
        rows = {each["pid"]: each for each in watched.record["processes"]}
        assert (rows[child.pid]["user"], rows[nobodys.pid]["user"]) == (ALICE, "uid 900000")
        watched.look()
        assert ended_by(child) is signal.SIGTERM
        assert lives(nobodys)
    assert ("baremetal.warned", None, nobodys.pid) in watched.told


def test_a_number_that_the_driver_names_and_no_process_has_is_kept_in_mind(watched: WatchedHost) -> None:
    with subprocess.Popen(["sleep", "0"]) as ended:
        ended.wait()
    watched.on((ended.pid, A))
    watched.look()
    assert (watched.record["processes"], watched.record["meant"]) == ([], {str(ended.pid): None})


def test_a_number_that_was_given_again_is_not_the_process_that_was_warned(watched: WatchedHost) -> None:
    script = Path(__file__).with_name("pid_again.py")
    argv = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-P", os.fspath(script)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*argv, *watched.argv("--once")], env=watched.host.environment, stdin=pipe, stdout=pipe, text=True
    ) as apart:
        assert apart.stdin is not None
        assert apart.stdout is not None

        def ask(word: str) -> str:
            assert apart.stdin is not None
            assert apart.stdout is not None
            apart.stdin.write(f"{word}\n")
            apart.stdin.flush()
            return apart.stdout.readline().strip()

        pid = int(apart.stdout.readline())
        watched.on((pid, A))
        ask("look")
        (first,) = watched.record["processes"]
        assert (first["pid"], first["user"], first["verdict"], first["sightings"]) == (pid, ALICE, "warned", 1)
        assert ask("again") == str(pid)
        for sightings in (1, 2, 3):
            ask("look")
            (second,) = watched.record["processes"]
            assert (second["pid"], second["verdict"], second["sightings"]) == (pid, "warned", sightings)
        assert second["started"] > first["started"]
        # The driver may still mean the first one: what that forked has its files open.
        assert second["note"].startswith("the driver named its number already for one that has ended")
        assert (ask("state"), len(watched.notices())) == ("lives", 1)
        # Once it has let go of the number and names it anew, it is condemned like any other.
        watched.on()
        ask("look")
        watched.on((pid, A))
        ask("look")
        (third,) = watched.record["processes"]
        assert (third["verdict"], third["note"]) == ("warned", None)
        ask("look")
        assert ask("state") == f"ended by {signal.SIGTERM.value}"
        apart.stdin.close()
        assert apart.wait(PATIENCE_SECONDS) == 0


# --- Grants -----------------------------------------------------------------------------------------------------------


def test_a_grant_holds_and_ends_and_can_be_taken_back(watched: WatchedHost) -> None:
    with working() as child:
        watched.on((child, A))
        assert watched.host.ds01("bare-metal", "grant", ALICE, "--reason", "a demo").code == 0
        watched.look()
        watched.look()
        assert (watched.verdicts, watched.notices(), lives(child)) == ({child.pid: "granted"}, [], True)
        assert "granted until" in watched.host.ds01("processes", uid=BOB_UID).out
        assert watched.host.ds01("bare-metal", "grant", ALICE, "--hours", "0.0003").code == 0
        until(lambda: watched.host.ds01("bare-metal", "list", "--json").document["grants"] == [])
        watched.look()
        assert (watched.verdicts, lives(child)) == ({child.pid: "warned"}, True)
        assert watched.host.ds01("bare-metal", "grant", ALICE, "--hours", "24").code == 0
        watched.look()
        assert watched.verdicts == {child.pid: "granted"}
        assert watched.host.ds01("bare-metal", "revoke", ALICE).code == 0
        watched.look()
        watched.look()
        assert ended_by(child) is signal.SIGTERM


def test_an_account_gives_itself_nothing(watched: WatchedHost) -> None:
    said = watched.host.ds01("bare-metal", "grant", ALICE, sudo=str(ALICE_UID))
    assert (said.code, said.err.splitlines()[0]) == (4, f"error: {ALICE} is not an administrator")
    assert watched.host.ds01("bare-metal", "grant", ALICE, uid=ALICE_UID).code == 4
    assert watched.host.ds01("bare-metal", "list", uid=ALICE_UID).out == "nobody has a grant\n"


# --- A driver that hangs ----------------------------------------------------------------------------------------------


def test_a_driver_that_hangs_stops_no_heartbeat_and_ends_nobody(watched: WatchedHost) -> None:
    with working() as child:
        watched.on((child, A))
        watched.look()
        watched.on((child, A), rules=("delay nvmlInit 600000",))
        with watched.service("--limit", "0.3"):
            until(lambda: (watched.record["unknown"] or "").startswith("the driver gave no answer within 0.3 s"))
            before = watched.record["updated_at"]
            until(lambda: watched.record["updated_at"] > before)
            assert {each["percent"] for each in watched.units.values()} == {None}
            assert (watched.verdicts, lives(child)) == ({child.pid: "warned"}, True)
            # As soon as it answers again it is asked.
            watched.on((child, A))
            assert ended_by(child) is signal.SIGTERM
            until(lambda: watched.record["unknown"] is None)
            assert watched.units[B]["percent"] == 0.0


# --- How busy ---------------------------------------------------------------------------------------------------------


def test_how_busy_instances_are_comes_from_the_exporter(watched: WatchedHost) -> None:
    watched.policy("allow")
    with working() as child, http_server() as port:
        watched.on((child, C))
        watched.look()
        assert (watched.units[C]["percent"], watched.units[instance_uuid(2, 1)]["percent"]) == (None, 0.0)
        assert "no DCGM exporter answers at 127.0.0.1:9" in watched.units[C]["unknown"]
        watched.policy("allow", port=port)
        watched.look()
        assert watched.units[C]["percent"] == 42.2
        assert watched.units[C]["busy_at"] is not None


# --- Who --------------------------------------------------------------------------------------------------------------


def test_who_is_what_the_driver_the_record_and_the_kernel_say(watched: WatchedHost) -> None:
    watched.policy("warn")
    host = watched.host
    assert host.gpu("allocate", "--container", "train", "--user", "student01", "--gpu", "2:1").code == 0
    allocation = host.ledger.allocations["train"].id
    labels = {"ds01.user": "student01", "ds01.allocation": allocation}
    host.container(inspected("train", id="c" * 64, devices=[instance_uuid(2, 1)], labels=labels))
    with working() as child, working(BOB_UID) as other, working(0) as roots:
        watched.on((child, A), (other, C), (roots, A))
        watched.look()
        for uid in (None, ALICE_UID):
            document = host.ds01("who", "--json", uid=uid).document
            shown = {
                each["slot"]: [
                    (use["kind"], use["user"], use["container"], [one["pid"] for one in use["processes"]])
                    for use in each["uses"]
                ]
                for each in document["units"]
            }
            first, second = sorted([(child.pid, ALICE), (roots.pid, "root")])
            assert shown == {
                "0": [("host", user, None, [pid]) for pid, user in (first, second)],
                "1": [],
                "2:0": [("host", BOB, None, [other.pid])],
                "2:1": [("container", "student01", "train", [])],
                **{slot: [] for slot in ("2:2", "3:0", "3:1", "3:2")},
            }
            assert document["lacking"] == []
        text = host.ds01("who", uid=ALICE_UID).out
        assert re.search(r"^A100-SXM4-80GB +0 +whole +\S+ +\S+ \(pid \d+\) on the host +20\d\d-", text, re.MULTILINE)
        listed = host.ds01("processes", uid=ALICE_UID)
        assert (listed.code, listed.out.count("warned"), listed.out.count("exempt")) == (0, 2, 1)


def test_what_an_account_uses_outside_counts_in_its_quota_and_is_named(watched: WatchedHost) -> None:
    with working() as one, working() as two:
        watched.on((one, C), (one, instance_uuid(2, 1)), (two, instance_uuid(2, 2)))
        said = watched.host.gpu("allocate", "--container", "train", "--user", ALICE)
        assert said.code == 4
        assert re.search(
            rf"{ALICE} holds 3 of 3 GPU units, 3 of them in use by your \S+ \(pid {one.pid}\), \S+ \(pid {two.pid}\)"
            " outside a container, and asks for 1 more",
            said.err,
        )
        assert f"end what you need no more (kill {one.pid} {two.pid})" in said.err
        watched.policy(count_in_quota=False)
        assert watched.host.gpu("allocate", "--container", "train", "--user", ALICE).out == "3:0\n"


def test_who_is_in_the_way_is_named_with_its_start(watched: WatchedHost) -> None:
    with working(BOB_UID) as child:
        watched.on((child, C))
        said = watched.host.gpu("allocate", "--container", "train", "--user", ALICE, "--gpu", "2:0")
    assert said.code == 4
    pattern = rf"GPU 2:0 is used by {BOB}'s \S+ \(pid {child.pid}\) outside a container since \d\d:\d\d"
    midnight = rf"{pattern[:-9]}20\d\d-\d\d-\d\d \d\d:\d\d"
    assert re.search(pattern, said.err) or re.search(midnight, said.err)
