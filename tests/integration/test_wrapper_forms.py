"""However a line is written: nobody's container is reached, lists show one's own, and the rest is the client's."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.engine.image import IMAGE
from tests.integration.dockers import docker
from tests.integration.wrapper_host import ADMIN, ALICE, BOB, inspected

if TYPE_CHECKING:
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
    "network connect bridge …",
    "network disconnect -f bridge …",
    "network --help=false disconnect bridge …",
    "-D checkpoint create … c1",
    "checkpoint ls …",
    "checkpoint remove … c1",
    "build --network container:… .",
    "image build --network=container:… .",
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


def names(host: WrapperHost, *words: str, account: str = ALICE) -> list[str]:
    """Return the names that a list shows to an account, of this test's containers."""
    return sorted(host.must(*words, "--format", "{{.Names}}", account=account).split())


def test_lists_show_what_an_account_may_touch_and_administrators_all(host: WrapperHost, prefix: str) -> None:
    hers, his, older, compose = (f"{prefix}-{name}" for name in ("hers", "his", "older", "compose"))
    host.must("run", "-d", "--name", hers, IMAGE, "sleep", "600")
    host.must("create", "--name", his, IMAGE, account=BOB)
    docker("create", "--name", older, "--label", f"aime.mlc.USER={ALICE}", IMAGE)
    docker("run", "-d", "--name", compose, "--label", "com.docker.compose.project=web", IMAGE, "sleep", "600")
    host.forget_root()
    mine = f"--filter=name={prefix}"
    for words in (("ps", "-a"), ("container", "ls", "-a"), ("-D", "container", "list", "--all"), ("--", "ps", "-a")):
        assert names(host, *words, mine) == sorted([hers, older, compose])
        assert names(host, *words, mine, account=BOB) == sorted([his, compose])
        assert names(host, *words, mine, account=ADMIN) == sorted([hers, his, older, compose])
    assert names(host, "ps", mine) == sorted([hers, compose])
    assert names(host, "ps", "-a", "--filter", f"label=aime.mlc.USER={ALICE}", mine) == [older]
    assert names(host, "ps", "-a", "--filter", f"label=ds01.user={BOB}", mine) == []
    # What is asked for by its id is shown to nobody else, and nothing beside it.
    ids = [f"--filter=id={inspected(name)['Id'][:12]}" for name in (hers, his)]
    assert names(host, "ps", "-a", *ids) == [hers]
    assert names(host, "ps", "-a", *ids, account=BOB) == [his]
    host.change_policy(access_control={"unowned_containers": "deny"})
    assert names(host, "ps", "-a", mine) == sorted([hers, older])
    assert names(host, "ps", "-a", mine, account=BOB) == [his]


def test_a_new_container_is_in_the_list_at_once(host: WrapperHost, prefix: str) -> None:
    host.must("create", "--name", f"{prefix}-his", IMAGE, account=BOB)
    host.forget_root()
    assert names(host, "ps", "-a", f"--filter=name={prefix}") == []
    for number in range(5):
        docker("create", "--name", f"{prefix}-{number}", IMAGE)
        assert len(names(host, "ps", "-a", f"--filter=name={prefix}")) == number + 1


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
