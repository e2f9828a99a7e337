"""Whose a container is: nobody's command touches another's, by whatever name and in whatever company."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.engine.image import IMAGE
from tests.integration.dockers import docker
from tests.integration.wrapper_host import ADMIN, ALICE, BOB, WrapperHost, inspected, make_host, uid_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.docker
DENIED = f"Permission denied: container owned by {ALICE}"


@pytest.fixture
def host(tmp_path: Path, docker_host: str) -> WrapperHost:
    return make_host(tmp_path)


@pytest.fixture
def hers(host: WrapperHost, prefix: str) -> Iterator[str]:
    """A container of one account that runs."""
    name = f"{prefix}-hers"
    host.must("run", "-d", "--name", name, IMAGE, "sleep", "600")
    yield name
    subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=False)


LINES = (
    "stop …",
    "stop -t 0 …",
    "kill …",
    "kill -s HUP …",
    "rm -f …",
    "remove --force …",
    "container rm -fv …",
    "-D rm -f …",
    "-Dlfatal rm -f …",
    "-- rm -f …",
    "exec … true",
    "exec -i … rm /etc/passwd",
    "attach --no-stdin …",
    "logs …",
    "logs --tail 3 …",
    "cp …:/etc/passwd -",
    "cp /etc/hostname …:/tmp",
    "rename … mine",
    "inspect …",
    "inspect --format {{.Id}} …",
    "inspect --type container …",
    "container inspect …",
    "start …",
    "restart -t 0 …",
    "pause …",
    "unpause …",
    "update --memory 1g …",
    "top …",
    "stats --no-stream …",
    "port …",
    "wait …",
    "diff …",
    "export …",
    "commit … mine",
)


@pytest.mark.parametrize("line", LINES)
def test_a_command_leaves_anothers_container_alone(host: WrapperHost, hers: str, line: str) -> None:
    before = inspected(hers)
    for name in (hers, before["Id"], before["Id"][:12], f"/{hers}"):
        words = [word.replace("…", name) for word in line.split()]
        if words[0] == "cp" and name[0] == "/":
            continue  # that is a file
        said = host.docker(*words, account=BOB)
        assert (said.code, said.out, said.err) == (1, "", f"{DENIED} ({name})\n")
    assert inspected(hers) == before


@pytest.mark.parametrize(
    "options",
    [
        "--volumes-from …",
        "--volumes-from=…:ro",
        "--network container:…",
        "--net=container:…",
        "--network name=container:…",
        "--pid container:…",
        "--ipc=container:…",
        "--link …:db",
    ],
)
def test_a_new_container_reaches_into_nobody_elses(host: WrapperHost, hers: str, options: str) -> None:
    for name in (hers, f"/{hers}"):
        said = host.docker("run", "--rm", *options.replace("…", name).split(), IMAGE, "true", account=BOB)
        assert (said.code, said.err) == (125, f"{DENIED} ({name})\n")


def test_of_several_containers_all_are_touched_or_none(host: WrapperHost, hers: str, prefix: str) -> None:
    his = f"{prefix}-his"
    host.must("run", "-d", "--name", his, IMAGE, "sleep", "600", account=BOB)
    for verb in ("kill", "stop", "restart", "start"):
        assert host.docker(verb, his, hers, account=BOB).err == f"{DENIED} ({hers})\n"
        assert host.docker(verb, hers, his, account=BOB).code == 1
    assert [inspected(each)["State"]["Running"] for each in (his, hers)] == [True, True]
    assert host.must("kill", his, account=BOB) == his


def test_owners_do_what_they_like_and_what_is_not_there_the_client_says(host: WrapperHost, hers: str) -> None:
    assert host.must("exec", hers, "echo", "word") == "word"
    said = host.docker("stop", f"{hers}-not")
    plain = subprocess.run(["docker", "stop", f"{hers}-not"], capture_output=True, text=True, check=False)
    assert (said.code, said.err) == (plain.returncode, plain.stderr)
    assert host.docker("logs", "no such:name").code == 1
    assert host.must("rm", "-f", hers) == hers


def test_administrators_touch_all(host: WrapperHost, hers: str) -> None:
    assert host.must("exec", hers, "echo", "word", account=ADMIN) == "word"
    assert host.must("kill", hers, account=ADMIN) == hers


@pytest.mark.parametrize(("allowed", "code"), [("allow", 0), ("deny", 1)])
def test_what_belongs_to_nobody_is_as_the_policy_says(
    host: WrapperHost, prefix: str, allowed: str, code: int
) -> None:
    host.change_policy(access_control={"unowned_containers": allowed})
    docker("create", "--name", prefix, IMAGE)
    said = host.docker("rm", prefix)
    assert said.code == code
    types = [(each.event_type, each.user) for each in host.events()]
    assert types == [("ownership.unowned" if allowed == "allow" else "admission.refused", ALICE)]


@pytest.mark.parametrize(("mode", "words"), [("warn", f"is a container of {ALICE}; allowed for now"), ("off", "")])
def test_a_rule_that_is_not_enforced_lets_it_be(host: WrapperHost, hers: str, mode: str, words: str) -> None:
    host.rule("ownership", mode)
    said = host.docker("exec", hers, "echo", "word", account=BOB)
    assert (said.code, said.out) == (0, "word\n")
    assert words in said.err
    assert bool(said.err) == bool(words)
    assert [each.event_type for each in host.events()] == (["admission.overruled"] if words else [])


# --- Lists ------------------------------------------------------------------------------------------------------------


def listed(host: WrapperHost, account: str, *words: str) -> list[str]:
    """Run the wrapper as an account, which needs no helper for a list; return the names that it is shown."""
    uid = str(uid_of(account))
    ids = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
    done = subprocess.run(
        [*ids, *host.argv(*words, "--format", "{{.Names}}")],
        env=host.env(account),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.fixture
def shown(docker_host: str, tmp_path: Path) -> Iterator[WrapperHost]:
    """A host that every account may look at, with an engine that every account may ask."""
    socket = docker_host.removeprefix("unix://")
    mode = os.stat(socket).st_mode
    above = [each for each in (tmp_path, *tmp_path.parents) if each.stat().st_mode & 0o005 != 0o005]
    modes = {path: path.stat().st_mode for path in [*above, *_closed_above(socket)]}
    host = make_host(tmp_path)
    client = host.paths.docker_client
    client.unlink()
    shutil.copy(shutil.which("docker") or "", client)
    text = host.wrapper.read_text()
    host.wrapper.write_text(text.replace("ADMINS=(", f"ADMINS=({ADMIN} "))
    for path, before in modes.items():
        path.chmod(before | 0o055)
    os.chmod(socket, 0o666)
    yield host
    os.chmod(socket, mode)
    for path, before in modes.items():
        path.chmod(before)


def _closed_above(socket: str) -> list[Path]:
    from pathlib import Path  # noqa: PLC0415

    return [each for each in Path(socket).parents if each.stat().st_mode & 0o005 != 0o005]


def test_lists_show_an_accounts_own_containers_and_administrators_all(shown: WrapperHost, prefix: str) -> None:
    shown.must("run", "-d", "--name", f"{prefix}-hers", IMAGE, "sleep", "600")
    shown.must("create", "--name", f"{prefix}-his", IMAGE, account=BOB)
    for words in (("ps", "-a"), ("container", "ls", "-a"), ("-D", "container", "list", "--all"), ("--", "ps", "-a")):
        seen = {account: listed(shown, account, *words) for account in (ALICE, BOB)}
        assert seen == {ALICE: [f"{prefix}-hers"], BOB: [f"{prefix}-his"]}, words
    both = {f"{prefix}-hers", f"{prefix}-his"}
    assert both <= set(listed(shown, ADMIN, "ps", "-a"))
    assert listed(shown, BOB, "ps") == []
    assert listed(shown, ALICE, "ps", "--filter", f"name={prefix}-hers") == [f"{prefix}-hers"]
    assert listed(shown, ALICE, "ps", "--filter", f"label=ds01.user={BOB}", "-a") == []


@pytest.mark.parametrize(
    "words",
    [
        ["compose", "up", "run", "-d"],
        ["buildx", "build", "."],
        ["__complete", "run", "--mem"],
        ["__completeNoDesc", "ps", ""],
        ["images", "-q"],
        ["container", "prune", "-f"],
        ["--version"],
        ["-v"],
        [],
        ["-H", "tcp://127.0.0.1:1", "run", "a"],
        ["--host=ssh://a@b", "stop", "x y", "*", ""],
    ],
)
def test_everything_else_is_the_clients_untouched(host: WrapperHost, words: list[str]) -> None:
    host.paths.docker_client.unlink()
    host.paths.docker_client.write_text('#!/bin/sh\nprintf "%s\\n" "$$" "$@"\n')
    host.paths.docker_client.chmod(0o755)
    host.helper.write_text("#!/bin/sh\necho asked >&2\n")
    with subprocess.Popen(
        host.argv(*words), env=host.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        out, err = process.communicate(timeout=60)
    assert (out.split("\n"), err) == ([str(process.pid), *words, ""], "")
