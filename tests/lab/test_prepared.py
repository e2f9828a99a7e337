"""A prepared machine has the checkout at work in it from the first moment, in both suites."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from tests.lab.machine.accounts import LISTED, UNLISTED
from tests.lab.machine.checkout import CHECKOUT
from tests.lab.machine.settings import Hardware, Suite

from ds01.core.errors import ExitCode

if TYPE_CHECKING:
    from tests.lab.machine.lab import Lab
    from tests.lab.machine.machine import Machine

pytestmark = pytest.mark.lab

INV = "/srv/ds01/inv"


def test_a_prepared_machine_plans_at_once_and_makes_no_venv_again(prepared: Machine):
    done = prepared.run([INV, "plan", "--check"])
    assert done.code == ExitCode.CHANGES_PENDING, done.words
    assert done.stdout.startswith("Plan for lab on /: ")
    assert "making .venv" not in done.stderr


def test_its_venv_is_of_the_suites_python_and_came_without_a_network(prepared: Machine, suite: Suite):
    assert prepared.must(["ip", "route", "show", "default"]) == ""
    assert prepared.must(["/srv/ds01/.venv/bin/python", "--version"]).startswith(f"Python {suite.python}.")
    prepared.script("rm -r /srv/ds01/.venv")
    done = prepared.run([INV, "--list"], timeout_seconds=300)
    assert (done.code, done.stderr.splitlines()[-1]) == (ExitCode.DONE, "inv: .venv is ready")


def test_its_host_file_tells_the_truth_about_the_engine(prepared: Machine, suite: Suite):
    version = prepared.must(["docker", "version", "--format", "{{.Server.Version}}"])
    assert version.startswith(f"{suite.engine}.")
    assert f'engine_version: "{suite.engine}"' in prepared.must(["cat", "/srv/ds01/inventory/hosts/lab.yaml"])


def test_its_checkout_is_the_working_tree_and_roots(prepared: Machine):
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout.splitlines()
    ours = sorted(name for name in names if (CHECKOUT / name).exists())
    found = prepared.script("cd /srv/ds01; find . -path ./.venv -prune -o -path ./wheelhouse -prune -o -type f -print")
    there = sorted(path.removeprefix("./") for path in found.splitlines() if "__pycache__" not in path)
    assert there == sorted([*ours, "inventory/hosts/lab.yaml"])
    assert prepared.script("find /srv/ds01 ! -user root -o ! -group root -o ! -type l -perm /022") == ""


@pytest.mark.parametrize("name", [*LISTED, UNLISTED])
def test_people_have_accounts_homes_and_groups_of_their_own(prepared: Machine, name: str):
    uid, gid, group, home, shell = prepared.must(
        ["sh", "-c", 'id -u; id -g; id -gn; pwd; echo "$SHELL"'], user=name
    ).splitlines()
    assert uid == gid
    assert (group, home, shell) == (name, f"/home/{name}", "/bin/bash")
    prepared.must(["touch", f"/home/{name}/mine"], user=name)


def test_a_change_to_the_checkout_inside_outlives_a_power_cut(lab: Lab):
    with lab.prepared("changed", hardware=Hardware(memory="1G")) as machine:
        assert "memory: 1G" in machine.must(["cat", "/srv/ds01/inventory/hosts/lab.yaml"])
        machine.script("echo eve >>/srv/ds01/inventory/groups/student.members; sync")
        machine.cut()
        machine.up()
        assert machine.must(["tail", "-n1", "/srv/ds01/inventory/groups/student.members"]) == "eve\n"
        assert machine.run([INV, "plan", "--check"]).code == ExitCode.CHANGES_PENDING
