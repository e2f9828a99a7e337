"""What administrators do to containers, on a real engine: whose they are is said, and they are ended at once."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.dockers import docker
from tests.integration.wrapper_host import ADMIN, ALICE, BOB, SCRIPTS, Said, WrapperHost, inspected, until

from ds01.runtime.containers.claims import read_claims

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [pytest.mark.docker, pytest.mark.root]


class Admin:
    """Runs `ds01` on a host as a process of its own, as an account behind sudo."""

    def __init__(self, host: WrapperHost) -> None:
        self.host = host

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "ds01.cli", *words, "--root", os.fspath(self.host.paths.root)]

    def env(self, account: str) -> dict[str, str]:
        return self.host.env(account, PYTHONPATH=os.fspath(SCRIPTS))

    def __call__(self, *words: str, account: str = ADMIN) -> Said:
        done = subprocess.run(
            self.argv(*words),
            env=self.env(account),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def typing(self, answer: str, *words: str) -> tuple[int, str]:
        """Run it at a terminal, and type an answer once it asks."""
        ours, theirs = pty.openpty()
        with os.fdopen(theirs, "rb", buffering=0) as terminal:
            running = subprocess.Popen(
                self.argv(*words),
                env=self.env(ADMIN),
                stdin=terminal,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert running.stdout is not None
        said = b""
        while not said.endswith(b"at once: "):
            piece = running.stdout.read1()  # type: ignore[attr-defined]  # a pipe is read through a buffer
            assert piece, said
            said += piece
        os.write(ours, answer.encode())
        said += running.stdout.read()
        running.stdout.close()
        code = running.wait(timeout=300)
        os.close(ours)
        return code, said.decode()


@pytest.fixture
def ds01(host: WrapperHost) -> Admin:
    return Admin(host)


@pytest.fixture
def start(prefix: str, image: list[str]) -> Any:
    """Start containers that came past DS01; returns their names. All go with the test."""

    def run(name: str, *options: str, command: Sequence[str] = ()) -> str:
        made = f"{prefix}-{name}"
        docker("run", "--detach", "--name", made, *options, image[0], *(command or image[1:]))
        return made

    return run


def state(name: str) -> str:
    return str(inspected(name)["State"]["Status"])


def labelled(account: str) -> tuple[str, ...]:
    return ("--label", f"ds01.user={account}")


def told(host: WrapperHost) -> list[tuple[str | None, dict[str, Any]]]:
    return [(each.user, dict(each.details)) for each in host.events() if each.event_type == "emergency.stop"]


# --- claim ------------------------------------------------------------------------------------------------------------


def test_a_claimed_container_is_its_accounts_for_the_docker_command(host: WrapperHost, ds01: Admin, start: Any):
    name = start("old")
    host.change_policy(access_control={"unowned_containers": "deny"})
    assert host.docker("inspect", name, account=ALICE).code == 1
    said = ds01("claim", name, ALICE)
    assert (said.code, said.out, said.err) == (0, f"{name} is {ALICE}'s now\n", "")
    assert host.docker("inspect", name, account=ALICE).code == 0
    refused = host.docker("stop", name, account=BOB)
    assert (refused.code, refused.err) == (1, f"Permission denied: container owned by {ALICE} ({name})\n")
    assert state(name) == "running"
    (claim,) = read_claims(host.paths).values()
    assert (claim.container_id, claim.user, claim.by) == (inspected(name)["Id"], ALICE, ADMIN)
    assert ds01("claim", "--remove", name).code == 0
    assert host.docker("inspect", name, account=ALICE).code == 1
    assert [each.event_type for each in host.events() if each.source == "claim"] == [
        "container.claimed",
        "container.unclaimed",
    ]


def test_what_the_docker_command_made_is_its_makers_unless_by_force(host: WrapperHost, ds01: Admin, image: list[str]):
    host.must("run", "-d", "--name", "ds01-test-made", "--memory=64m", *image, account=ALICE)
    said = ds01("claim", "ds01-test-made", BOB)
    assert (said.code, said.err.splitlines()[0]) == (
        4,
        f"error: ds01-test-made is {ALICE}'s, by a label that DS01 itself gave it",
    )
    assert ds01("claim", "ds01-test-made", BOB, "--force").code == 0
    assert host.must("stop", "-t", "0", "ds01-test-made", account=BOB) == "ds01-test-made"


def test_a_claim_follows_no_name_to_another_container(host: WrapperHost, ds01: Admin, start: Any):
    name = start("web")
    host.change_policy(access_control={"unowned_containers": "deny"})
    assert ds01("claim", name, ALICE).code == 0
    docker("rm", "--force", name)
    start("web")
    assert host.docker("stop", name, account=ALICE).code == 1
    other = start("other")
    assert ds01("claim", other, ALICE).code == 0
    assert [each.name for each in read_claims(host.paths).values()] == [other]


# --- emergency-stop ---------------------------------------------------------------------------------------------------

# Takes every signal that it can take for nothing.
DEAF = ("sh", "-c", "trap '' TERM INT HUP QUIT; while :; do sleep 1; done")


def test_what_a_restart_policy_would_bring_back_stays_down(host: WrapperHost, ds01: Admin, start: Any):
    always = start("always", "--restart=always", *labelled(ALICE))
    failing = start("failing", "--restart=on-failure", *labelled(ALICE))
    said = ds01("emergency-stop", "--user", ALICE, "--yes", "--reason", "it burns")
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1] == "2 containers stopped, 0 running"
    assert f"To keep them down: docker update --restart=no {always}\n" in said.err
    # Long enough for a restart, which comes within a tenth of a second.
    time.sleep(2)
    assert [state(always), state(failing)] == ["exited", "exited"]
    *each, (nobody, whole) = told(host)
    assert {(user, row["container"], row["outcome"]) for user, row in each} == {
        (ALICE, always, "stopped"),
        (ALICE, failing, "stopped"),
    }
    assert (nobody, whole) == (
        None,
        {
            "by": ADMIN,
            "scope": f"--user {ALICE}",
            "reason": "it burns",
            "outcome": "ended",
            "stopped": 2,
            "running": [],
        },
    )


def test_what_starts_again_and_again_stays_down_too(ds01: Admin, start: Any, image: list[str]):
    name = start("looping", "--restart=always", *labelled(ALICE), command=(image[1], "--no-such-option"))
    until(lambda: inspected(name)["RestartCount"] > 0)
    assert ds01("emergency-stop", "--user", ALICE, "--yes").code == 0
    time.sleep(2)
    assert state(name) == "exited"


def test_what_takes_no_signal_is_ended_without_a_grace(ds01: Admin, start: Any):
    name = start("deaf", *labelled(ALICE), command=DEAF)
    assert ds01("emergency-stop", "--user", ALICE, "--yes").code == 0
    assert (state(name), inspected(name)["State"]["ExitCode"]) == ("exited", 137)


def test_many_are_stopped_at_once_and_none_of_anybody_elses(host: WrapperHost, ds01: Admin, start: Any):
    mine = [start(f"{number}", *labelled(ALICE), "--restart=unless-stopped") for number in range(20)]
    theirs = start("theirs", *labelled(BOB))
    nobodys = start("nobodys")
    said = ds01("emergency-stop", "--user", ALICE, "--yes", "--json")
    assert said.code == 0, said.err
    document = json.loads(said.out)
    assert {(each["container"], each["outcome"], each["trouble"]) for each in document["containers"]} == {
        (name, "stopped", None) for name in mine
    }
    assert (document["scope"], document["unproven"], document["left"]) == (f"--user {ALICE}", None, [])
    assert {state(name) for name in mine} == {"exited"}
    assert [state(theirs), state(nobodys)] == ["running", "running"]
    assert len(told(host)) == 21


def test_whose_a_container_is_tells_its_slice_also_without_any_state_of_ds01(
    host: WrapperHost, ds01: Admin, start: Any
):
    slices = start("sliced", f"--cgroup-parent=ds01-student-{ALICE}.slice", *labelled(BOB))
    host.paths.policy.unlink()
    said = ds01("emergency-stop", "--user", ALICE, "--yes", account="root")
    assert said.code == 0, said.err
    assert state(slices) == "exited"


def test_nobody_but_an_administrator_stops_anything(host: WrapperHost, ds01: Admin, start: Any):
    name = start("web", *labelled(ALICE))
    for account in (BOB, ALICE):
        said = ds01("emergency-stop", "--user", ALICE, "--yes", account=account)
        assert (said.code, said.err.splitlines()[0]) == (4, f"error: {account} is not an administrator")
    assert state(name) == "running"
    assert told(host) == []


def test_it_asks_at_a_terminal_and_only_the_whole_word_will_do(host: WrapperHost, ds01: Admin, start: Any):
    name = start("web", *labelled(ALICE))
    code, said = ds01.typing("y\n", "emergency-stop", "--user", ALICE)
    assert (code, state(name)) == (4, "running")
    assert "nothing was stopped: the answer was not yes" in said
    code, said = ds01.typing("yes\n", "emergency-stop", "--user", ALICE)
    assert (code, state(name)) == (0, "exited")
    assert said.splitlines()[-1] == "1 container stopped, 0 running"


def test_without_a_terminal_and_without_a_word_nothing_is_stopped(ds01: Admin, start: Any):
    name = start("web", *labelled(ALICE))
    assert ds01("emergency-stop", "--user", ALICE).code == 2
    assert ds01("emergency-stop", "--user", ALICE, "--dry-run").code == 0
    assert state(name) == "running"


def test_the_sites_own_and_what_is_protected_go_on_when_that_is_asked_for(host: WrapperHost, ds01: Admin, start: Any):
    """`--all` is tried dry: on this engine may run what is none of this test's."""
    site, user, protected = start("site"), start("user", *labelled(ALICE)), start("kept", "--label=ds01.protected=true")
    host.change_policy(monitoring={"infrastructure_containers": [site]})
    assert ds01("claim", protected, ADMIN).code == 0
    names = {site, user, protected}

    def meant(*words: str) -> set[str]:
        said = ds01("emergency-stop", "--all", "--dry-run", "--json", *words)
        return names & {each["container"] for each in json.loads(said.out)["containers"]}

    assert meant() == {user, protected}
    assert meant("--spare-protected") == {user}
    assert meant("--including-site") == names


def test_a_gpu_is_seen_by_what_ds01_wrote_on_the_container(ds01: Admin, start: Any):
    name, none = start("gpu", "--label=ds01.allocation=abcdefgh", *labelled(ALICE)), start("none", *labelled(ALICE))
    said = json.loads(ds01("emergency-stop", "--gpu", "--dry-run", "--json").out)
    assert {name, none} & {each["container"] for each in said["containers"]} == {name}
