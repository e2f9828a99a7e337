"""Deploys to a machine whose root is `/`: handlers, checks, and what happens when one of them fails."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.integration.machine import CHECKOUT, Machine, build_farm, build_machine, needs_venv, on_terminal

pytestmark = [
    pytest.mark.root,
    needs_venv,
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"),
]

RELOADED = [
    "systemctl is-active --quiet docker.service",
    "systemctl reload docker.service",
]
RESTARTED = [
    "systemctl reset-failed docker.service",
    "systemctl restart docker.service",
]
UP = {
    "info": json.dumps({"ServerVersion": "20.10.24", "CgroupDriver": "cgroupfs", "LiveRestoreEnabled": False}),
    "ps": "aaa\nbbb\n",
    "inspect": '/train\t[{"Count":-1}]\trunc\tnull\t0\t""\t{}\n/web\tnull\trunc\tnull\t0\t""\t{}\n',
}
GPU_WARNING = (
    "Warning: daemon-reload may detach GPUs from running containers"
    " where the legacy nvidia hook gives them (README: Reloads and GPUs): train\n"
)


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Programs for the machines, and the root of one that was deployed to."""
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace of its own can be had here")
    folder = tmp_path_factory.mktemp("machines")
    build_farm(folder / "farm")
    machine = build_machine(folder / "deployed", folder / "farm")
    done = machine.inv("deploy", "--yes", "--restart-docker")
    assert done.code == 0, done.err
    machine.log()
    return folder / "farm", folder / "deployed"


@pytest.fixture
def fresh(tmp_path: Path, templates: tuple[Path, Path]) -> Machine:
    return build_machine(tmp_path / "root", templates[0])


@pytest.fixture
def deployed(tmp_path: Path, templates: tuple[Path, Path]) -> Machine:
    machine = build_machine(tmp_path / "root", templates[0])
    shutil.rmtree(machine.root)
    subprocess.run(["cp", "-a", templates[1], machine.root], check=True)
    return machine


def test_a_first_deploy_runs_handlers_in_order_and_leaves_the_restart_for_its_word(fresh: Machine) -> None:
    fresh.docker(**UP)
    first = fresh.inv("deploy", "--yes")
    assert (first.code, first.err) == (
        0,
        (
            "notice: dockerd is not installed here, so its check did not run\n"
            "tmpfiles: make DS01's folders\n"
            "daemon-reload: let systemd read the changed slices\n"
            "docker-reload: let Docker read what it can take without a restart, live-restore above all\n"
            "Deployed generation 1: 13 to add, 0 to change, 0 to remove, 0 unchanged.\n"
            "Docker still has to be restarted to read daemon.json: sudo ./inv deploy --restart-docker\n"
        ),
    )
    assert GPU_WARNING in first.out
    assert "Warning: docker-restart would stop 2 running: train, web\n" in first.out
    assert fresh.log() == [
        "systemd-tmpfiles --create /etc/tmpfiles.d/ds01.conf",
        "systemctl daemon-reload",
        *RELOADED,
    ]

    second = fresh.inv("deploy", "--yes")
    assert (second.code, second.err, fresh.log()) == (
        0,
        (
            "Nothing to do: the host is as the policy says.\n"
            "Docker still has to be restarted to read daemon.json: sudo ./inv deploy --restart-docker\n"
        ),
        [],
    )
    assert fresh.inv("plan", "--check").code == 3

    third = fresh.inv("deploy", "--yes", "--restart-docker")
    assert (third.code, fresh.log()) == (0, [*RELOADED, *RESTARTED])
    assert third.err.endswith("Deployed generation 2: ran docker-reload, docker-restart.\n")
    assert fresh.inv("plan", "--check").code == 0
    assert fresh.inv("deploy", "--yes", "--restart-docker").err == "Nothing to do: the host is as the policy says.\n"


def test_a_changed_limit_reloads_systemd_once_and_touches_docker_not_at_all(deployed: Machine) -> None:
    deployed.policy(memory="8g")
    done = deployed.inv("deploy", "--yes")
    assert (done.code, deployed.log()) == (0, ["systemctl daemon-reload"])
    assert (
        "~ change /etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf:"
        " MemoryMax 8G → 16G, MemoryHigh 7372M → 14G\n" in done.out
    )


def test_a_changed_comment_reloads_nothing_and_still_counts_as_good(deployed: Machine) -> None:
    file = deployed.root / "etc/systemd/system/ds01-other.slice"
    manifest = deployed.root / "var/lib/ds01/deploy/manifest.json"
    older = file.read_text().replace("# Made by DS01", "# Once made by DS01")
    new, old = (hashlib.sha256(text.encode()).hexdigest() for text in (file.read_text(), older))
    manifest.write_text(manifest.read_text().replace(new, old))
    file.write_text(older)
    done = deployed.inv("deploy", "--yes")
    assert (done.code, deployed.log()) == (0, [])
    assert "Deployed generation 2: 0 to add, 1 to change, 0 to remove, 12 unchanged." in done.err
    again = deployed.inv("deploy", "--yes")
    assert (again.err, deployed.log()) == ("Nothing to do: the host is as the policy says.\n", [])
    assert "Changed since systemd read it, though no value in effect differs: ds01-other.slice\n" in again.out
    verified = deployed.inv("verify")
    assert verified.code == 0
    assert (
        "applied  warning ds01-other.slice: systemd has not read its changed file yet; the values in effect are"
        " right; systemctl daemon-reload once no GPU container runs\n" in verified.out
    )


def test_a_failing_handler_puts_everything_back_and_says_so(deployed: Machine) -> None:
    before = deployed.tree()
    deployed.policy(members="alice, carol", memory="8g")
    deployed.trap("daemon-reload")
    done = deployed.inv("deploy", "--yes")
    assert (done.code, done.err) == (
        1,
        (
            "daemon-reload: let systemd read the changed slices\n"
            "failed: systemctl daemon-reload failed with exit code 1; putting the files back\n"
            "error: not deployed: systemctl daemon-reload failed with exit code 1\n"
            "systemctl is told to fail\n"
            "Rolled back: the files are as before the deploy and services have read them again.\n"
            "To fix: journalctl -xe shows what the service said\n"
        ),
    )
    assert deployed.log() == ["systemctl daemon-reload", "systemctl daemon-reload"]
    assert deployed.tree() == before
    assert deployed.inv("deploy", "--yes").code == 0


def test_a_docker_that_stays_down_gets_its_old_file_back(fresh: Machine) -> None:
    daemon = fresh.root / "etc/docker/daemon.json"
    daemon.parent.mkdir()
    daemon.write_text('{"data-root": "/data/docker"}\n')
    before = fresh.tree()
    fresh.trap("restart", count=2)
    done = fresh.inv("deploy", "--yes", "--restart-docker")
    assert done.code == 1
    assert done.err.endswith(
        "error: not deployed: systemctl restart docker.service failed with exit code 1\n"
        "systemctl is told to fail\n"
        "Rolled back: the files are as before the deploy; but docker-restart failed again with the old files:"
        " systemctl restart docker.service failed with exit code 1.\n"
        'To fix: mend /etc/docker/daemon.json and keep "live-restore": true in it, or its start stops every container'
        " that still runs; then systemctl restart docker.service\n"
    )
    after = fresh.tree()
    assert after.pop("var/log/ds01/events.jsonl") == (0o640, "")  # systemd-tmpfiles made it; its folder is the log's
    assert after == before
    assert fresh.log()[-2:] == RESTARTED


def test_a_docker_that_takes_no_reload_is_not_restarted_either_way(fresh: Machine) -> None:
    fresh.trap("reload", count=1)
    done = fresh.inv("deploy", "--yes", "--restart-docker")
    assert done.code == 1
    assert "Rolled back: the files are as before the deploy and services have read them again.\n" in done.err
    assert fresh.log()[2:] == [*RELOADED, "systemctl daemon-reload", *RELOADED]


def test_checks_come_before_docker_is_restarted(fresh: Machine) -> None:
    forced = fresh.root / "fake/forced.json"
    forced.write_text(json.dumps({"ds01-student-alice.slice": {"MemoryMax": "infinity"}}))
    done = fresh.inv("deploy", "--yes", "--restart-docker")
    assert (done.code, "error: not deployed: the host does not do what was deployed\n" in done.err) == (1, True)
    assert not [line for line in fresh.log() if " restart " in line]


def test_a_value_that_does_not_take_effect_rolls_back_and_names_it(deployed: Machine) -> None:
    before = deployed.tree()
    forced = deployed.root / "fake/forced.json"
    forced.write_text(json.dumps({"ds01-student-alice.slice": {"MemoryMax": "infinity"}}))
    deployed.policy(memory="8g")
    done = deployed.inv("deploy", "--yes")
    assert done.code == 1
    assert (
        "error: not deployed: the host does not do what was deployed\n"
        "  FAILED  ds01-student-alice.slice: MemoryMax is infinity, the policy says 16G;"
        " systemctl cat ds01-student-alice.slice shows what else sets it; remove that, then systemctl daemon-reload"
        " (systemctl revert would remove DS01's files too)\n"
        "Rolled back: the files are as before the deploy and services have read them again.\n" in done.err
    )
    assert deployed.tree() == before


def test_a_value_set_by_hand_shows_in_plan_and_verify_and_a_deploy_reloads(deployed: Machine) -> None:
    loaded = deployed.root / "fake/loaded/ds01-student-bob.slice.d/10-resource-limits.conf"
    loaded.write_text(loaded.read_text().replace("TasksMax=1024", "TasksMax=9"))
    planned = deployed.inv("plan", "--check")
    assert planned.code == 3
    assert "Live value differs: ds01-student-bob.slice: TasksMax is 9, the policy says 1024\n" in planned.out
    assert "  daemon-reload: let systemd read the changed slices\n" in planned.out
    verified = deployed.inv("verify")
    assert verified.code == 1
    assert "applied  FAILED  ds01-student-bob.slice: TasksMax is 9, the policy says 1024; " in verified.out
    done = deployed.inv("deploy", stdin="y\n")
    assert (done.code, deployed.log()) == (0, ["systemctl daemon-reload"])
    assert done.err.endswith("Deployed generation 2: ran daemon-reload.\n")
    assert deployed.inv("verify").code == 0


def test_verify_says_when_systemd_gives_no_answer(deployed: Machine) -> None:
    deployed.trap("show", count=9)
    verified = deployed.inv("verify", "--json")
    document = json.loads(verified.out)
    assert (verified.code, document["ok"]) == (1, False)
    (systemd,) = (check for check in document["checks"] if check["name"] == "slices")
    assert systemd == {
        "part": "applied",
        "name": "slices",
        "status": "failed",
        "text": "systemd gives no answer: systemctl is told to fail",
        "fix": "see systemctl status",
    }
    planned = deployed.inv("plan")
    assert planned.out.endswith(
        "Notice: systemd gave no answer, so its values were not compared: systemctl is told to fail\n"
    )


def killed_at_reload(machine: Machine) -> dict[str, tuple[int, str]]:
    machine.policy(members="alice, carol", memory="8g")
    machine.trap("daemon-reload", "kill")
    assert machine.inv("deploy", "--yes").code == -9
    return machine.tree()


def test_a_deploy_killed_in_a_handler_is_finished_by_the_next(deployed: Machine) -> None:
    before = killed_at_reload(deployed)
    deployed.log()
    planned = deployed.inv("plan")
    note = "an earlier deploy was interrupted with all its files in place; the next deploy finishes it first"
    assert f"Notice: {note}\n" in planned.out
    assert deployed.tree() == before
    done = deployed.inv("deploy", "--yes")
    assert (done.code, done.err) == (
        0,
        (
            "An interrupted deploy (generation 2) had all its files in place; finishing it.\n"
            "daemon-reload: let systemd read the changed slices\n"
            "Nothing to do: the host is as the policy says.\n"
        ),
    )
    assert deployed.log() == ["systemctl daemon-reload"]
    assert deployed.inv("verify").code == 0
    assert "an earlier deploy" not in deployed.inv("plan").out


def test_a_rollback_after_a_kill_goes_back_to_the_generation_before(deployed: Machine) -> None:
    start = deployed.tree()
    killed_at_reload(deployed)
    done = deployed.inv("rollback", "--yes")
    assert done.code == 0
    assert "An interrupted deploy (generation 2) had all its files in place; finishing it.\n" in done.err
    state = "var/lib/ds01"
    assert {k: v for k, v in deployed.tree().items() if not k.startswith(state)} == {
        k: v for k, v in start.items() if not k.startswith(state)
    }


@pytest.mark.parametrize("answer", ["n\n", ""], ids=["no", "end of input"])
def test_no_answer_deploys_nothing(fresh: Machine, answer: str) -> None:
    before = fresh.tree()
    done = fresh.inv("deploy", stdin=answer)
    assert (done.code, done.err) == (
        4,
        "Deploy this? [y/N] error: not deployed: the answer was not yes\nTo fix: answer y, or deploy --yes\n",
    )
    assert (fresh.tree(), fresh.log()) == (before, [])


def test_a_deploy_without_root_is_refused(deployed: Machine) -> None:
    words = deployed.task("deploy", "--yes")
    done = deployed.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *words)
    assert (done.code, done.err) == (
        4,
        "error: deploy writes to /etc and must be root\nTo fix: sudo ./inv deploy, or try it on a folder: --root DIR\n",
    )


def test_the_command_line_itself_deploys(fresh: Machine) -> None:
    words = ("deploy", "--yes", "--no-runtime", "--inventory", "/inventory")
    done = fresh.run(str(CHECKOUT / "inv"), *words, SUDO_UID="0")
    assert done.code == 0, done.err
    assert "Deployed generation 1: 13 to add" in done.err


def strip_colours(text: str) -> str:
    for code in ("0", "1", "31", "32", "33", "33;1", "35", "36"):
        text = text.replace(f"\033[{code}m", "")
    return text


def test_on_a_terminal_there_is_colour_and_a_bar_and_in_a_pipe_there_is_neither(fresh: Machine) -> None:
    fresh.policy(members=", ".join(f"student{number}" for number in range(40)))
    shown = on_terminal(fresh.command(*fresh.task("deploy")), stdin="y\n")
    assert shown.code == 0, shown.out
    assert "\033[32m+\033[0m add \033[1m/etc/docker/daemon.json\033[0m: new" in shown.out
    assert "\rWriting [##############################] 53/53\n" in shown.out
    assert "\033" not in strip_colours(shown.out)
    fresh.policy(members="alice")
    plain = on_terminal(fresh.command(*fresh.task("plan")), NO_COLOR="1")
    piped = fresh.inv("plan")
    assert (plain.out, piped.err) == (piped.out, "")
    assert "\033" not in piped.out
