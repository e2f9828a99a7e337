"""Handlers run in their order, each once, and a failure says what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ds01.core.process import Completed
from ds01.deployer.handlers import HANDLERS, HandlerError, in_order, run_handler

if TYPE_CHECKING:
    from collections.abc import Sequence

BY_NAME = {handler.name: handler for handler in HANDLERS}


class Shell:
    """Runs nothing, remembers the commands, and fails those it is told to."""

    def __init__(self, **failing: int) -> None:
        self.failing = failing
        self.ran: list[str] = []

    def __call__(self, argv: Sequence[str], **_: object) -> Completed:
        self.ran.append(" ".join(argv))
        word = next((word for word in argv if word.replace("-", "_") in self.failing), None)
        code = 0 if word is None else self.failing[word.replace("-", "_")]
        return Completed(tuple(argv), code, "", "it broke\n" if code else "")


def test_handlers_come_in_their_fixed_order_each_once() -> None:
    names = ["docker-restart", "daemon-reload", "tmpfiles", "docker-reload", "daemon-reload"]
    assert [each.name for each in in_order(names)] == ["tmpfiles", "daemon-reload", "docker-reload", "docker-restart"]
    assert in_order([]) == ()


def test_an_unknown_handler_is_a_fault_of_the_manifest() -> None:
    with pytest.raises(HandlerError) as caught:
        in_order(["tmpfiles", "reboot"])
    assert caught.value.render() == "there is no handler 'reboot'\nTo fix: mend templates/manifest.yaml"


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        ("tmpfiles", ["test -e /etc/tmpfiles.d/ds01.conf", "systemd-tmpfiles --create /etc/tmpfiles.d/ds01.conf"]),
        ("daemon-reload", ["systemctl daemon-reload"]),
        (
            "docker-reload",
            ["systemctl is-active --quiet docker.service", "systemctl reload docker.service"],
        ),
        ("docker-restart", ["systemctl reset-failed docker.service", "systemctl restart docker.service"]),
    ],
)
def test_a_handler_runs_its_commands(name: str, commands: list[str]) -> None:
    shell = Shell()
    run_handler(BY_NAME[name], shell)
    assert shell.ran == commands


def test_docker_that_does_not_run_has_nothing_to_reload() -> None:
    shell = Shell(is_active=3)
    run_handler(BY_NAME["docker-reload"], shell)
    assert shell.ran == ["systemctl is-active --quiet docker.service"]


def test_folders_are_not_made_once_their_file_is_gone_again() -> None:
    shell = Shell(_e=1)
    run_handler(BY_NAME["tmpfiles"], shell)
    assert shell.ran == ["test -e /etc/tmpfiles.d/ds01.conf"]


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
        "To fix: journalctl -xe shows what the service said"
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
    def run(argv: Sequence[str], **_: object) -> Completed:
        if argv[0] == "journalctl":
            return Completed(tuple(argv), 0, DAEMON_LOG, "")
        return Completed(tuple(argv), int("restart" in argv), "", "Job for docker.service failed")

    (handler,) = in_order(["docker-restart"])
    with pytest.raises(HandlerError) as caught:
        run_handler(handler, run)
    assert caught.value.details == DAEMON_LOG.splitlines()[1]
