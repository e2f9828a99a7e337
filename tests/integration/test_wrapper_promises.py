"""What an account is promised while its command decides, waits for a GPU, or is refused; the engine is real."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Final

import pytest
from tests.engine.image import IMAGE
from tests.integration.dockers import docker
from tests.integration.test_wrapper_quota import SLICE, lay_down
from tests.integration.wrapper_host import ADMIN, ALICE, BOB, inspected, make_host, uid_of, until
from tests.unit.runtime.gpu import engines

from ds01.core.gpurequest import Asked, GpuRequest
from ds01.core.rules import Rule
from ds01.core.value import replace
from ds01.runtime.containers.admission import Admission, Refusal
from ds01.runtime.containers.page import locked_page
from ds01.runtime.containers.pending import Pending
from ds01.runtime.containers.request import ContainerRequest, Verb
from ds01.runtime.wrapper import admit
from ds01.runtime.wrapper.desk import DeniedError, Desk, open_desk
from ds01.runtime.wrapper.protocol import Asked as Request

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.fixture import StartEngine
    from tests.integration.wrapper_host import WrapperHost

pytestmark = pytest.mark.docker
SLEEP: Final = (IMAGE, "sleep", "600")
GIB: Final = 1024**3
# A runtime that makes a container only once it may.
SLOW: Final = """#!/bin/sh
for word do
    if [ "$word" = create ]; then
        : >{asked}
        until [ -e {go} ]; do sleep 0.05; done
    fi
done
exec {runc} "$@"
"""
WISH: Final = ContainerRequest(Verb.RUN, memory_bytes=GIB, gpu=GpuRequest(Asked.ALL))
NO: Final = Refusal(Rule.GPU, "DS01 No GPU Free", (), "None is free.", ())


@pytest.fixture
def desk(host: WrapperHost, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A command of alice's, whose process is this one."""
    monkeypatch.setenv("SUDO_UID", str(uid_of(ALICE)))
    return open_desk(host.paths, Request(os.getpid(), unicode=True, colour=False, visible_devices="", words=()))


def promised(desk: Desk) -> tuple[Pending, ...]:
    """Return what stands on the page; the lock must be free."""
    with locked_page(desk.paths.pages, desk.caller.uid) as page:
        return page.promises


def test_a_promise_stands_while_its_command_waits_for_a_gpu_and_ends_with_a_refusal(desk: Desk) -> None:
    seen: list[tuple[Pending, ...]] = []

    def none() -> Refusal:
        seen.append(promised(desk))
        return NO

    with pytest.raises(DeniedError):
        admit._admit(desk, admit._Case(WISH, "one", "run", none))
    assert (seen, promised(desk)) == ([(Pending("one", Verb.RUN, GIB, desk.keeper),)], ())


def test_a_promise_ends_when_asking_for_a_gpu_fails(desk: Desk) -> None:
    def broken() -> Refusal:
        raise RuntimeError("no driver")

    with pytest.raises(RuntimeError):
        admit._admit(desk, admit._Case(WISH, "one", "run", broken))
    assert promised(desk) == ()


def test_a_refusal_for_a_gpu_is_counted_like_any_other(desk: Desk, host: WrapperHost) -> None:
    for number in range(11):
        with pytest.raises(DeniedError):
            admit._admit(desk, admit._Case(WISH, f"{number}", "run", lambda: NO))
    with locked_page(desk.paths.pages, desk.caller.uid) as page:
        assert (len(page.denials.times), page.denials.unsaid) == (10, 1)


def test_what_runs_is_restarted_though_the_account_is_full_and_only_a_restart_is_promised(host: WrapperHost) -> None:
    """While it is down for a moment nobody else of the account takes its place."""
    host.override(max_containers=1)
    host.must("run", "-d", "--name", "one", "--memory=1g", *SLEEP)
    for words, promised in ((("restart", "-t0", "one"), [Verb.RESTART]), (("start", "one"), [])):
        host.must(*words)
        with locked_page(host.paths.pages, uid_of(ALICE)) as page:
            assert [each.verb for each in page.promises] == promised, words
    said = host.docker("unpause", "one")
    assert (said.code, "is not paused" in said.err) == (1, True)


def test_a_slice_that_no_list_names_is_nobodys_to_choose(host: WrapperHost) -> None:
    host.change_policy(access_control={"admin_cgroup_parents": []})
    said = host.docker("create", "--cgroup-parent=any.slice", *SLEEP, account=ADMIN)
    assert (said.code, "lists no slice 'any.slice'" in said.err) == (1, True)


def test_a_container_does_not_count_beside_its_own_promise(host: WrapperHost, desk: Desk) -> None:
    host.override(max_containers=1)
    host.must("create", "--name", "one", "--memory=1g", *SLEEP)
    with locked_page(desk.paths.pages, desk.caller.uid) as page:
        page.promises = (Pending(inspected("one")["Id"], Verb.START, GIB, desk.keeper),)
    assert host.must("start", "one") == "one"


def test_who_ends_the_client_in_the_middle_of_a_start_gains_nothing(
    another_engine: StartEngine, tmp_path: Path
) -> None:
    """The engine goes on; whoever asks meanwhile is answered when it has done so."""
    slow, asked, go = tmp_path / "slow", tmp_path / "asked", tmp_path / "go"
    engine = another_engine({"runtimes": {"slow": {"path": os.fspath(slow)}}})
    slow.write_text(SLOW.format(asked=asked, go=go, runc=engine.packages.runc))
    slow.chmod(0o755)
    host = replace(make_host(tmp_path, engine.socket), environment=engine.environment)
    host.override(max_containers=1)
    host.must("create", "--name", "one", "--memory=1g", "--runtime=slow", *SLEEP)
    with subprocess.Popen(host.argv("start", "one"), env=host.env(), stderr=subprocess.DEVNULL) as client:
        until(asked.exists)
        client.kill()
    with subprocess.Popen(
        host.argv("run", "-d", "--memory=1g", *SLEEP), env=host.env(), stderr=subprocess.PIPE, text=True
    ) as second:
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(timeout=1)
        go.touch()
        _, said = second.communicate(timeout=60)
    assert (second.returncode, "Current usage:  1 container" in said) == (125, True)
    assert engine.docker("ps", "--format", "{{.Names}}") == "one"


def test_what_is_not_paused_is_the_clients_affair(host: WrapperHost) -> None:
    host.override(max_containers=1)
    for name in ("two", "one"):
        host.must("create", "--name", name, "--memory=1g", *SLEEP)
    host.must("start", "one")
    said = host.docker("unpause", "two")
    assert (said.code, said.out) == (1, "")
    assert "Quota" not in said.err
    with locked_page(host.paths.pages, uid_of(ALICE)) as page:
        assert inspected("two")["Id"] not in [each.id for each in page.promises]


def test_who_is_seen_twice_while_starting_is_looked_at_again(host: WrapperHost, desk: Desk) -> None:
    running = engines.inspected("web", labels={"ds01.user": ALICE, "ds01.created_at": "one"})
    root = host.paths.cgroup
    for folder in (root / SLICE, *(root / SLICE).parents[:2], root / SLICE / f"docker-{running['Id']}.scope"):
        lay_down(folder)
    (root / "cgroup.controllers").write_text("cpu io memory pids\n")
    with locked_page(desk.paths.pages, desk.caller.uid) as page:
        page.promises = tuple(Pending(each, Verb.RUN, 0, desk.keeper) for each in ("one", "pulls"))
    # Not listed yet, but in its group already; listed when one looks again.
    answers = iter([[]])
    with engines.engine_of(host.folder / "engine", lambda: next(answers, [running])) as engine:
        seen_twice = replace(desk, place=replace(desk.place, engine=engine))
        answer = admit._admit(seen_twice, admit._Case(ContainerRequest(Verb.RUN), "two", "run", lambda: NO))
    assert isinstance(answer, Admission)
    assert [each.id for each in promised(desk)] == ["pulls", "two"]


# --- Whose ------------------------------------------------------------------------------------------------------------


def test_an_account_is_its_whole_name(host: WrapperHost, prefix: str) -> None:
    docker("run", "-d", "--name", prefix, "-l", f"ds01.user={ALICE}2", *SLEEP)
    said = host.docker("kill", prefix)
    assert (said.code, said.err) == (1, f"Permission denied: container owned by {ALICE}2 ({prefix})\n")


def test_what_belongs_to_nobody_is_closed_where_the_policy_says_nothing(host: WrapperHost, prefix: str) -> None:
    docker("run", "-d", "--name", prefix, *SLEEP)
    host.change_policy(access_control={"unowned_containers": None})
    said = host.docker("kill", prefix)
    assert (said.code, said.err) == (1, f"Permission denied: container owned by nobody that is known ({prefix})\n")


def test_without_a_policy_others_containers_and_gpus_stay_closed(host: WrapperHost, prefix: str) -> None:
    web, had = f"{prefix}-web", f"{prefix}-had"
    docker("run", "-d", "--name", web, "-l", f"ds01.user={ALICE}", *SLEEP)
    docker("create", "--name", had, "-l", f"ds01.user={ALICE}", "-l", "ds01.allocation=a1", *SLEEP)
    host.paths.policy.unlink()
    said = host.docker("kill", web, account=BOB)
    assert (said.code, said.err.splitlines()[0]) == (
        1,
        f"docker: Permission denied: container owned by {ALICE} ({web})",
    )
    said = host.docker("start", had)
    assert said.code == 1
    assert said.err.splitlines()[0] == f"docker: {had} had a GPU, and none can be given without the policy"
    assert host.must("kill", web) == web
    assert host.must("rm", had) == had
