"""The tasks' steps, joined: what they print and return for good and bad inventories, below folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.integration.machine import write_inventory

from ds01 import workflow
from ds01.core.errors import BadInputError, ExitCode
from ds01.core.tree import Part
from ds01.core.value import replace
from ds01.deployer.install import Source
from ds01.deployer.plan import Scope
from ds01.runtime.client.tables import UnknownClientError
from ds01.workflow import Options, Target

ALICE = "/etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf"


@pytest.fixture
def target(tmp_path: Path) -> Target:
    (tmp_path / "root").mkdir()
    return Target(write_inventory(tmp_path / "inventory"), None, tmp_path / "root", runtime=False)


def test_a_good_inventory_is_counted_in_one_line(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    assert workflow.validate(target.inventory, None, as_json=False) == ExitCode.DONE
    assert capsys.readouterr() == (f"0 problems, 0 notices in {target.inventory}\n", "")
    assert workflow.validate(target.inventory, None, as_json=True) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out) == {"version": 1, "valid": True, "problems": []}


def test_a_wrong_inventory_is_bad_input_with_every_problem(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    policy = target.inventory / "resource-limits.yaml"
    policy.write_text(
        policy.read_text().replace("pids_limit: 512", "pids_limt: 512").replace("memory: 4g", "memory: x")
    )
    assert workflow.validate(target.inventory, None, as_json=False) == ExitCode.BAD_INPUT
    shown = capsys.readouterr()
    assert shown.out == f"2 problems, 0 notices in {target.inventory}\n"
    assert [line.split(": ")[0] for line in shown.err.splitlines()] == [
        "inventory/resource-limits.yaml:3:11",
        "inventory/resource-limits.yaml:5:3",
    ]
    assert workflow.validate(target.inventory, None, as_json=True) == ExitCode.BAD_INPUT
    document = json.loads(capsys.readouterr().out)
    assert (document["valid"], len(document["problems"])) == (False, 2)


def test_plan_then_apply_then_plan(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    assert workflow.plan(target, None, as_json=False, only_check=True) == ExitCode.CHANGES_PENDING
    assert workflow.apply(target, Options(yes=True)) == ExitCode.DONE
    capsys.readouterr()
    assert workflow.plan(target, None, as_json=False, only_check=True) == ExitCode.DONE
    assert capsys.readouterr().out == (
        f"Plan for ds01 on {target.root}: 0 to add, 0 to change, 0 to remove, 13 unchanged\n"
    )


def test_a_plan_with_the_runtime_is_about_it_and_all_that_calls_it(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    release = Source.of_checkout(workflow.CHECKOUT).release()
    workflow.plan(replace(target, runtime=True), None, as_json=True, only_check=False)
    document = json.loads(capsys.readouterr().out)
    assert document["counts"]["add"] == 29
    added = {action["path"]: action["reason"] for action in document["actions"]}
    services = ("ds01-sampler", "ds01-eventsd", "ds01-gpuwatch")
    calls = ("ds01-recover", "profile.d", "cron.d", *services)
    found = {path: reason for path, reason in added.items() if any(each in path for each in calls)}
    assert found | {path: reason for path, reason in added.items() if "ds01/current" in reason} == {
        "/etc/profile.d/ds01.sh": "new, from templates/etc/profile.d/ds01.sh.j2",
        "/etc/cron.d/ds01": "new, from templates/etc/cron.d/ds01.j2",
        **{
            f"/etc/systemd/system/{each}.service": f"new, from templates/etc/systemd/system/{each}.service.j2"
            for each in services
        },
        **{
            f"/etc/systemd/system/multi-user.target.wants/{each}.service": f"a link to ../{each}.service"
            for each in services
        },
        "/usr/local/bin/check-limits": "a link to ../../../opt/ds01/current/bin/check-limits",
        "/usr/local/bin/ds01-resource-query": "a link to ../../../opt/ds01/current/bin/ds01-resource-query",
        "/etc/systemd/system/ds01-recover.service": ("new, from templates/etc/systemd/system/ds01-recover.service.j2"),
        "/etc/systemd/system/multi-user.target.wants/ds01-recover.service": "a link to ../ds01-recover.service",
        "/usr/local/bin/ds01": "a link to ../../../opt/ds01/current/bin/ds01",
        "/usr/local/sbin/ds01-generate-limits": "a link to ../../../opt/ds01/current/bin/ds01-generate-limits",
    }
    assert added["/opt/ds01/current"] == f"runtime {release.name} ({release.words})"


@pytest.mark.parametrize(
    ("runtime", "account", "pattern", "scope"),
    [
        (True, None, None, None),
        (False, None, None, Scope(without=Part.RUNTIME)),
        (True, "alice", None, Scope("alice")),
        (False, "alice", "/etc/*", Scope("alice", "/etc/*", Part.RUNTIME)),
    ],
)
def test_only_a_whole_target_has_no_scope(
    target: Target, *, runtime: bool, account: str | None, pattern: str | None, scope: Scope | None
) -> None:
    assert replace(target, runtime=runtime).scope(account, pattern) == scope


def test_what_is_committed_is_compared_with_the_checkouts_own_inventory_alone(
    target: Target, capsys: pytest.CaptureFixture[str]
) -> None:
    workflow.plan(target, None, as_json=True, only_check=False)
    assert json.loads(capsys.readouterr().out)["notices"] == []


def test_the_slices_alone(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    def slices(account: str | None, **flags: bool) -> int:
        wanted = {"dry_run": False, "verbose": False, "force": False} | flags
        return workflow.slices(target, account, **wanted)

    assert slices("alice", dry_run=True) == ExitCode.DONE
    assert capsys.readouterr().out == (
        f"add {ALICE}: limits of account alice\n1 to add, 0 to change, 0 to remove, 0 unchanged\n"
    )
    assert slices("alice", dry_run=True, verbose=True) == ExitCode.DONE
    assert "    +MemoryMax=8G\n" in capsys.readouterr().out
    assert slices("alice") == ExitCode.DONE
    assert [path.name for path in (target.root / "etc/systemd/system").iterdir()] == ["ds01-student-alice.slice.d"]
    assert slices(None) == ExitCode.DONE
    assert not (target.root / "etc/ds01").exists()
    assert len(list((target.root / "etc/systemd/system").iterdir())) == 8


@pytest.mark.parametrize("account", ["eve", "operator"])
def test_an_account_without_a_file_of_its_own_is_bad_input(target: Target, account: str) -> None:
    with pytest.raises(BadInputError) as caught:
        workflow.plan(target, account, as_json=False, only_check=False)
    assert caught.value.brief == f"account {account!r} has no file of its own"


def test_a_client_whose_options_are_not_known_is_refused_before_anything_is_changed(target: Target) -> None:
    policy = target.inventory / "resource-limits.yaml"
    policy.write_text(f"{policy.read_text()}\nenforcement:\n  gateway: off\n")
    docker = target.root / "usr/bin/docker"
    docker.parent.mkdir(parents=True)
    docker.write_text("#!/bin/sh\necho 'Docker version 99.0.1, build abc'\n")
    docker.chmod(0o755)
    with pytest.raises(UnknownClientError) as caught:
        workflow.apply(replace(target, runtime=True), Options(yes=True))
    assert caught.value.render().startswith("DS01 has no table of options for docker 99.0.1\n")
    assert "docker run: the client does not explain it" in caught.value.render()
    assert sorted(path.name for path in target.root.iterdir()) == ["usr"]
    # Without the runtime no wrapper is put before it.
    assert workflow.apply(target, Options(yes=True)) == ExitCode.DONE
