"""However a line is written: nobody's container is reached, lists show one's own, and the rest is the client's."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.engine.image import IMAGE
from tests.integration.dockers import docker
from tests.integration.wrapper_host import ADMIN, ALICE, BOB, inspected, make_host, uid_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.wrapper_host import WrapperHost

pytestmark = pytest.mark.docker
DENIED = f"Permission denied: container owned by {ALICE}"


@pytest.fixture
def hers(host: WrapperHost, prefix: str) -> str:
    """A container of one account that runs."""
    host.must("run", "-d", "--name", f"{prefix}-hers", IMAGE, "sleep", "600")
    return f"{prefix}-hers"


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


def test_no_verb_reaches_anothers_container_by_any_name(host: WrapperHost, hers: str) -> None:
    before = inspected(hers)
    names = (hers, before["Id"], before["Id"][:12], f"/{hers}")
    said = {}
    for number, line in enumerate(LINES):
        # Every verb once, and every kind of name in turn; /name is a file for cp.
        name = hers if line.startswith("cp") else names[number % len(names)]
        answer = host.docker(*line.replace("…", name).split(), account=BOB)
        said[line] = (answer.code, answer.out, answer.err.replace(name, "…"))
    assert said == dict.fromkeys(LINES, (1, "", f"{DENIED} (…)\n"))
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


@pytest.fixture
def shown(docker_host: str) -> Iterator[WrapperHost]:
    """A host below a folder that every account may look into."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        host = make_host(Path(folder))
        text = host.wrapper.read_text()
        assert text.count("ADMINS=(") == 1
        host.wrapper.write_text(text.replace("ADMINS=(", f"ADMINS=({ADMIN} "))
        yield host


def listed(host: WrapperHost, account: str, *words: str) -> list[str]:
    """Return the names that an account is shown: what the wrapper makes of its line, asked as root.

    The accounts here may not ask the engine; for a list the wrapper needs nobody else.
    """
    uid = str(uid_of(account))
    client = host.paths.docker_client
    client.unlink()
    client.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    client.chmod(0o755)
    ids = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--"]
    argv = [*ids, *host.argv(*words, "--format", "{{.Names}}")]
    done = subprocess.run(argv, env=host.env(account), capture_output=True, text=True, check=True, timeout=60)
    return docker(*done.stdout.split("\0")[:-1]).split()


def test_lists_show_an_accounts_own_containers_and_administrators_all(shown: WrapperHost, prefix: str) -> None:
    hers, his = f"{prefix}-hers", f"{prefix}-his"
    shown.must("run", "-d", "--name", hers, IMAGE, "sleep", "600")
    shown.must("create", "--name", his, IMAGE, account=BOB)
    for words in (("ps", "-a"), ("container", "ls", "-a"), ("-D", "container", "list", "--all"), ("--", "ps", "-a")):
        assert {account: listed(shown, account, *words) for account in (ALICE, BOB)} == {ALICE: [hers], BOB: [his]}
    assert {hers, his} <= set(listed(shown, ADMIN, "ps", "-a"))
    assert listed(shown, BOB, "ps") == []
    assert listed(shown, ALICE, "ps", "--filter", f"name={prefix}") == [hers]
    assert listed(shown, ALICE, "ps", "--filter", f"label=ds01.user={BOB}", "-a") == []


@pytest.mark.parametrize(
    "words",
    [
        ["compose", "up", "run", "-d"],
        ["buildx", "build", "."],
        ["__complete", "run", "--mem"],
        ["__completeNoDesc", "ps", ""],
        ["images", "-q"],
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
