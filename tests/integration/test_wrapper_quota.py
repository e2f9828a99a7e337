"""How many containers, how much memory over all: counted from what the engine and the kernel show, races included."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.image import IMAGE
from tests.integration.dockers import docker
from tests.integration.wrapper_host import ALICE, Said, uid_of, until

if TYPE_CHECKING:
    from tests.integration.wrapper_host import WrapperHost

pytestmark = pytest.mark.docker
GIB = 1024**3
SLEEP = (IMAGE, "sleep", "600")
SLICE = "ds01.slice/ds01-student.slice/ds01-student-games.slice"


def promises(host: WrapperHost) -> list[dict[str, Any]]:
    found = json.loads((host.paths.pages / f"{uid_of(ALICE)}.json").read_text())["pending"]
    assert isinstance(found, list)
    return found


def lay_down(folder: Path, memory: int = 0, cache: int = 0, pids: int = 0) -> None:
    """Lay a control group down as the kernel shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.current").write_text(f"{memory}\n")
    (folder / "memory.stat").write_text(f"anon {memory - cache}\ninactive_file {cache}\n")
    (folder / "pids.current").write_text(f"{pids}\n")
    (folder / "cpu.stat").write_text("usage_usec 0\n")
    for name in ("memory.max", "memory.high", "pids.max"):
        (folder / name).write_text("max\n")
    (folder / "cpu.max").write_text("max 100000\n")


@pytest.fixture
def groups(host: WrapperHost) -> Path:
    """Control groups in which the account's slice stands and nothing runs."""
    root = host.paths.cgroup
    for folder in (root / SLICE, *(root / SLICE).parents[:2]):
        lay_down(folder)
    (root / "cgroup.controllers").write_text("cpu io memory pids\n")
    return root / SLICE


def scope(groups: Path, name: str, memory_max: int, memory: int = 0) -> None:
    """Lay a running container's own group down."""
    folder = groups / f"docker-{docker('inspect', '--format', '{{.Id}}', name)}.scope"
    lay_down(folder, memory)
    (folder / "memory.max").write_text(f"{memory_max}\n")


# --- Number of containers ---------------------------------------------------------------------------------------------


def test_one_container_too_many_is_refused_until_one_stops(host: WrapperHost):
    for name in ("one", "two", "three"):
        host.must("run", "-d", "--memory=1g", "--name", name, *SLEEP)
    said = host.docker("run", "-d", "--memory=1g", "--name", "four", *SLEEP)
    assert said.code == 125
    assert "|  DS01 Container Quota Exceeded" in said.err
    assert "|  Current usage:  3 containers (three, two, one)" in said.err
    assert "|  Requested:      1 more (four)" in said.err
    assert host.docker("create", "--memory=1g", IMAGE).code == 1
    host.must("kill", "two")
    host.must("run", "-d", "--memory=1g", "--name", "four", *SLEEP)
    for verb in ("start", "restart"):
        said = host.docker(verb, "two")
        assert said.code == 1
        assert "|  DS01 Container Quota Exceeded" in said.err
    assert docker("inspect", "--format", "{{.State.Status}}", "two") == "exited"
    host.must("restart", "-t0", "one")


def test_of_several_that_are_started_at_once_all_are_or_none(host: WrapperHost):
    host.must("run", "-d", "--memory=1g", "--name", "one", *SLEEP)
    for name in ("two", "three", "four"):
        docker("create", "--name", name, "-l", f"ds01.user={ALICE}", *SLEEP)
    assert host.docker("start", "two", "three", "four").code == 1
    assert [docker("inspect", "-f", "{{.State.Status}}", name) for name in ("two", "three", "four")] == ["created"] * 3
    assert promises(host) == []
    assert host.must("start", "two", "three") == "two\nthree"


def test_twenty_at_once_pass_the_limit_by_none(host: WrapperHost):
    host.override(max_containers=5)
    argv = host.argv("run", "-d", "--memory=8m", "--pids-limit=8", *SLEEP)
    started = [
        subprocess.Popen(argv, env=host.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(20)
    ]
    codes = []
    for each in started:
        each.communicate(timeout=120)
        codes.append(each.returncode)
    assert sorted(codes) == [0] * 5 + [125] * 15
    assert len(docker("ps", "--quiet", "--filter", f"label=ds01.user={ALICE}").split()) == 5


def test_what_failed_or_is_over_counts_no_more(host: WrapperHost):
    host.override(max_containers=1)
    for words in (
        (IMAGE, "no-such-program"),
        ("--rm", IMAGE, "true"),
        ("--pull=never", "no-such-image"),
        ("--network=no-such", IMAGE),
        ("-d", "--name", "brief", IMAGE, "true"),
    ) * 2:
        said = host.docker("run", "--memory=1g", *words)
        assert "Quota" not in said.err
        if "brief" in words:
            docker("wait", "brief")
            docker("rm", "brief")
    assert host.docker("run", "--memory=1g", "--rm", IMAGE, "true").code == 0


def test_a_start_that_failed_or_is_over_counts_no_more(host: WrapperHost):
    host.override(max_containers=1)
    host.must("create", "--name", "bad", "--memory=1g", IMAGE, "no-such-program")
    host.must("create", "--name", "job", "--memory=1g", IMAGE, "true")
    for words in (
        ("start", "bad"),
        ("start", "bad"),
        ("restart", "bad"),
        ("start", "-a", "job"),
        ("restart", "job"),
        ("start", "job"),
    ):
        said = host.docker(*words)
        assert ("no-such-program" in said.err, said.code != 0) == ("bad" in words, "bad" in words)
        if "job" in words:
            docker("wait", "job")
        assert host.docker("run", "--memory=1g", "--rm", IMAGE, "true") == Said(0, "", ""), words


def test_a_promise_stands_while_the_client_lives(host: WrapperHost):
    host.override(max_containers=1)
    with subprocess.Popen(host.argv("run", "--name", "one", *SLEEP), env=host.env()) as client:
        while docker("ps", "--quiet", "--filter", "name=one") == "":
            time.sleep(0.05)
        assert [each["pid"] for each in promises(host)] == [client.pid]
        assert host.docker("run", *SLEEP).code == 125
        assert promises(host) == []  # Docker shows it now
        docker("kill", "one")
    host.must("run", "-d", *SLEEP)


def test_a_page_that_is_torn_is_put_aside_and_told(host: WrapperHost):
    host.must("create", "--name", "one", *SLEEP)
    page = host.paths.pages / f"{uid_of(ALICE)}.json"
    page.write_text('{"version": 1, "pend')
    host.must("create", "--name", "two", *SLEEP)
    assert page.with_name(f"{page.name}.bad").read_text() == '{"version": 1, "pend'
    told = [str(each.details["text"]) for each in host.events() if each.event_type == "admission.fail_open"]
    assert any(f"FAIL-OPEN: {page} could not be used" in text for text in told)


# --- Memory over all --------------------------------------------------------------------------------------------------


def test_without_control_groups_the_limits_of_what_runs_count_as_docker_tells_them(host: WrapperHost):
    host.override(max_containers=10, aggregate={"memory_max_bytes": 3 * GIB})
    host.must("create", "--name", "idle", "--memory=2g", *SLEEP)
    host.must("run", "-d", "--name", "one", "--memory=2g", *SLEEP)
    said = host.docker("run", "-d", "--memory=1025m", *SLEEP)
    assert said.code == 125
    assert "|  DS01 Aggregate Memory Quota Exceeded" in said.err
    assert "|  Current usage:  2G (your containers may use that much)" in said.err
    assert "|  Requested:      1025M" in said.err
    assert "|  Your limit:     3G" in said.err
    assert host.docker("start", "idle").code == 1
    host.must("run", "-d", "--memory=1g", *SLEEP)
    told = {str(each.details["text"]) for each in host.events() if each.event_type == "admission.fail_open"}
    assert told == {f"FAIL-OPEN: {host.paths.cgroup}: no control groups are mounted here"}


def test_limits_of_running_containers_count_as_the_kernel_has_them(host: WrapperHost, groups: Path):
    host.override(max_containers=10, aggregate={"memory_max_bytes": 3 * GIB})
    host.must("run", "-d", "--name", "one", "--memory=1g", *SLEEP)
    scope(groups, "one", 2 * GIB)
    assert host.docker("run", "-d", "--memory=1025m", *SLEEP).code == 125
    host.must("run", "-d", "--memory=1g", *SLEEP)


def test_memory_in_use_counts_and_the_page_cache_does_not(host: WrapperHost, groups: Path):
    host.override(max_containers=10, aggregate={"memory_max_bytes": 3 * GIB})
    lay_down(groups, memory=5 * GIB // 2 + 4096, cache=0)
    said = host.docker("run", "-d", "--memory=1g", *SLEEP)
    assert said.code == 125
    assert "|  Current usage:  2.5G (in use right now)" in said.err
    lay_down(groups, memory=5 * GIB // 2, cache=2 * GIB)
    host.must("run", "-d", "--memory=1g", *SLEEP)
    assert host.events()[-1].event_type == "admission.refused"


def test_a_slice_that_cannot_be_read_refuses_nobody_and_is_told(host: WrapperHost, groups: Path):
    (groups / "memory.stat").unlink()
    (groups / "memory.stat").mkdir()
    host.must("create", *SLEEP)
    (told,) = host.events()
    assert told.event_type == "admission.fail_open"
    assert str(told.details["text"]).startswith(f"FAIL-OPEN: {groups / 'memory.stat'}: ")


def test_what_runs_outside_the_accounts_slice_counts_as_docker_tells_it(host: WrapperHost, groups: Path):
    host.override(max_containers=1, aggregate={"memory_max_bytes": 3 * GIB})
    shutil.rmtree(groups)
    host.must("run", "-d", "--name", "one", "--memory=1g", *SLEEP)
    said = host.docker("run", "-d", "--memory=1g", *SLEEP)
    assert (said.code, "|  Current usage:  1 container (one)" in said.err) == (125, True)
    told = [str(each.details["text"]) for each in host.events() if each.event_type == "admission.fail_open"]
    assert set(told) == {"FAIL-OPEN: no control group of the account has what Docker says runs: one"}
    host.override(max_containers=2, aggregate={"memory_max_bytes": 3 * GIB})
    assert "Aggregate Memory" in host.docker("run", "-d", "--memory=2049m", *SLEEP).err


def test_what_docker_starts_again_and_again_counts_between_its_runs(host: WrapperHost, groups: Path):
    host.override(max_containers=1)
    host.must("run", "-d", "--name", "one", "--memory=1g", "--restart=always", IMAGE, "sh", "-c", "exit 1")
    until(lambda: docker("inspect", "--format", "{{.State.Status}} {{.RestartCount}}", "one") == "restarting 5")
    assert host.docker("run", "-d", "--memory=1g", *SLEEP).code == 125
    docker("rm", "-f", "one")
    host.must("run", "-d", "--memory=1g", *SLEEP)


def test_memory_of_a_group_that_was_left_counts_too(host: WrapperHost, groups: Path):
    host.override(max_containers=10, aggregate={"memory_max_bytes": 3 * GIB})
    former = host.paths.cgroup / "ds01.slice/ds01-researcher.slice/ds01-researcher-games.slice"
    lay_down(former.parent)
    lay_down(former, memory=3 * GIB)
    assert host.docker("run", "-d", "--memory=1g", *SLEEP).code == 125
    shutil.rmtree(former)
    host.must("run", "-d", "--memory=1g", *SLEEP)


def test_nearly_all_processes_in_use_is_a_warning(host: WrapperHost, groups: Path):
    lay_down(groups, pids=11059)
    assert host.docker("create", *SLEEP).err == ""
    lay_down(groups, pids=11060)
    said = host.docker("create", *SLEEP)
    assert said.code == 0
    assert said.err.startswith("ds01: notice: your containers have 11060 of 12288 processes and threads (90%)")


def test_with_the_shipped_values_the_number_of_containers_is_reached_before_memory(host: WrapperHost):
    for _ in range(3):
        host.must("run", "-d", *SLEEP)
    assert "DS01 Container Quota Exceeded" in host.docker("run", "-d", *SLEEP).err


def test_limits_of_a_container_are_raised_within_its_own_alone(host: WrapperHost):
    host.must("run", "-d", "--name", "one", "--memory=1g", "--pids-limit=8", *SLEEP)
    host.must("run", "-d", "--name", "two", "--cpu-quota=50000", *SLEEP)
    for option, name in (
        ("--memory=33g", "one"),
        ("--pids-limit=-1", "one"),
        ("--cpus=1000", "one"),
        ("--cpu-quota=-1", "one"),
        ("--cpu-quota=-1", "two"),
        ("--cpu-period=1000", "two"),
    ):
        said = host.docker("update", option, name)
        assert (said.code, "Limit Exceeded" in said.err) == (1, True), option
    host.must("update", "--memory=2g", "--memory-swap=2g", "--pids-limit=16", "one")
    assert docker("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}", "one") == f"{2 * GIB} 16"
    # Its command is gone, which the next one sees.
    assert [(each["verb"], each["memory_bytes"]) for each in promises(host)] == [("update", 2 * GIB)]
    host.must("update", "--pids-limit=8", "one")
    assert promises(host) == []


def test_an_update_gives_no_swap(host: WrapperHost):
    host.must("run", "-d", "--name", "one", "--memory=1g", *SLEEP)
    for words, size in ((("-m2g", "--memory-swap=-1"), 2), (("--memory-swap=-1",), 2), (("--memory=3g",), 3)):
        host.must("update", *words, "one")
        found = docker("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}", "one")
        assert found == f"{size * GIB} {size * GIB}"


def test_an_update_stays_within_what_all_containers_may_have(host: WrapperHost):
    host.override(aggregate={"memory_max_bytes": 3 * GIB})
    host.must("run", "-d", "--name", "one", "--memory=1g", *SLEEP)
    host.must("run", "-d", "--name", "two", "--memory=1g", *SLEEP)
    said = host.docker("update", "--memory=32g", "--memory-swap=32g", "one")
    assert said.code == 1
    assert "|  DS01 Aggregate Memory Quota Exceeded" in said.err
    assert "|  Current usage:  1G (your other containers may use that much)" in said.err
    assert docker("inspect", "-f", "{{.HostConfig.Memory}}", "one") == str(GIB)
    host.must("update", "--memory=2g", "one")
    assert host.docker("update", "--memory=1025m", "two").code == 1
    host.must("update", "--memory=512m", "two")
    host.must("update", "--memory=1g", "two")
