"""Whose containers a command may touch: all that it names must be the caller's."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.engine.image import IMAGE
from tests.integration.dockers import docker, engine_socket
from tests.integration.wrapper_host import ADMIN, ALICE, BOB, uid_of

if TYPE_CHECKING:
    from tests.integration.wrapper_host import WrapperHost

pytestmark = pytest.mark.docker
SLEEP = (IMAGE, "sleep", "600")
DENIED = f"Permission denied: container owned by {ALICE} (web)\n"


@pytest.fixture
def web(host: WrapperHost) -> str:
    """A running container of alice's; its id."""
    return host.must("run", "-d", "--name", "web", "--memory=1g", *SLEEP)


@pytest.mark.parametrize(
    "words",
    [
        ("stop", "web"),
        ("kill", "-s", "KILL", "web"),
        ("rm", "-f", "web"),
        ("container", "rm", "--force", "web"),
        ("exec", "web", "true"),
        ("exec", "-it", "-u", "0", "web", "sh"),
        ("attach", "web"),
        ("logs", "--tail", "5", "web"),
        ("start", "web"),
        ("restart", "-t", "0", "web"),
        ("pause", "web"),
        ("unpause", "web"),
        ("cp", "web:/etc/passwd", "-"),
        ("cp", "/etc/passwd", "web:/tmp/"),
        ("commit", "web", "stolen"),
        ("rename", "web", "mine"),
        ("update", "--memory", "2g", "web"),
        ("top", "web"),
        ("stats", "--no-stream", "web"),
        ("port", "web"),
        ("wait", "web"),
        ("diff", "web"),
        ("export", "web"),
        ("inspect", "web"),
        ("container", "inspect", "web"),
        ("-D", "stop", "web"),
        ("--log-level=error", "container", "stop", "web"),
    ],
    ids=" ".join,
)
def test_another_accounts_container_is_not_touched(host: WrapperHost, web: str, words: tuple[str, ...]):
    said = host.docker(*words, account=BOB)
    assert (said.code, said.out, said.err) == (1, "", DENIED)
    assert docker("inspect", "--format", "{{.State.Status}} {{.Name}}", web) == "running /web"
    (told,) = [each for each in host.events() if each.event_type == "admission.refused"]
    assert told.user == BOB
    assert told.details["rule"] == "ownership"
    assert told.details["containers"] == [{"container": "web", "owner": ALICE}]


@pytest.mark.parametrize(
    "words",
    [
        ("--volumes-from", "web"),
        ("--volumes-from=web:ro",),
        ("--network", "container:web"),
        ("--net=container:web",),
        ("--pid=container:web",),
        ("--ipc", "container:web"),
        ("--link", "web:db"),
    ],
    ids=" ".join,
)
def test_a_container_of_ones_own_reaches_into_no_other(host: WrapperHost, web: str, words: tuple[str, ...]):
    said = host.docker("run", "--rm", *words, IMAGE, "true", account=BOB)
    assert (said.code, said.out, said.err) == (125, "", DENIED)


def test_by_whatever_it_is_named(host: WrapperHost, web: str):
    for name in (web, web[:12], web[:3], "web", "/web"):
        said = host.docker("kill", name, account=BOB)
        assert said.code == 1
        assert said.err == f"Permission denied: container owned by {ALICE} ({name})\n"


@pytest.mark.parametrize(
    "words",
    [
        # Clients take slashes or blanks off some names, and the engine a slash off all.
        ("rm", "-f", "/web"),
        ("rm", "-f", "web/"),
        ("rm", "-f", " web "),
        ("stop", "\u00a0web"),
        ("kill", "/web"),
        ("inspect", "/web"),
        ("run", "--rm", "--network=container:/web", IMAGE, "true"),
        ("run", "--rm", "--pid=container:/web", IMAGE, "true"),
        ("run", "--rm", "--ipc=container:/web", IMAGE, "true"),
        ("run", "--rm", "--volumes-from=/web", IMAGE, "true"),
        ("run", "--rm", "--link=/web:db", IMAGE, "true"),
    ],
    ids=ascii,
)
def test_a_name_with_something_around_it_is_the_same_name(host: WrapperHost, web: str, words: tuple[str, ...]):
    said = host.docker(*words, account=BOB)
    assert "Permission denied: container owned by" in said.err
    assert said.code == (125 if words[0] == "run" else 1)
    assert docker("inspect", "--format", "{{.State.Status}}", web) == "running"


def test_a_name_may_be_as_long_as_it_likes(host: WrapperHost):
    name = "a" * 300
    host.must("run", "-d", "--name", name, "--memory=1g", *SLEEP)
    said = host.docker("rm", "-f", name, account=BOB)
    assert (said.code, said.err) == (1, f"Permission denied: container owned by {ALICE} ({name})\n")
    host.must("rm", "-f", name)


def test_all_targets_of_a_line_are_looked_at(host: WrapperHost, web: str):
    host.must("run", "-d", "--name", "mine", "--memory=1g", *SLEEP, account=BOB)
    said = host.docker("kill", "mine", "web", account=BOB)
    assert (said.code, said.err) == (1, DENIED)
    assert docker("inspect", "--format", "{{.State.Status}}", "mine", "web") == "running\nrunning"


def test_ones_own_and_what_does_not_exist_are_the_clients_affair(host: WrapperHost, web: str):
    assert host.must("exec", "web", "echo", "hello") == "hello"
    assert host.must("container", "inspect", "--format", "{{.Name}}", "web") == "/web"
    assert host.must("rename", "web", "site") == ""
    said = host.docker("kill", "no-such-container")
    assert said.code == 1
    assert "No such container: no-such-container" in said.err
    assert host.must("inspect", "--format", "{{.Os}}", IMAGE) == "linux"
    assert host.must("rm", "-f", "site") == "site"


def test_who_has_no_owner_is_as_the_policy_says(host: WrapperHost):
    docker("run", "-d", "--name", "ds01-test-legacy", *SLEEP)
    try:
        assert host.must("exec", "ds01-test-legacy", "echo", "hello") == "hello"
        assert host.events()[-1].event_type == "ownership.unowned"
        host.change_policy(access_control={"unowned_containers": "deny"})
        said = host.docker("kill", "ds01-test-legacy")
        assert said.code == 1
        assert said.err == "Permission denied: container owned by nobody that is known (ds01-test-legacy)\n"
        assert host.must("kill", "ds01-test-legacy", account=ADMIN) == "ds01-test-legacy"
    finally:
        docker("rm", "--force", "ds01-test-legacy")


def test_administrators_touch_all(host: WrapperHost, web: str):
    said = host.docker("exec", "web", "echo", "hello", account=ADMIN)
    assert (said.code, said.out, said.err) == (0, "hello\n", "")
    assert [each for each in host.events() if each.user == ADMIN] == []


@pytest.mark.parametrize("mode", ["warn", "off"])
def test_a_rule_that_is_not_enforced_stops_nobody(host: WrapperHost, web: str, mode: str):
    host.rule("ownership", mode)
    said = host.docker("exec", "web", "echo", "hello", account=BOB)
    assert (said.code, said.out) == (0, "hello\n")
    assert said.err == ("" if mode == "off" else f"ds01: warning: web is a container of {ALICE}; allowed for now\n")


def test_without_its_helper_lists_keep_to_the_label_and_prune_always_does(host: WrapperHost, web: str):
    host.must("run", "-d", "--name", "mine", "--memory=1g", *SLEEP, account=BOB)
    for account, name in ((ALICE, "hers"), (BOB, "his")):
        host.must("create", "--name", name, "--memory=1g", *SLEEP, account=account)
    # As an ordinary process of bob's, for whom there is no sudo rule here: who that is, is the kernel's word.
    client = os.path.realpath(host.paths.docker_client)
    socket = engine_socket()
    before = socket.stat().st_mode
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as undo:
        Path(folder).chmod(0o755)
        copy = Path(folder, "docker")
        copy.write_text(host.wrapper.read_text().replace(os.fspath(host.paths.docker_client), client))
        socket.chmod(0o666)
        undo.callback(socket.chmod, before)
        socket.parent.chmod(0o755)
        undo.callback(socket.parent.chmod, 0o700)
        lists = (("ps",), ("container", "ls"), ("container", "list"), ("-D", "ps", "--filter=status=running", "--all"))
        prunes = (("container", "prune", "--force"), ("-D", "system", "prune", "--force"))
        for words in (*((*words, "--format={{.Names}}") for words in lists), *prunes):
            if words in prunes:
                host.must("create", "--name", "again", "--memory=1g", *SLEEP, account=BOB)
            argv = ["setpriv", f"--reuid={uid_of(BOB)}", f"--regid={uid_of(BOB)}", "--clear-groups", "bash", "-p"]
            done = subprocess.run(
                [*argv, os.fspath(copy), *words],
                env=host.env(BOB, USER="root", LOGNAME="root", HOME=folder, DOCKER_CONFIG=folder),
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            if words in prunes:
                assert docker("ps", "--all", "--format={{.Names}}", f"--filter=label=ds01.user={BOB}") == "mine"
            else:
                assert done.stdout == "mine\n"
                assert "DS01 is out of order; only containers with your label are shown" in done.stderr
    assert "docker image prune" in done.stderr
    assert set(host.must("ps", "--format", "{{.Names}}", account=ADMIN).split()) >= {"mine", "web"}
    assert host.must("inspect", "--format", "{{.State.Status}}", "hers") == "created"


def test_a_group_whose_name_ends_alike_makes_no_administrator(host: WrapperHost, tmp_path: Path):
    own = os.getgid()
    accounts = tmp_path / "group"
    accounts.write_text(f"not-ds01-admin:x:{own}:\nds01-admin:x:{own + 4711}:\n")
    text = host.wrapper.read_text().replace("/etc/group", os.fspath(accounts)).replace("((EUID != 0)) || return 0", "")
    functions, _, _ = text.partition("# --- The helper")
    asks = ["bash", "-p", "-c", f"{functions}\nuser=somebody; is_admin"]
    assert subprocess.run(asks, check=False).returncode == 1
    accounts.write_text(f"not-ds01-admin:x:{own + 4711}:\nds01-admin:x:{own}:\n")
    assert subprocess.run(asks, check=False).returncode == 0
