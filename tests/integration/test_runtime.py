"""Deploys that install the runtime below a folder: plan, rollback, what stays, hand edits, and its commands at work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.integration.machine import CHECKOUT, Ended, inv, write_inventory
from tests.wheel import make_wheel

from ds01 import workflow
from ds01.deployer.install import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

ALICE = "etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf"
LINKS = {
    "opt/ds01/current": "releases/{}",
    "usr/local/bin/ds01": "../../../opt/ds01/current/bin/ds01",
    "usr/local/sbin/ds01-generate-limits": "../../../opt/ds01/current/bin/ds01-generate-limits",
    "etc/systemd/system/multi-user.target.wants/ds01-recover.service": "../ds01-recover.service",
}
MODULE = "venv/lib/python{0.major}.{0.minor}/site-packages/ds01/cli.py".format(sys.version_info)
NOTHING = "Nothing to do: the host is as the policy says.\n"


@dataclass(frozen=True)
class Checkout:
    """A small checkout, whose lock asks for the real packages and perhaps for one more."""

    place: Path

    @property
    def release(self) -> str:
        return Source.of_checkout(self.place).release().name


@dataclass(frozen=True)
class Host:
    """A folder to deploy to, and the inventory and checkout it is deployed from."""

    root: Path
    inventory: Path
    checkout: Checkout

    def inv(self, task: str, *more: str, runtime: bool = True) -> Ended:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(workflow, "CHECKOUT", self.checkout.place)
            inventory = ["--inventory", str(self.inventory)] if task in {"plan", "deploy"} else []
            return inv(task, *inventory, "--root", str(self.root), *more, runtime=runtime)

    def command(self, name: str, *words: str) -> Ended:
        """Run an installed command by the link that people call."""
        argv = [os.fspath(self.root / name), *words, "--root", os.fspath(self.root)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/", env={"PATH": "/usr/bin:/bin"})
        return Ended(done.returncode, done.stdout, done.stderr)

    @property
    def releases(self) -> set[str]:
        folder = self.root / "opt/ds01/releases"
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    @property
    def links(self) -> dict[str, str]:
        found = {name: self.root / name for name in LINKS}
        return {name: os.fspath(link.readlink()) for name, link in found.items() if os.path.lexists(link)}

    @property
    def current(self) -> str:
        return self.links["opt/ds01/current"].removeprefix("releases/")

    @property
    def memory(self) -> str:
        lines = (self.root / ALICE).read_text().splitlines()
        return next(line for line in lines if line.startswith("MemoryMax="))

    def copy(self, folder: Path, checkout: Checkout | None = None) -> Host:
        """Return a copy; the commands of its releases start with the Python of the original."""
        subprocess.run(["cp", "-a", self.root, folder / "root"], check=True)
        shutil.copytree(self.inventory, folder / "inventory")
        return Host(folder / "root", folder / "inventory", self.checkout if checkout is None else checkout)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real packages, fetched once, and two versions of a tiny one."""
    folder = tmp_path_factory.mktemp("wheels") / "wheelhouse"
    if (CHECKOUT / "wheelhouse").is_dir():
        shutil.copytree(CHECKOUT / "wheelhouse", folder)
        return folder
    lock = ["--require-hashes", "--only-binary=:all:", "-r", os.fspath(CHECKOUT / "requirements/host.txt")]
    pip = [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    done = subprocess.run([*pip, *lock, "--dest", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def checkouts(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> tuple[Checkout, ...]:
    """Three, from which three releases are made."""
    found = []
    for number, version in enumerate([None, "1.0", "2.0"]):
        place = tmp_path_factory.mktemp(f"checkout{number}")
        for part in ("scripts", "requirements", "templates", "schemas"):
            shutil.copytree(CHECKOUT / part, place / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("tasks.py", "inv"):
            shutil.copy(CHECKOUT / part, place / part)
        (place / "wheelhouse").symlink_to(wheels)
        if version is not None:
            with (place / "requirements/host.txt").open("a") as lock:
                lock.write(make_wheel(wheels, version))
        found.append(Checkout(place))
    return tuple(found)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, checkouts: tuple[Checkout, ...]) -> tuple[Host, ...]:
    """A host after each of three deploys, each with another release and another limit; none is changed by a test."""

    def deployed() -> Iterator[Host]:
        host = Host(tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("inventory"), checkouts[0])
        for number, checkout in enumerate(checkouts):
            host = host.copy(tmp_path_factory.mktemp(f"host{number}"), checkout)
            write_inventory(host.inventory, memory=f"{number + 4}g")
            done = host.inv("deploy", "--yes")
            assert done.code == 0, done.err
            yield host

    return tuple(deployed())


@pytest.fixture
def first(tmp_path: Path, hosts: tuple[Host, ...]) -> Host:
    return hosts[0].copy(tmp_path)


@pytest.fixture
def second(tmp_path: Path, hosts: tuple[Host, ...]) -> Host:
    return hosts[1].copy(tmp_path)


@pytest.fixture
def third(tmp_path: Path, hosts: tuple[Host, ...]) -> Host:
    return hosts[2].copy(tmp_path)


def links_to(release: str) -> dict[str, str]:
    return {name: goal.format(release) for name, goal in LINKS.items()}


# --- the plan, and what a deploy leaves


def test_the_plan_shows_a_new_runtime_like_a_file(tmp_path: Path, checkouts: tuple[Checkout, ...]) -> None:
    host = Host(tmp_path / "root", write_inventory(tmp_path / "inventory"), checkouts[0])
    host.root.mkdir()
    done = host.inv("plan", "--check")
    (line,) = (line for line in done.out.splitlines() if " /opt/ds01/current: " in line)
    assert line.startswith(f"+ add /opt/ds01/current: runtime {host.checkout.release} (ds01 0.1.0, Python 3."), line
    assert ", docker 7." in line
    assert (done.code, list(host.root.iterdir())) == (3, [])


def test_the_plan_shows_which_versions_change(second: Host, checkouts: tuple[Checkout, ...]) -> None:
    old, new = checkouts[1].release, checkouts[2].release
    done = Host(second.root, second.inventory, checkouts[2]).inv("plan")
    assert f"~ change /opt/ds01/current: runtime {old} → {new} (tiny 1.0 → 2.0)\n" in done.out
    assert "0 to add, 1 to change, 0 to remove, " in done.out


def test_once_deployed_there_is_nothing_to_do(first: Host) -> None:
    assert (first.links, first.releases) == (links_to(first.checkout.release), {first.checkout.release})
    assert first.inv("plan", "--check").code == 0
    again = first.inv("deploy", "--yes")
    assert (again.code, again.err) == (0, NOTHING)
    assert first.inv("verify").code == 0


def test_a_rollback_takes_the_runtime_back_with_the_policy(second: Host, checkouts: tuple[Checkout, ...]) -> None:
    assert (second.current, second.memory) == (checkouts[1].release, "MemoryMax=10G")
    done = second.inv("rollback", "--yes")
    assert (done.code, second.current, second.memory) == (0, checkouts[0].release, "MemoryMax=8G")
    assert second.inv("verify").code == 0
    assert second.inv("rollback", "--yes").code == 0
    assert (second.current, second.memory) == (checkouts[1].release, "MemoryMax=10G")
    assert second.releases == {checkouts[0].release, checkouts[1].release}


def test_the_two_newest_releases_stay(third: Host, checkouts: tuple[Checkout, ...]) -> None:
    newest = {checkouts[1].release, checkouts[2].release}
    assert (third.releases, third.current) == (newest, checkouts[2].release)
    assert third.inv("rollback", "--yes").code == 0
    assert (third.releases, third.current) == (newest, checkouts[1].release)


def test_a_rollback_to_a_release_that_is_gone_needs_no_runtime(third: Host, checkouts: tuple[Checkout, ...]) -> None:
    gone = checkouts[0].release
    done = third.inv("rollback", "--to", "1", "--yes")
    assert (done.code, third.current, third.memory) == (4, checkouts[2].release, "MemoryMax=12G")
    assert (
        f"/opt/ds01/current: /opt/ds01/releases/{gone}: this release is gone, since only 2 stay;"
        " --no-runtime leaves the runtime as it is\n" in done.err
    )
    assert third.inv("rollback", "--to", "1", "--yes", "--no-runtime").code == 0
    assert (third.current, third.memory) == (checkouts[2].release, "MemoryMax=8G")


def test_without_the_runtime_nothing_of_it_comes(tmp_path: Path, checkouts: tuple[Checkout, ...]) -> None:
    host = Host(tmp_path / "root", write_inventory(tmp_path / "inventory"), checkouts[0])
    host.root.mkdir()
    assert host.inv("deploy", "--yes", runtime=False).code == 0
    assert ((host.root / ALICE).exists(), host.links, host.releases) == (True, {}, set())
    assert host.inv("plan", "--check", runtime=False).code == 0
    assert host.inv("plan", "--check").code == 3
    assert "applied  skipped runtime: none was deployed (--no-runtime)\n" in host.inv("verify").out


def test_without_the_runtime_what_is_there_stays(first: Host, checkouts: tuple[Checkout, ...]) -> None:
    write_inventory(first.inventory, memory="8g")
    host = Host(first.root, first.inventory, checkouts[1])
    assert host.inv("deploy", "--yes", runtime=False).code == 0
    assert (host.links, host.memory) == (links_to(checkouts[0].release), "MemoryMax=16G")
    assert host.releases == {checkouts[0].release}
    assert host.inv("verify").code == 0


# --- hand edits, and a Python that went


def test_an_edited_release_is_drift_until_a_fresh_one_takes_its_place(first: Host) -> None:
    name = first.checkout.release
    edited = first.root / "opt/ds01/releases" / name / MODULE
    edited.write_text("# by hand\n")
    verified = first.inv("verify")
    assert verified.code == 1
    assert f"applied  FAILED  runtime: {name}: {MODULE} differs" in verified.out

    assert f"/opt/ds01/releases/{name} was edited by hand: {MODULE} differs; a fresh one" in first.inv("plan").out
    refused = first.inv("deploy", "--yes")
    assert (refused.code, first.current, first.releases) == (4, name, {name})
    assert "1 file changed by hand since the last deploy; nothing was deployed\n" in refused.err

    forced = first.inv("deploy", "--yes", "--force")
    assert (forced.code, first.current, first.releases) == (0, f"{name}.2", {name, f"{name}.2"}), forced.err
    assert edited.read_text() == "# by hand\n"
    assert first.inv("verify").code == 0
    assert first.inv("deploy", "--yes").err == NOTHING


def test_a_release_whose_python_went_is_replaced_without_force(first: Host) -> None:
    name = first.checkout.release
    folder = first.root / "opt/ds01/releases" / name
    # As after an upgrade of the distribution's Python: the link is as it was, and leads nowhere.
    python = folder / "venv/bin/python"
    manifest = json.loads((folder / "release.json").read_text())
    while (python.parent / python.readlink()).parent == python.parent:
        python = python.parent / python.readlink()
    python.unlink()
    python.symlink_to("/opt/removed/bin/python3")
    manifest["files"][os.fspath(python.relative_to(folder))] = "-> /opt/removed/bin/python3"
    (folder / "release.json").write_text(json.dumps(manifest))

    words = "its Python is gone: /opt/removed/bin/python3"
    assert f"runtime: {name}: {words}" in first.inv("verify").out
    assert f"/opt/ds01/releases/{name}: {words}; {name}.2 takes its place\n" in first.inv("plan").out
    done = first.inv("deploy", "--yes")
    assert (done.code, first.current) == (0, f"{name}.2"), done.err
    assert first.inv("verify").code == 0


# --- the commands that were installed


def test_the_commands_work_where_they_were_installed(hosts: tuple[Host, ...]) -> None:
    host = hosts[1]
    verified = host.command("usr/local/bin/ds01", "verify")
    assert (verified.code, verified.err) == (0, "")
    assert f"applied  ok      runtime: {host.current} (ds01 0.1.0, Python 3." in verified.out
    listed = host.command("usr/local/bin/ds01", "history", "--json")
    assert [entry["generation"] for entry in json.loads(listed.out)["generations"]] == [2, 1]
    compared = host.command("usr/local/sbin/ds01-generate-limits")
    assert (compared.code, compared.err) == (0, "")
    assert compared.out.startswith("generation 2: 0 to add, 0 to change, 0 to remove, ")
    unknown = host.command("usr/local/sbin/ds01-generate-limits", "--user", "nobody-here")
    assert (unknown.code, unknown.out) == (2, "")
    assert unknown.err.startswith("error: account 'nobody-here' has no slice of its own\n")
    idle = host.command("usr/local/bin/ds01", "recover")
    assert (idle.code, idle.err) == (0, "Nothing to do: no deploy was interrupted.\n")


def test_the_commands_tell_a_hand_edit_and_an_empty_host(second: Host, tmp_path: Path) -> None:
    with (second.root / ALICE).open("a") as file:
        file.write("CPUQuota=800%\n")
    compared = second.command("usr/local/sbin/ds01-generate-limits", "--user", "alice")
    assert (compared.code, compared.out.splitlines()[0]) == (3, f"/{ALICE}: edited by hand since generation 2")
    assert second.command("usr/local/bin/ds01", "verify").code == 1
    refused = second.command("usr/local/bin/ds01", "rollback", "--yes")
    assert (refused.code, second.memory) == (4, "MemoryMax=10G")

    (tmp_path / "empty").mkdir()
    words = [second.root / "usr/local/sbin/ds01-generate-limits", "--root", tmp_path / "empty"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, "error: nothing was deployed here yet")


def test_the_installed_rollback_takes_its_own_release_out_of_force(
    second: Host, checkouts: tuple[Checkout, ...]
) -> None:
    done = second.command("usr/local/bin/ds01", "rollback", "--yes")
    assert (done.code, second.current, second.memory) == (0, checkouts[0].release, "MemoryMax=8G"), done.err
    assert second.command("usr/local/bin/ds01", "verify").code == 0


def test_a_host_has_what_its_programs_import_and_no_more(hosts: tuple[Host, ...]) -> None:
    python = hosts[0].root / "opt/ds01/current/venv/bin/python"
    names = ["docker", "pynvml", "requests", "ds01.deployer.deploy", "ds01.runtime"]
    absent = ["jinja2", "yaml", "jsonschema", "invoke", "ds01.generator", "ds01.workflow", "pip", "setuptools"]
    code = (
        "import importlib.util, json, sys\n"
        "print(json.dumps([name for name in sys.argv[1:] if importlib.util.find_spec(name)]))"
    )
    done = subprocess.run([python, "-I", "-c", code, *names, *absent], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == names


@pytest.mark.root
def test_a_deploy_needs_no_network_where_the_wheels_are(tmp_path: Path, checkouts: tuple[Checkout, ...]) -> None:
    place = checkouts[0].place
    (tmp_path / "root").mkdir()
    inventory = write_inventory(tmp_path / "inventory")
    start = f"import sys; sys.path.insert(0, {os.fspath(place / 'scripts')!r}); from ds01.program import main"
    start += "; sys.exit(main())"
    words = ["deploy", "--yes", "--root", tmp_path / "root", "--inventory", inventory]
    cut_off = ["unshare", "--net"]
    routes = subprocess.run([*cut_off, "cat", "/proc/net/route"], capture_output=True, text=True, check=True)
    assert routes.stdout.splitlines()[1:] == []
    done = subprocess.run(
        [*cut_off, sys.executable, "-I", "-B", "-X", "utf8", "-c", start, *words],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull},
    )
    host = Host(tmp_path / "root", inventory, checkouts[0])
    assert done.returncode == 0, done.stderr
    assert host.links == links_to(checkouts[0].release)
    assert host.command("usr/local/bin/ds01", "verify").code == 0
