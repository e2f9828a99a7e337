"""The first deploy on a running machine of an older DS01: its services, its containers, and a deploy that fails."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.integration.machine import Machine, build_farm, build_machine, needs_venv
from tests.older_host import OLDER, UNITS, lay_older

pytestmark = [
    pytest.mark.root,
    needs_venv,
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"),
]

STUDENTS = "ds01-student"
# What `docker inspect` says of four containers; their processes are not there, so that what was asked for counts.
CONTAINERS = (
    '/alice-train\tnull\trunc\tnull\t0\t"ds01-student-alice.slice"\t{"ds01.user":"alice","ds01.managed":"true"}\n'
    '/gone\tnull\trunc\tnull\t0\t"ds01-override-alice.slice"\t{"aime.mlc.USER":"alice"}\n'
    '/train\t[{"Count":-1}]\trunc\tnull\t0\t"system.slice"\t{}\n'
    '/web\tnull\trunc\tnull\t0\t"ds01.slice"\t{"ds01.user":"bob"}\n'
)
UP = {
    "info": json.dumps({"ServerVersion": "20.10.24", "CgroupDriver": "systemd", "LiveRestoreEnabled": False}),
    "ps": "a\nb\nc\nd\n",
    "inspect": CONTAINERS,
}
RUNS = "ds01-exporter.service\nds01-workload-detector.timer\n"


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace of its own can be had here")
    folder = tmp_path_factory.mktemp("programs") / "farm"
    build_farm(folder)
    return folder


@pytest.fixture
def server(tmp_path: Path, farm: Path) -> Machine:
    machine = build_machine(tmp_path / "root", farm)
    # The machine's own /usr/local/bin is mounted over the root's; what lies there is test_takeover.py's.
    lay_older(machine.root)
    return machine


def here(machine: Machine) -> list[str]:
    """Return the older files that are there and can be seen from inside."""
    return [path for path in OLDER if "/bin/" not in path and (machine.root / path.lstrip("/")).is_symlink()] + [
        path for path in OLDER if "/bin/" not in path and (machine.root / path.lstrip("/")).is_file()
    ]


def test_what_runs_is_not_pulled_from_under_its_service(server: Machine) -> None:
    (server.root / "fake/active").write_text(RUNS)
    before = here(server)
    done = server.inv("deploy", "--yes", "--older", "remove")
    assert done.code == 4
    assert done.err.startswith("error: 4 files cannot be deployed; nothing was changed\n")
    for unit, path in (
        ("ds01-exporter.service", f"{UNITS}/ds01-exporter.service"),
        ("ds01-exporter.service", f"{UNITS}/multi-user.target.wants/ds01-exporter.service"),
        ("ds01-workload-detector.timer", f"{UNITS}/ds01-workload-detector.timer"),
        ("ds01-workload-detector.timer", f"{UNITS}/timers.target.wants/ds01-workload-detector.timer"),
    ):
        assert (
            f"  {path} belongs to {unit}, which still runs and would go on without it\n"
            f"  To fix: systemctl disable --now {unit}, or --keep it\n" in done.err
        )
    assert (here(server), server.log()) == (before, [])

    (server.root / "fake/active").write_text("")
    assert server.inv("deploy", "--yes", "--older", "remove").code == 0
    assert here(server) == []
    assert "systemctl daemon-reload" in server.log()


def test_a_systemd_that_does_not_say_what_runs_leaves_units_alone(server: Machine) -> None:
    server.trap("is-active", count=9)
    done = server.inv("deploy", "--yes", "--older", "remove")
    assert done.code == 4
    assert "ds01-exporter.service, which may still run (systemd gives no answer) and would go on without it" in done.err


def test_running_containers_go_on_and_are_told_with_what_does_not_hold(server: Machine) -> None:
    server.docker(**UP)
    outside = "so no limit over all containers of its account holds for it"
    lines = [
        (
            "Runs already: gone: runs in ds01-override-alice.slice and not in ds01-student-alice.slice, its account's;"
            " only the older label aime.mlc.USER says that it is alice's. It goes on; create it anew for all of it to"
            " hold"
        ),
        (
            f"Runs already: train: runs outside DS01's slices (system.slice), {outside}; it carries no owner label; its"
            " GPU is in no record. It goes on; create it anew for all of it to hold"
        ),
        (
            "Runs already: web: runs in ds01.slice, which many share, so no limit of its account's own holds for it. It"
            " goes on; create it anew for all of it to hold"
        ),
    ]
    planned = server.inv("plan")
    assert [line for line in planned.out.splitlines() if line.startswith("Runs already")] == lines
    lacking = json.loads(server.inv("plan", "--json").out)["lacking"]
    assert [(each["container"], sorted(each["lacks"])) for each in lacking] == [
        ("gone", ["elsewhere", "older_owner"]),
        ("train", ["gpu", "outside", "owner"]),
        ("web", ["shared"]),
    ]

    done = server.inv("deploy", "--yes", "--older", "keep")
    assert done.code == 0
    assert all(line in done.out for line in lines)
    # Nothing that the deploy did names a container, and Docker was not restarted.
    assert [line for line in server.log() if "docker" in line] == [
        "systemctl is-active --quiet docker.service",
        "systemctl reload docker.service",
    ]
    assert "Runs already" not in server.inv("plan").out


def test_verify_says_it_in_a_few_lines_each_time(server: Machine) -> None:
    server.docker(**UP)
    assert server.inv("deploy", "--yes", "--older", "keep").code == 0
    verified = server.inv("verify")
    assert verified.code == 0
    advice = "nothing stops them; create them anew, when their owners can, for all of it to hold"
    lines = [line for line in verified.out.splitlines() if "containers: " in line]
    assert lines == [
        f"host     warning containers: {words}; {advice}"
        for words in (
            "1 container outside DS01's slices, so no limit over all containers of an account holds for them: train",
            "1 container in a slice that many share, so no limit of their account's own holds for them: web",
            "1 container in another slice than their account's, whose limits hold for them instead: gone",
            "1 container without an owner label: train",
            "1 container with an owner label of an older system only: gone",
            "1 container with a GPU that is in no record: train",
        )
    ]
    server.docker(ps="a\n", inspect=CONTAINERS.splitlines(keepends=True)[0])
    good = [line for line in server.inv("verify").out.splitlines() if "containers: " in line]
    assert good == ["host     ok      containers: 1 container, each where it belongs"]


def test_a_policy_of_another_version_is_said_and_containers_are_not_held_against_it(server: Machine) -> None:
    server.docker(**UP)
    assert server.inv("deploy", "--yes", "--older", "keep").code == 0
    (server.root / "etc/ds01/policy.json").write_text('{"version": 99}\n')
    lines = [line for line in server.inv("verify").out.splitlines() if "containers: " in line]
    assert lines == [
        (
            "host     warning containers: the compiled policy has version 99, this DS01 reads version 1, so running"
            " containers were not held against it; sudo ./inv deploy --force writes it anew"
        )
    ]


def test_a_slice_that_holds_more_than_it_is_to_have_is_warned_of(server: Machine) -> None:
    group = server.root / "sys/fs/cgroup/ds01.slice/ds01-student.slice/ds01-student-alice.slice"
    group.mkdir(parents=True)
    (group / "memory.current").write_text(f"{9 * 1024**3}\n")
    (group / "memory.stat").write_text("inactive_file 0\n")
    words = "ds01-student-alice.slice holds 9G and is to have 8G: the kernel will kill processes in it"
    assert f"Warning: {words}; have its containers make room first\n" in server.inv("plan").out
    (group / "memory.current").write_text(f"{8 * 1024**3}\n")
    assert words not in server.inv("plan").out


def test_an_engine_that_is_down_is_said_once_and_stops_nothing(server: Machine) -> None:
    planned = server.inv("plan", "--older", "keep")
    assert planned.code == 0
    assert planned.out.count("running containers cannot be named, since Docker gave no answer: ") == 1


def test_a_deploy_that_fails_brings_every_older_file_back_as_it_was(server: Machine) -> None:
    def picture() -> dict[str, object]:
        found: dict[str, object] = {}
        for path in sorted(server.root.joinpath("etc").rglob("*")):
            seen = path.lstat()
            content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            found[str(path)] = (seen.st_mode, seen.st_uid, seen.st_gid, content)
        return found

    sudoers = server.root / "etc/sudoers.d/ds01-user-slice"
    shutil.chown(sudoers, group="adm")
    before = picture()
    server.trap("daemon-reload", count=2)
    done = server.inv("deploy", "--yes", "--older", "remove")
    assert done.code == 1
    assert "error: not deployed: systemctl daemon-reload failed with exit code 1\n" in done.err
    assert picture() == before
    # Nothing was settled by it: the next one asks again.
    assert server.inv("deploy", "--yes").code == 4


def test_a_state_folder_that_the_older_ds01_gave_away_is_told_and_refused_until_it_is_roots(server: Machine) -> None:
    state = server.root / "var/lib/ds01"
    state.mkdir(parents=True)
    shutil.chown(state, group="adm")
    state.chmod(0o775)
    words = "/var/lib/ds01 can be written by others than root, so root neither reads nor writes below it"
    assert f"Notice: deploy will refuse this: {words}; chmod go-w /var/lib/ds01" in server.inv("plan").out
    done = server.inv("deploy", "--yes", "--older", "remove")
    assert (done.code, done.err.splitlines()[0]) == (4, f"error: {words}")
    state.chmod(0o755)
    assert server.inv("deploy", "--yes", "--older", "remove").code == 0
