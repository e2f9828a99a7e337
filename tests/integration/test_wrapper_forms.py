"""However a line is written: nobody's container is reached, lists show one's own, and the rest is the client's."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from tests.engine.image import IMAGE
from tests.integration.dockers import docker, engine_socket
from tests.integration.recorder import recording
from tests.integration.wrapper_host import ADMIN, ALICE, BOB, inspected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


# --- Where the label tells all ----------------------------------------------------------------------------------------

# The account that runs these tests, as bash has it.
ME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def listing(host: WrapperHost, prefix: str) -> WrapperHost:
    """A host with a container of ours and another one; its helper only says that it was asked."""
    docker("create", "--name", f"{prefix}-mine", "--label", f"ds01.user={ME}", IMAGE)
    docker("create", "--name", f"{prefix}-his", "--label", f"ds01.user={BOB}", IMAGE)
    host.forget_root()
    host.helper.write_text("#!/bin/sh\nprintf 'asked\\n' >&2\nprintf 'refuse\\0001\\000'\n")
    host.paths.lists.parent.mkdir(parents=True, exist_ok=True)
    return host


@pytest.mark.parametrize("rest", ["\n", " alice bob\n", f" {ME}er not{ME}\n"])
def test_where_the_label_tells_all_lists_go_by_it(listing: WrapperHost, prefix: str, rest: str) -> None:
    listing.paths.lists.write_text(f"{int(time.time()) + 80}{rest}")
    mine = f"--filter=name={prefix}"
    for words in (("ps", "-a"), ("container", "ls", "-a"), ("-D", "container", "list", "--all"), ("--", "ps", "-a")):
        assert names(listing, *words, mine) == [f"{prefix}-mine"]
    ids = [f"--filter=id={inspected(f'{prefix}-{name}')['Id'][:12]}" for name in ("mine", "his")]
    assert names(listing, "ps", "-a", *ids) == [f"{prefix}-mine"]
    assert names(listing, "ps", "-a", mine, f"--filter=label=ds01.user={BOB}") == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, None),
        (0, ""),
        (0, "\n"),
        (0, "-1\n"),
        (0, "x\n"),
        (0, "08\n"),
        (0, "99999999999999999999\n"),
        (0, "a[$(exit)]\n"),
        # Without its end.
        (80, "…"),
        (-1, "…\n"),
        # The clock was set back since.
        (3600, "…\n"),
        (80, "0…\n"),
        (80, "… *\n"),
        (80, f"… alice {ME}\n"),
        (80, f"… {ME} student01\n"),
    ],
)
def test_where_the_label_may_not_tell_all_the_helper_is_asked(
    listing: WrapperHost, seconds: int, text: str | None
) -> None:
    if text is not None:
        listing.paths.lists.write_text(text.replace("…", str(int(time.time()) + seconds)))
    assert is_asked(listing, "ps -a")
    assert is_asked(listing, "container ls")


@pytest.mark.parametrize("words", ["--filter before=…", "-f since=…", "-qf=Since=…", "--filter=BEFORE=…"])
def test_older_and_newer_is_for_the_helper(listing: WrapperHost, prefix: str, words: str) -> None:
    listing.paths.lists.write_text(f"{int(time.time()) + 80}\n")
    assert is_asked(listing, f"ps {words.replace('…', f'{prefix}-his')}")
    assert not is_asked(listing, "ps -q")


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


# --- Another engine ---------------------------------------------------------------------------------------------------


@pytest.fixture
def engines(host: WrapperHost, tmp_path: Path) -> Iterator[Path]:
    """Contexts `far` and `rootless`, of engines that nobody asks a helper about, and `near`, the machine's own.

    The client is the real one; the helper only says that it was asked.
    """
    rootless = tmp_path / "rootless.sock"
    near = tmp_path / "near.sock"
    near.symlink_to(engine_socket())
    far = "tcp://127.0.0.1:9"
    for name, goal in (("far", far), ("rootless", f"unix://{rootless}"), ("near", f"unix://{near}")):
        subprocess.run(
            ["docker", "context", "create", name, "--docker", f"host={goal}"],
            env=host.env(), capture_output=True, check=True, timeout=60,
        )  # fmt: skip
    host.helper.write_text("#!/bin/sh\nprintf 'asked\\n' >&2\nprintf 'refuse\\0001\\000'\n")
    with recording(rootless):
        yield tmp_path


def is_asked(host: WrapperHost, line: str, **environment: str) -> bool:
    """Whether the helper is asked about a line."""
    argv, env = host.argv(*line.split()), host.env() | environment
    env = {name: value for name, value in env.items() if value != UNSET}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=60)
    return done.stderr == "asked\n"


UNSET = "unset"
NO_HOST = {"DOCKER_HOST": UNSET}


@pytest.mark.parametrize(
    ("line", "environment"),
    [
        ("--context far rm -f web", {}),
        ("-c far run --gpus all busybox", {}),
        ("-cfar ps", {}),
        ("-Dc far container stop web", {}),
        ("--context=rootless rm -f web", {}),
        ("-H unix://…/rootless.sock rm -f web", {}),
        ("-DH=unix://…/rootless.sock network disconnect bridge web", {}),
        ("-H tcp://127.0.0.1:9 rm -f web", {}),
        ("rm -f web", {"DOCKER_HOST": "unix://…/rootless.sock"}),
        ("rm -f web", {"DOCKER_HOST": "unix://…/absent.sock"}),
        ("rm -f web", {"DOCKER_HOST": "ssh://nobody@127.0.0.1:9"}),
        ("rm -f web", NO_HOST | {"DOCKER_CONTEXT": "far"}),
        ("--config …/.docker -c far rm -f web", {}),
        # A context that is named stands above DOCKER_HOST, and an option above DOCKER_CONTEXT.
        ("-c far rm -f web", NO_HOST | {"DOCKER_CONTEXT": "near"}),
    ],
)
def test_another_engines_line_is_left_alone(
    host: WrapperHost, engines: Path, line: str, environment: dict[str, str]
) -> None:
    environment = {name: value.replace("…", os.fspath(engines)) for name, value in environment.items()}
    assert not is_asked(host, line.replace("…", os.fspath(engines)), **environment)


@pytest.mark.parametrize(
    ("line", "environment"),
    [
        ("rm -f web", {}),
        ("--context near rm -f web", {}),
        ("-H unix://…/near.sock rm -f web", {}),
        ("-H=unix://…/./near.sock run --gpus all busybox", {}),
        ("rm -f web", NO_HOST | {"DOCKER_CONTEXT": "near"}),
        ("rm -f web", NO_HOST),
        # DOCKER_HOST stands above DOCKER_CONTEXT, and an option above both.
        ("rm -f web", {"DOCKER_CONTEXT": "far"}),
        ("-c near rm -f web", NO_HOST | {"DOCKER_CONTEXT": "far"}),
        ("-H unix://…/near.sock rm -f web", {"DOCKER_HOST": "tcp://127.0.0.1:9"}),
        # What nobody can tell is this machine's.
        ("--context absent rm -f web", {}),
        ("-c far -H unix://…/near.sock rm -f web", {}),
        ("-H web rm -f web", {}),
    ],
)
def test_the_machines_own_engine_has_many_names(
    host: WrapperHost, engines: Path, line: str, environment: dict[str, str]
) -> None:
    assert is_asked(host, line.replace("…", os.fspath(engines)), **environment)


def test_the_context_in_use_counts(host: WrapperHost, engines: Path) -> None:
    for name, asked in (("far", False), ("near", True), ("rootless", False), ("default", True)):
        argv = ["docker", "context", "use", name]
        subprocess.run(argv, env=host.env(DOCKER_HOST=""), capture_output=True, check=True, timeout=60)
        assert is_asked(host, "rm -f web", DOCKER_HOST=UNSET) is asked, name
        assert is_asked(host, "rm -f web")
        folder = engines / ".docker"
        assert is_asked(host, "rm -f web", HOME="/nonexistent", DOCKER_HOST=UNSET, DOCKER_CONFIG=f"{folder}") is asked


def test_a_socket_that_cannot_be_compared_is_the_machines(host: WrapperHost, engines: Path) -> None:
    host.wrapper.write_text(host.wrapper.read_text().replace(os.fspath(host.paths.engine), "/nonexistent/docker.sock"))
    assert is_asked(host, f"-H unix://{engines}/rootless.sock rm -f web", DOCKER_HOST=UNSET)
    assert not is_asked(host, "-H tcp://127.0.0.1:9 rm -f web", DOCKER_HOST=UNSET)
