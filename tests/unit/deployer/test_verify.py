"""Verify: one line a check with its fix; what DS01 wrote fails, what the host lacks warns."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from tests.releases import put_in_force, seal

from ds01.core.paths import HostPaths
from ds01.core.process import Completed, Run, run
from ds01.core.services import SERVICES, Service
from ds01.core.tree import Form, Part, sha256
from ds01.deployer.docker import Engine
from ds01.deployer.merge import merge_json
from ds01.deployer.owned import Owned, OwnedFile
from ds01.deployer.release import CURRENT, Release
from ds01.deployer.verify import (
    Check,
    Status,
    look_at_cron,
    look_at_host,
    look_at_services,
    verify_applied,
    verify_host,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NO_SYSTEMD = Check(
    "applied", "slices", Status.SKIPPED, "systemd is not running here, so effective values were not compared"
)
NO_RUNTIME = Check("applied", "runtime", Status.SKIPPED, "none was deployed (--no-runtime)")
AGAIN = "see ./inv plan; deploy --force writes it again"


def no_tools(argv: Sequence[str], **_: object) -> Completed:
    return Completed(tuple(argv), 127, "", f"{argv[0]} is not installed")


def owned(path: str, content: str, mode: int = 0o644, record: dict[str, object] | None = None) -> Owned:
    file = OwnedFile(sha256(content.encode()), mode, "root", "root", "x.j2", None, record)
    return Owned(4, "ds01", "hash", {PurePosixPath(path): file})


def lay(root: Path, path: str, content: str, mode: int = 0o644) -> Path:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    file.chmod(mode)
    return file


def test_before_the_first_deploy_there_is_nothing_to_prove(tmp_path: Path) -> None:
    assert verify_applied(HostPaths(tmp_path), Owned(), no_tools) == (
        Check("applied", "deploy", Status.FAILED, "nothing was deployed here yet", "sudo ./inv deploy"),
    )


def test_files_as_they_were_written_are_one_good_line(tmp_path: Path) -> None:
    lay(tmp_path, "/etc/a", "x\n")
    assert verify_applied(HostPaths(tmp_path), owned("/etc/a", "x\n"), no_tools) == (
        Check("applied", "files", Status.OK, "1 file as written by generation 4"),
        NO_RUNTIME,
        NO_SYSTEMD,
    )


def make_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def make_link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/null")


WRONG = {
    "edited": (lambda file: file.write_text("y\n"), "differs from generation 4"),
    "deleted": (lambda file: file.unlink(), "is absent"),
    "mode": (lambda file: file.chmod(0o600), "mode is 0600, not 0644"),
    "folder": (make_folder, "/etc/a is a folder"),
    "link": (make_link, "/etc/a is a symbolic link to /dev/null"),
}


@pytest.mark.parametrize(("damage", "text"), WRONG.values(), ids=WRONG)
def test_each_way_to_damage_a_file_fails_with_its_fix(tmp_path: Path, damage: object, text: str) -> None:
    damage(lay(tmp_path, "/etc/a", "x\n"))  # type: ignore[operator]
    assert verify_applied(HostPaths(tmp_path), owned("/etc/a", "x\n"), no_tools) == (
        Check("applied", "/etc/a", Status.FAILED, text, AGAIN),
        NO_RUNTIME,
        NO_SYSTEMD,
    )


MERGED = '{"dns": ["8.8.8.8"], "live-restore": true}'
RECORD = merge_json('{"live-restore": true}', '{"dns": ["8.8.8.8"]}', None).record


@pytest.mark.parametrize(
    ("content", "mode", "fails"),
    [
        (MERGED, 0o644, False),
        (MERGED.replace("8.8.8.8", "9.9.9.9"), 0o600, False),
        (MERGED.replace("true", "false"), 0o644, True),
        ("{", 0o644, True),
    ],
)
def test_in_a_merged_file_only_our_keys_count(tmp_path: Path, content: str, mode: int, *, fails: bool) -> None:
    lay(tmp_path, "/etc/docker/daemon.json", content, mode)
    state = owned("/etc/docker/daemon.json", MERGED, record=RECORD)
    found = verify_applied(HostPaths(tmp_path), state, no_tools)
    assert found[0].status is (Status.FAILED if fails else Status.OK)
    assert found[1:] == (NO_RUNTIME, NO_SYSTEMD)


def test_many_damaged_files_are_counted_not_listed(tmp_path: Path) -> None:
    files = {PurePosixPath(f"/etc/{number:02}"): OwnedFile("", 0o644, "root", "root", "") for number in range(50)}
    found = verify_applied(HostPaths(tmp_path), Owned(1, files=files), no_tools)
    more = Check("applied", "files", Status.FAILED, "and 30 more files", "see ./inv plan")
    assert (len(found), found[20:]) == (23, (more, NO_RUNTIME, NO_SYSTEMD))


@pytest.mark.root
def test_a_file_that_may_not_be_read_is_skipped_with_a_word() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        lay(Path(folder), "/etc/a", "x\n", 0o600)
        os.seteuid(65534)
        try:
            found = verify_applied(HostPaths(Path(folder)), owned("/etc/a", "x\n"), no_tools)
        finally:
            os.seteuid(0)
    text = "/etc/a may not be read; run the command as root (sudo) to see it"
    assert found == (Check("applied", "/etc/a", Status.SKIPPED, text, "run it with sudo"), NO_RUNTIME, NO_SYSTEMD)


# --- The runtime --------------------------------------------------------------------------------------------

ANEW = "sudo ./inv deploy --force builds it anew"
LINK = OwnedFile(sha256(b"releases/a"), 0o644, "root", "root", "x", form=Form.LINK, part=Part.RUNTIME)
WITH_RUNTIME = Owned(4, files={CURRENT: LINK})


def installed(root: Path, launcher: str = "#!/bin/sh\necho ds01 $1\n") -> Path:
    """Lay a release and put it in force; returns its folder."""
    folder = root / "opt/ds01/releases/a"
    lay(root, "/opt/ds01/releases/a/bin/ds01", launcher, 0o755)
    (folder / "venv/bin").mkdir(parents=True)
    (folder / "venv/bin/python").symlink_to("/bin/sh")
    seal(folder, Release("a", {"ds01": "0.1.0", "docker": "7.2.0"}))
    put_in_force(root, "a")
    return folder


def runtime(root: Path, tool: Run = run) -> Check:
    (check,) = (each for each in verify_applied(HostPaths(root), WITH_RUNTIME, tool) if each.name == "runtime")
    return check


def test_a_runtime_as_installed_whose_command_starts_is_good(tmp_path: Path) -> None:
    installed(tmp_path)
    assert runtime(tmp_path) == Check("applied", "runtime", Status.OK, "a (ds01 0.1.0, docker 7.2.0)")


RUNTIMES = {
    "edited": (lambda folder: (folder / "more").write_text(""), "a: more was added"),
    "gone": (shutil.rmtree, "a: it is gone"),
    "no release": (lambda folder: put_in_force(folder.parents[3], "a/b"), "/opt/ds01/current names no release"),
    "another release": (lambda folder: put_in_force(folder.parents[3], "b"), "b: it is gone"),
    "no link": (lambda folder: (folder.parents[1] / "current").unlink(), "/opt/ds01/current names no release"),
}


@pytest.mark.parametrize(("damage", "text"), RUNTIMES.values(), ids=RUNTIMES)
def test_each_way_to_damage_the_runtime_fails_and_nothing_of_it_runs(
    tmp_path: Path, damage: Callable[[Path], object], text: str
) -> None:
    damage(installed(tmp_path, f"#!/bin/sh\ntouch {tmp_path}/ran\n"))
    assert runtime(tmp_path) == Check("applied", "runtime", Status.FAILED, text, ANEW)
    assert not (tmp_path / "ran").exists()


def test_a_runtime_whose_command_does_not_start_fails_with_its_words(tmp_path: Path) -> None:
    installed(tmp_path, "#!/bin/sh\necho no such module >&2\nexit 1\n")
    text = "a does not start: no such module"
    assert runtime(tmp_path) == Check("applied", "runtime", Status.FAILED, text, ANEW)


def test_a_runtime_whose_python_is_gone_fails(tmp_path: Path) -> None:
    folder = installed(tmp_path)
    (folder / "venv/bin/python").unlink()
    (folder / "venv/bin/python").symlink_to("/nowhere/python")
    seal(folder, Release("a"))
    text = "a: its Python is gone: /nowhere/python"
    assert runtime(tmp_path) == Check("applied", "runtime", Status.FAILED, text, ANEW)


@pytest.mark.root
def test_a_runtime_that_may_not_be_read_is_skipped_with_a_word() -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        folder = installed(Path(name))
        (folder / "bin/ds01").chmod(0o700)
        os.seteuid(65534)
        try:
            check = runtime(Path(name), no_tools)
        finally:
            os.seteuid(0)
    text = f"{folder}/bin/ds01 may not be read; run the command as root (sudo)"
    assert check == Check("applied", "runtime", Status.SKIPPED, text, "run it with sudo")


UNITS = "/etc/systemd/system"


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
@pytest.mark.parametrize(
    ("active", "shown", "status", "text"),
    [
        ("active", "NeedDaemonReload=no", Status.OK, "{0.does}"),
        ("inactive", "", Status.WARNING, "does not run: {0.without}"),
        ("activating", "", Status.WARNING, "does not run: {0.without}"),
        ("failed", "", Status.WARNING, "does not run: {0.without}"),
        ("", "", Status.WARNING, "does not run: {0.without}"),
        (
            "active",
            "NeedDaemonReload=yes",
            Status.WARNING,
            "runs with the settings of its file before the last change",
        ),
    ],
)
def test_a_service_that_does_not_run_is_said_and_undoes_no_deploy(
    service: Service, active: str, shown: str, status: Status, text: str
) -> None:
    def answer(argv: Sequence[str], **_: object) -> Completed:
        said = {"is-active": active, "show": shown}[argv[1]]
        return Completed(tuple(argv), 0, f"{said}\n", "")

    (check,) = look_at_services(owned(f"{UNITS}/{service.unit}", "[Service]\n"), answer)
    assert (check.part, check.name, check.status, check.text) == ("applied", service.unit, status, text.format(service))
    assert bool(check.fix) == (status is not Status.OK)


def test_a_host_without_services_needs_none() -> None:
    assert list(look_at_services(owned("/etc/other", ""), no_tools)) == []


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("active\ninactive\ninactive\n", Status.OK),
        ("inactive\nactive\ninactive\n", Status.OK),
        ("inactive\ninactive\ninactive\n", Status.WARNING),
        ("failed\nactivating\nunknown\n", Status.WARNING),
        ("", Status.WARNING),
    ],
)
def test_jobs_that_nobody_starts_are_said(tmp_path: Path, said: str, status: Status) -> None:
    def answer(argv: Sequence[str], **_: object) -> Completed:
        return Completed(tuple(argv), 0, said, "")

    paths = HostPaths(tmp_path)
    assert list(look_at_cron(paths, answer)) == []
    paths.cron.parent.mkdir(parents=True)
    paths.cron.write_text("0 * * * * root true\n")
    (check,) = look_at_cron(paths, answer)
    assert (check.part, check.name, check.status) == ("host", "cron", status)
    assert bool(check.fix) == (status is not Status.OK)


def test_a_check_is_one_line_and_one_object() -> None:
    check = Check("host", "docker", Status.WARNING, "no answer", "start it")
    assert str(check) == "warning docker: no answer; start it"
    assert str(Check("applied", "files", Status.OK, "fine")) == "ok      files: fine"
    assert check.to_json() == {
        "part": "host",
        "name": "docker",
        "status": "warning",
        "text": "no answer",
        "fix": "start it",
    }


# --- The host -----------------------------------------------------------------------------------------------


def test_a_folder_is_no_host(tmp_path: Path) -> None:
    assert verify_host(HostPaths(tmp_path), no_tools) == (
        Check("host", "host", Status.SKIPPED, f"{tmp_path} is a folder, not the running machine"),
    )


GOOD = {"ServerVersion": "20.10.24+dfsg1", "CgroupDriver": "systemd", "DefaultRuntime": "runc"}
POLICY = {
    "host": {"engine_version": "20.10"},
    "access_control": {
        "bind_roots": [
            {"path": "/home/{user}", "mode": "rw"},
            {"path": "/data", "mode": "ro"},
            {"path": "/big disk/x", "mode": "rw"},
            {"path": "/homework", "mode": "rw"},
        ]
    },
}
MOUNTS = (
    "/dev/sda / ext4 rw,relatime 0 0\n"
    "/dev/sdb /home ext4 rw,nosuid,nodev,relatime 0 0\n"
    "/dev/sdc /big\\040disk ext4 rw,nodev 0 0\n"
)
V2 = Check("host", "cgroup", Status.OK, "control groups are v2")
DOCKER = Check("host", "docker", Status.OK, "engine 20.10.24+dfsg1, cgroup driver systemd")


@pytest.fixture
def machine(tmp_path: Path) -> HostPaths:
    lay(tmp_path, "/sys/fs/cgroup/cgroup.controllers", "cpu memory\n")
    lay(tmp_path, "/proc/self/mounts", MOUNTS)
    return HostPaths(tmp_path)


def test_a_good_host_is_all_ok(machine: HostPaths) -> None:
    assert look_at_host(machine, {"host": {"engine_version": "20.10"}}, Engine(GOOD)) == (V2, DOCKER)


def test_bind_roots_must_sit_on_mounts_without_setuid_and_devices(machine: HostPaths) -> None:
    fix = "add nosuid,nodev to {} in /etc/fstab and remount: a container's root can leave a setuid file"
    assert look_at_host(machine, POLICY, Engine(GOOD))[2:] == (
        Check("host", "/home", Status.OK, "bind root on /home (rw)"),
        Check("host", "/data", Status.OK, "bind root on / (ro)"),
        Check(
            "host",
            "/big disk/x",
            Status.WARNING,
            "/big disk holds bind root /big disk/x and is not mounted nosuid",
            fix.format("/big disk"),
        ),
        Check(
            "host",
            "/homework",
            Status.WARNING,
            "/ holds bind root /homework and is not mounted nodev,nosuid",
            fix.format("/"),
        ),
    )


ENGINES = {
    "down": (
        Engine({}, "Cannot connect"),
        [
            (
                "docker",
                "the engine gives no answer: Cannot connect",
                "see systemctl status docker, or run this as root",
            )
        ],
    ),
    "cgroupfs": (
        Engine(GOOD | {"CgroupDriver": "cgroupfs"}),
        [
            (
                "docker",
                "cgroup driver is cgroupfs, so slices do not hold",
                "run ds01-verify-cgroup; it prints the daemon.json that is needed",
            )
        ],
    ),
    "nvidia as the default": (
        Engine(GOOD | {"DefaultRuntime": "nvidia"}),
        [
            (
                "runtime",
                "default-runtime is nvidia: an image that says NVIDIA_VISIBLE_DEVICES=all gets every GPU",
                "remove default-runtime from daemon.json",
            )
        ],
    ),
    "updated": (
        Engine(GOOD | {"ServerVersion": "26.1.5"}),
        [
            (
                "engine_version",
                "the engine is 26.1.5, the host file says 20.10",
                "correct engine_version and deploy again",
            )
        ],
    ),
    "plugins that can be talked round": (
        Engine(GOOD | {"Plugins": {"Authorization": ["opa"]}}),
        [
            (
                "plugins",
                "engine 20.10.24+dfsg1 can be talked round its authorization plugins (CVE-2024-41110, CVE-2026-34040)",
                "update Docker to 29.3.1 or later, or drop the plugins",
            )
        ],
    ),
    "plugins of an engine that is safe": (
        Engine({"ServerVersion": "29.3.1", "CgroupDriver": "systemd", "Plugins": {"Authorization": ["opa"]}}),
        [
            (
                "engine_version",
                "the engine is 29.3.1, the host file says 20.10",
                "correct engine_version and deploy again",
            )
        ],
    ),
}


@pytest.mark.parametrize(("engine", "warnings"), ENGINES.values(), ids=ENGINES)
def test_what_an_engine_lacks_is_a_warning_with_its_fix(
    machine: HostPaths, engine: Engine, warnings: list[tuple[str, str, str]]
) -> None:
    found = look_at_host(machine, {"host": {"engine_version": "20.10"}}, engine)
    assert [(c.name, c.text, c.fix) for c in found if c.status is Status.WARNING] == warnings


def test_control_groups_of_the_old_kind_are_a_warning(tmp_path: Path) -> None:
    assert look_at_host(HostPaths(tmp_path), {}, Engine(GOOD))[0] == Check(
        "host",
        "cgroup",
        Status.WARNING,
        "control groups are not pure v2; limits may not hold",
        "boot with systemd.unified_cgroup_hierarchy=1",
    )


@pytest.mark.parametrize(
    ("said", "check"),
    [
        (
            "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1\n",
            Check(
                "host",
                "runc",
                Status.WARNING,
                "1.1.5 is older than 1.1.12 (CVE-2024-21626: a leaked descriptor reaches the host's files)",
                "update runc, unless your distribution's package has the fix",
            ),
        ),
        ("runc version 1.1.12\n", Check("host", "runc", Status.OK, "runc 1.1.12")),
        ("runc version 1.2.0-rc.1\n", Check("host", "runc", Status.OK, "runc 1.2.0")),
        ("something else\n", None),
    ],
)
def test_programs_known_to_be_unsafe_are_named(said: str, check: Check | None) -> None:
    def answer(argv: Sequence[str], **_: object) -> Completed:
        return Completed(tuple(argv), 0, said, "") if argv[0] == "runc" else no_tools(argv)

    found = [each for each in verify_host(HostPaths(), answer) if each.name == "runc"]
    assert found == ([] if check is None else [check])
