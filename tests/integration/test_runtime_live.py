"""The runtime on a machine whose root is `/`: commands for everybody, and what happens at boot after a crash."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.integration.machine import CHECKOUT, VENV_PYTHON, Machine, build_farm, build_machine, needs_venv
from tests.releases import transplant

from ds01.core.services import SERVICES
from ds01.core.tree import sha256
from ds01.deployer.install import Source
from ds01.deployer.release import Release

pytestmark = [
    pytest.mark.root,
    needs_venv,
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"),
]

RELOADED = ["systemctl daemon-reload"]
TMPFILES = ["systemd-tmpfiles --create /etc/tmpfiles.d/ds01.conf"]
DS01 = "/usr/local/bin/ds01"
ALICE = "etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf"
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


@pytest.fixture(scope="module")
def release() -> Release:
    return Source.of_checkout(CHECKOUT).release()


@pytest.fixture(scope="module")
def templates(
    tmp_path_factory: pytest.TempPathFactory, tiny_release: tuple[Release, Path], release: Release
) -> tuple[Path, Path, Path]:
    """Programs for the machines, the root of one where a release lies built, and of one that was deployed to."""
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace of its own can be had here")
    folder = tmp_path_factory.mktemp("machines")
    build_farm(folder / "farm")
    machine = build_machine(folder / "machine", folder / "farm")
    transplant(tiny_release[1], machine.root, release, seen_from=Path("/"))
    subprocess.run(["cp", "-a", machine.root, folder / "fresh"], check=True)
    done = machine.inv("deploy", "--yes", "--restart-docker", runtime=True)
    assert done.code == 0, done.err
    machine.log()
    return folder / "farm", folder / "fresh", machine.root


def copy_of(root: Path, farm: Path, folder: Path) -> Machine:
    machine = build_machine(folder, farm)
    shutil.rmtree(machine.root)
    subprocess.run(["cp", "-a", root, machine.root], check=True)
    return machine


@pytest.fixture
def fresh(tmp_path: Path, templates: tuple[Path, Path, Path]) -> Machine:
    return copy_of(templates[1], templates[0], tmp_path / "root")


@pytest.fixture
def deployed(tmp_path: Path, templates: tuple[Path, Path, Path]) -> Machine:
    return copy_of(templates[2], templates[0], tmp_path / "root")


def in_force(release: Release) -> dict[str, str]:
    return {
        "opt/ds01/current": f"releases/{release.name}",
        "usr/local/bin/ds01": "../../../opt/ds01/current/bin/ds01",
        "usr/local/sbin/ds01-generate-limits": "../../../opt/ds01/current/bin/ds01-generate-limits",
        "etc/systemd/system/multi-user.target.wants/ds01-recover.service": "../ds01-recover.service",
    }


def test_the_command_line_itself_installs_what_everybody_can_run(fresh: Machine, release: Release) -> None:
    done = fresh.run(str(CHECKOUT / "inv"), "deploy", "--yes", "--inventory", "/inventory", SUDO_UID="0")
    assert done.code == 0, done.err
    assert "Deployed generation 1: 28 to add, 0 to change, 1 to take over" in done.err
    assert fresh.runtime() == in_force(release)
    verified = fresh.run(DS01, "verify")
    assert verified.code == 0, verified.out
    assert f"applied  ok      runtime: {release.name} (" in verified.out
    limits = fresh.run(*AS_NOBODY, DS01, "limits", "alice", "--group", PYTHONPATH="/inventory", PYTHONHOME="/inventory")
    assert (limits.code, limits.out, limits.err) == (0, "student\n", "")
    compared = fresh.run("/usr/local/sbin/ds01-generate-limits")
    assert (compared.code, compared.out) == (0, "generation 1: 0 to add, 0 to change, 0 to remove, 8 unchanged\n")


def test_an_ordinary_account_sees_what_it_may_and_changes_nothing(deployed: Machine, release: Release) -> None:
    before = deployed.tree()
    verified = deployed.run(*AS_NOBODY, DS01, "verify")
    assert verified.code == 0, verified.out
    assert f"applied  ok      runtime: {release.name} (" in verified.out
    for words, code, said in (
        (
            ["rollback", "--yes", "--to", "1"],
            1,
            "error: /var/lib/ds01/deploy/generations/000001.json may not be read\n",
        ),
        (["history"], 1, "notice: generation 1 cannot be shown: "),
        (["recover", "--boot"], 4, "error: deploy writes to /etc and must be root\nTo fix: sudo ds01 recover\n"),
    ):
        done = deployed.run(*AS_NOBODY, DS01, *words)
        assert (done.code, done.out, done.err[: len(said)]) == (code, "", said)
    assert (deployed.tree(), deployed.log()) == (before, [])


def test_a_value_set_by_hand_concerns_its_own_account_alone(deployed: Machine) -> None:
    loaded = deployed.root / "fake/loaded/ds01-student-bob.slice.d/10-resource-limits.conf"
    loaded.write_text(loaded.read_text().replace("TasksMax=1024", "TasksMax=9"))
    compare = "/usr/local/sbin/ds01-generate-limits"
    found = deployed.run(compare)
    assert (found.code, found.out.splitlines()[0]) == (
        3,
        "ds01-student-bob.slice: TasksMax is 9, the policy says 1024",
    )
    assert [deployed.run(compare, "--user", account).code for account in ("alice", "bob")] == [0, 3]
    assert deployed.log() == []


# --- At boot ------------------------------------------------------------------------------------------------


def boot(machine: Machine) -> tuple[int, str]:
    """Do what systemd does for the service, if its condition holds."""
    unit = (machine.root / "etc/systemd/system/ds01-recover.service").read_text()
    (condition,) = re.findall(r"^ConditionPathExists=/(.*)$", unit, re.MULTILINE)
    (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert (machine.root / condition).exists()
    machine.log()
    done = machine.run(*command.split())
    assert done.out == ""
    assert not (machine.root / condition).exists()
    return done.code, done.err


def settled(tree: dict[str, tuple[int, str]]) -> dict[str, tuple[int, str]]:
    """Leave out what a deploy has only while it is under way: its journal, and the old version beside each file."""
    return {path: each for path, each in tree.items() if "/journal." not in path.replace("/.", "/") and path[-1] != "~"}


def killed_at(machine: Machine, word: str, *words: str) -> None:
    machine.trap(word, "kill")
    assert machine.inv("deploy", "--yes", *words, runtime=True).code == -9


def test_a_deploy_that_had_only_slices_to_reload_is_finished_at_boot(deployed: Machine) -> None:
    deployed.policy(members="alice, carol", memory="8g")
    killed_at(deployed, "daemon-reload")
    before = deployed.tree()
    assert boot(deployed) == (
        0,
        (
            "An interrupted deploy (generation 2) had all its files in place; finishing it.\n"
            "daemon-reload: let systemd read the changed slices\n"
        ),
    )
    assert deployed.log() == RELOADED
    assert settled(deployed.tree()) == settled(before)
    assert deployed.run(DS01, "verify").code == 0
    assert deployed.inv("plan", "--check", runtime=True).code == 0


def test_at_boot_no_service_is_waited_for_that_starts_only_afterwards(deployed: Machine) -> None:
    deployed.policy(members="alice, carol", memory="8g")
    killed_at(deployed, "daemon-reload")
    for each in SERVICES:
        add_handler(deployed, each.handler)
    code, said = boot(deployed)
    assert (code, said.splitlines()[1:]) == (0, ["daemon-reload: let systemd read the changed slices"])
    assert deployed.log() == RELOADED
    assert deployed.run(DS01, "verify").code == 0


def test_a_first_deploy_that_was_to_tell_docker_is_undone_at_boot(fresh: Machine) -> None:
    """Docker starts after this, with nobody there to see that its new file keeps it down."""
    killed_at(fresh, "reload")
    assert boot(fresh) == (
        0,
        "An interrupted deploy (generation 1) was undone: Docker had not yet been seen to take its file.\n",
    )
    assert fresh.log() == RELOADED
    assert fresh.runtime() == {}
    assert not (fresh.root / "etc/docker/daemon.json").exists()


def test_a_deploy_that_was_to_restart_docker_is_undone_at_boot(fresh: Machine) -> None:
    daemon = fresh.root / "etc/docker/daemon.json"
    daemon.parent.mkdir()
    daemon.write_text('{"data-root": "/data/docker"}\n')
    before = fresh.tree()
    killed_at(fresh, "restart", "--restart-docker")
    assert "cgroup-parent" in daemon.read_text()
    assert boot(fresh) == (
        0,
        "An interrupted deploy (generation 1) was undone: Docker had not yet been seen to take its file.\n",
    )
    assert fresh.log() == RELOADED
    after = fresh.tree()
    assert after.pop("var/log/ds01/events.jsonl") == (0o640, "")  # systemd-tmpfiles made it; its folder is the log's
    assert (after, fresh.runtime()) == (before, {})
    assert list((fresh.root / "opt/ds01/releases").iterdir()) == []  # nothing needs the release it ran from


def test_a_later_deploy_that_was_to_restart_docker_gives_back_what_was_in_force(
    deployed: Machine, tiny_release: tuple[Release, Path], release: Release
) -> None:
    """The release in force then was another one; it is in force again, and the link was never between."""
    rename_release(deployed, tiny_release[1], release)
    transplant(tiny_release[1], deployed.root, release, seen_from=Path("/"))
    daemon = deployed.root / "etc/docker/daemon.json"
    state = deployed.root / "var/lib/ds01/deploy"
    generation, manifest = state / "generations/000001.json", state / "manifest.json"
    before = {daemon: daemon.read_text(), generation: generation.read_text(), manifest: manifest.read_text()}
    deployed.policy(memory="8g")
    killed_at(deployed, "daemon-reload", "--restart-docker")
    assert deployed.runtime()["opt/ds01/current"] == f"releases/{release.name}"
    add_handler(deployed, "docker-restart")
    assert boot(deployed)[1].endswith("was undone: Docker had not yet been seen to take its file.\n")
    assert deployed.log() == RELOADED
    assert deployed.runtime()["opt/ds01/current"] == "releases/0.0.9-old"
    assert {path: path.read_text() for path in before} == before
    assert deployed.run(DS01, "verify").code == 0


def rename_release(machine: Machine, built: Path, release: Release) -> None:
    """Have generation 1 put release 0.0.9-old in force instead."""
    transplant(built, machine.root, Release("0.0.9-old", release.packages), seen_from=Path("/"))
    link = machine.root / "opt/ds01/current"
    link.unlink()
    link.symlink_to("releases/0.0.9-old")
    shutil.rmtree(machine.root / "opt/ds01/releases" / release.name)
    state = machine.root / "var/lib/ds01/deploy"
    old, new = f"releases/{release.name}", "releases/0.0.9-old"
    for file in (state / "generations/000001.json", state / "manifest.json"):
        text = file.read_text().replace(old, new).replace(sha256(old.encode()), sha256(new.encode()))
        file.write_text(text)


def add_handler(machine: Machine, name: str) -> None:
    """Have the journal say that this handler was to run too."""
    state = machine.root / "var/lib/ds01/deploy"
    listed = json.loads((state / "journal.files.json").read_text())
    listed["context"]["handlers"].append(name)
    (state / "journal.files.json").write_text(json.dumps(listed))
    digest = sha256((state / "journal.files.json").read_bytes())
    for file in (state / "journal.json", *state.glob(".journal.json.*")):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"list": digest}))


STAGE = """
from pathlib import PurePosixPath
from ds01.core.paths import HostPaths
from ds01.deployer.apply import Write, stage
from ds01.deployer.journal import State, switch
alice = PurePosixPath("/etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf")
context = {"generation": 2, "handlers": ["daemon-reload", "docker-reload", "docker-restart"]}
transaction = stage(HostPaths(), [Write(alice, b"half", 0o644)], context=context)
"""
UNDONE, TIDY = "was undone: the host is as before it.\n", "had succeeded and is tidied up.\n"
CUT_OFF = {
    "staging": ("", UNDONE),
    "applying": ("switch(HostPaths(), State.APPLYING)", UNDONE),
    "undoing": ("transaction.commit(); switch(HostPaths(), State.UNDOING)", UNDONE),
    "finishing": ("transaction.commit(); switch(HostPaths(), State.FINISHING)", TIDY),
}


@pytest.mark.parametrize(("more", "words"), CUT_OFF.values(), ids=CUT_OFF)
def test_at_boot_systemd_reads_again_what_it_read_half_way_and_docker_is_left_alone(
    deployed: Machine, more: str, words: str
) -> None:
    before = deployed.tree()
    done = deployed.run(str(VENV_PYTHON), "-I", "-B", "-c", STAGE + more)
    assert (done.code, done.err) == (0, "")
    assert boot(deployed) == (0, f"An interrupted deploy (generation 2) {words}")
    assert deployed.log() == RELOADED
    after = before if words == UNDONE else before | {ALICE: (0o644, "half")}
    assert deployed.tree() == after


def test_what_does_not_take_effect_at_boot_is_put_back(deployed: Machine) -> None:
    before = deployed.tree()
    deployed.policy(memory="8g")
    killed_at(deployed, "daemon-reload")
    forced = deployed.root / "fake/forced.json"
    forced.write_text(json.dumps({"ds01-student-alice.slice": {"MemoryMax": "infinity"}}))
    code, said = boot(deployed)
    assert (code, deployed.log()) == (1, RELOADED * 2)
    assert "error: not deployed: the host does not do what was deployed\n" in said
    assert said.splitlines()[-1] == (
        "Rolled back: the files are as before the deploy and services have read them again."
    )
    assert deployed.tree() == before
