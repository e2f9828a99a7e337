"""Handlers run in their order, each once, and a failure says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ds01.core.process import Completed
from ds01.deployer.handlers import HANDLERS, HandlerError, in_order, run_handler

if TYPE_CHECKING:
    from collections.abc import Sequence

BY_NAME = {handler.name: handler for handler in HANDLERS}


EVENTS = "docker events --filter=type=daemon --filter=event=reload --until=0s --since"


LIST = "systemctl list-units --type=slice --state=active --plain --no-legend ds01.slice ds01-*.slice"


SERVICES = ("restart-gpuwatch", "restart-sampler", "restart-eventsd")
of_each_service = pytest.mark.parametrize("name", SERVICES)


def unit_of(handler: str) -> str:
    return f"ds01-{handler.removeprefix('restart-')}.service"


def is_there(handler: str) -> str:
    return f"test -e /etc/systemd/system/{unit_of(handler)}"


class Shell:
    """Runs nothing, remembers the commands, and fails those it is told to.

    Attributes:
        told: what `docker events` says, one answer a call; the last one stays.
        journal: what the service said.
        slices: what `systemctl list-units` says.
    """

    def __init__(
        self, told: Sequence[str] = ("reloaded\n",), journal: str = "", slices: str = "", **failing: int
    ) -> None:
        self.told, self.journal, self.slices, self.failing = list(told), journal, slices, failing
        self.ran: list[str] = []

    def __call__(self, argv: Sequence[str], **_: object) -> Completed:
        self.ran.append(" ".join(argv[:-1] if argv[-2] == "--since" else argv))
        word = next((word for word in argv if word.replace("-", "_") in self.failing), None)
        code = 0 if word is None else self.failing[word.replace("-", "_")]
        said = ""
        if argv[0] == "journalctl":
            said = self.journal
        elif argv[1] == "list-units":
            said = self.slices
        elif argv[1] == "events":
            said = self.told.pop(0) if len(self.told) > 1 else self.told[0]
        return Completed(tuple(argv), code, said, "it broke\n" if code else "")


def test_handlers_come_in_their_fixed_order_each_once() -> None:
    names = ["docker-restart", "daemon-reload", "tmpfiles", "docker-reload", *SERVICES, "daemon-reload"]
    assert [each.name for each in in_order(names)] == [
        "tmpfiles",
        "daemon-reload",
        "restart-sampler",
        "restart-eventsd",
        "restart-gpuwatch",
        "docker-reload",
        "docker-restart",
    ]
    assert in_order([]) == ()


def test_an_unknown_handler_is_a_fault_of_the_manifest() -> None:
    with pytest.raises(HandlerError) as caught:
        in_order(["tmpfiles", "reboot"])
    assert caught.value.render() == "there is no handler 'reboot'\nTo fix: mend templates/manifest.yaml"


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("tmpfiles", ["test -e /etc/tmpfiles.d/ds01.conf", "systemd-tmpfiles --create /etc/tmpfiles.d/ds01.conf"]),
        ("daemon-reload", ["systemctl daemon-reload", LIST]),
        *((each, [is_there(each), f"systemctl restart {unit_of(each)}"]) for each in SERVICES),
        (
            "docker-reload",
            ["systemctl is-active --quiet docker.service", "systemctl reload docker.service", EVENTS],
        ),
        ("docker-restart", ["systemctl reset-failed docker.service", "systemctl restart docker.service"]),
    ],
)
def test_a_handler_runs_its_commands(name: str, commands: list[str]) -> None:
    shell = Shell()
    run_handler(BY_NAME[name], shell)
    assert shell.ran == commands


ACTIVE = """\
ds01-researcher-j_doe_lab_x_org.slice loaded active active Slice /ds01/researcher/j_doe_lab_x_org
ds01-researcher.slice                 loaded active active Slice /ds01/researcher
ds01-student-alice.slice              loaded active active Slice /ds01/student/alice
ds01-student.slice                    loaded active active Slice /ds01/student
ds01.slice                            loaded active active Slice /ds01
"""


def test_a_slice_of_somebodys_making_with_a_name_too_long_for_a_neighbour_stops_no_deploy() -> None:
    shell = Shell(slices=f"{ACTIVE}ds01-{'a' * 237}-x.slice loaded active active Slice /ds01/a/x\n")
    run_handler(BY_NAME["daemon-reload"], shell)
    started = next(line for line in shell.ran if line.startswith("systemctl start"))
    assert started == "systemctl start ds01-.reload.slice ds01-researcher-.reload.slice ds01-student-.reload.slice"


def test_after_a_reload_a_slice_starts_beside_those_that_are_there_so_that_the_kernel_gets_their_values() -> None:
    shell = Shell(slices=ACTIVE)
    run_handler(BY_NAME["daemon-reload"], shell)
    beside = "ds01-.reload.slice ds01-researcher-.reload.slice ds01-student-.reload.slice"
    assert shell.ran[2:] == [f"systemctl start {beside}", f"systemctl stop {beside}"]


def test_values_that_cannot_be_handed_to_the_kernel_are_a_failure() -> None:
    with pytest.raises(HandlerError) as caught:
        run_handler(BY_NAME["daemon-reload"], Shell(slices=ACTIVE, start=1))
    assert caught.value.brief == "systemctl start failed with exit code 1"


def test_docker_that_does_not_run_has_nothing_to_reload() -> None:
    shell = Shell(is_active=3)
    run_handler(BY_NAME["docker-reload"], shell)
    assert shell.ran == ["systemctl is-active --quiet docker.service"]


def test_folders_are_not_made_once_their_file_is_gone_again() -> None:
    shell = Shell(_e=1)
    run_handler(BY_NAME["tmpfiles"], shell)
    assert shell.ran == ["test -e /etc/tmpfiles.d/ds01.conf"]


@of_each_service
def test_a_service_that_is_deployed_no_more_is_stopped(name: str) -> None:
    shell = Shell(_e=1)
    run_handler(BY_NAME[name], shell)
    asked = f"systemctl is-active --quiet {unit_of(name)}"
    assert shell.ran == [is_there(name), asked, f"systemctl stop {unit_of(name)}"]
    shell = Shell(_e=1, is_active=3)
    run_handler(BY_NAME[name], shell)
    assert shell.ran[1:] == [asked]


@of_each_service
def test_a_service_that_does_not_start_is_a_failure(name: str) -> None:
    with pytest.raises(HandlerError) as caught:
        run_handler(BY_NAME[name], Shell(restart=1))
    assert caught.value.render() == (
        "systemctl restart failed with exit code 1\nit broke\nTo fix: journalctl -xe shows what the service said"
    )


def test_a_unit_that_never_failed_is_restarted_all_the_same() -> None:
    shell = Shell(reset_failed=1)
    run_handler(BY_NAME["docker-restart"], shell)
    assert shell.ran[-1] == "systemctl restart docker.service"


def test_a_failing_command_is_named_with_its_code_and_words() -> None:
    with pytest.raises(HandlerError) as caught:
        run_handler(BY_NAME["docker-restart"], Shell(restart=1))
    assert caught.value.render() == (
        "systemctl restart docker.service failed with exit code 1\n"
        "it broke\n"
        'To fix: mend /etc/docker/daemon.json and keep "live-restore": true in it, or its start stops every container'
        " that still runs; then systemctl restart docker.service"
    )


def test_only_what_disturbs_containers_says_so_and_only_the_restart_waits_for_its_word() -> None:
    assert {each.name for each in HANDLERS if each.disturbs} == {"daemon-reload", "docker-restart"}
    assert [each.name for each in HANDLERS if each.on_demand] == ["docker-restart"]


DAEMON_LOG = """\
time="2026-01-31T12:00:00Z" level=info msg="Loading containers: done."
time="2026-01-31T12:00:01Z" level=fatal msg="Error starting cluster component: --live-restore is incompatible"
docker.service: Main process exited, code=exited, status=1/FAILURE
Failed to start docker.service - Docker Application Container Engine.
"""


def test_a_docker_that_does_not_start_says_why_in_its_own_words() -> None:
    with pytest.raises(HandlerError) as caught:
        run_handler(BY_NAME["docker-restart"], Shell(journal=DAEMON_LOG, restart=1))
    assert caught.value.details == DAEMON_LOG.splitlines()[1]


def test_a_reload_is_waited_for_since_systemctl_only_sends_the_signal() -> None:
    shell, naps = Shell(told=["", "", "reloaded\n"]), []
    run_handler(BY_NAME["docker-reload"], shell, sleep=naps.append)
    assert [line for line in shell.ran if line.startswith("docker")] == [EVENTS] * 3
    assert len(naps) == 2


REFUSED = """\
time="2026-01-31T12:00:00Z" level=info msg="Got signal to reload configuration"
time="2026-01-31T12:00:00Z" level=error msg="file configuration validation failed: 'five' is not a number"
"""


def test_a_file_that_the_running_docker_refuses_is_a_failure_in_its_words() -> None:
    shell, naps = Shell(told=[""], journal=REFUSED), []
    with pytest.raises(HandlerError) as caught:
        run_handler(BY_NAME["docker-reload"], shell, sleep=naps.append)
    assert caught.value.render() == (
        f"systemctl reload docker.service was refused\n{REFUSED.splitlines()[1]}\n"
        "To fix: mend /etc/docker/daemon.json; Docker runs on with what it read before, but would not start with this"
        " file"
    )
    assert naps == []


@pytest.mark.parametrize(
    ("shell", "brief", "looks"),
    [
        (Shell(told=[""]), "systemctl reload docker.service had no effect", 50),
        (Shell(events=1), "systemctl reload docker.service had no effect", 50),
        (Shell(events=124), "systemctl reload docker.service was not answered", 1),
    ],
    ids=["silence", "errors", "no answer"],
)
def test_a_reload_that_shows_nowhere_is_a_failure(shell: Shell, brief: str, looks: int) -> None:
    with pytest.raises(HandlerError) as caught:
        run_handler(BY_NAME["docker-reload"], shell, sleep=lambda _: None)
    assert caught.value.brief == brief
    assert shell.ran.count(EVENTS) == looks


def test_without_dockers_client_nobody_can_be_asked_about_the_reload() -> None:
    shell = Shell(events=127)
    run_handler(BY_NAME["docker-reload"], shell, sleep=lambda _: None)
    assert shell.ran.count(EVENTS) == 1
