"""The runtime below a folder: built, shown, put in force, rolled back, cleared away with the policy; its commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest
from tests.integration.machine import CHECKOUT, Ended, inv, write_inventory
from tests.releases import named, seal, transplant
from tests.wheel import make_wheel

from ds01.core.paths import HostPaths
from ds01.deployer.apply import Write, stage
from ds01.deployer.install import Source
from ds01.deployer.release import Release

if TYPE_CHECKING:
    from collections.abc import Callable

NO_DOCKERD = "notice: dockerd is not installed here, so its check did not run\n"
ALICE = "etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf"
WANTS = "etc/systemd/system/multi-user.target.wants/ds01-recover.service"
SERVICES = ("ds01-sampler.service", "ds01-eventsd.service", "ds01-gpuwatch.service")
LINKS = {
    "usr/local/bin/ds01": "../../../opt/ds01/current/bin/ds01",
    "usr/local/bin/check-limits": "../../../opt/ds01/current/bin/check-limits",
    "usr/local/bin/ds01-resource-query": "../../../opt/ds01/current/bin/ds01-resource-query",
    "usr/local/sbin/ds01-generate-limits": "../../../opt/ds01/current/bin/ds01-generate-limits",
    WANTS: "../ds01-recover.service",
    **{f"etc/systemd/system/multi-user.target.wants/{each}": f"../{each}" for each in SERVICES},
}


def links(root: Path) -> dict[str, str]:
    """Every link below a root, save those in releases."""
    return {
        str(path.relative_to(root)): os.fspath(path.readlink())
        for path in root.rglob("*")
        if path.is_symlink() and not path.is_relative_to(root / "opt/ds01/releases")
    }


def in_force(name: str) -> dict[str, str]:
    return {"opt/ds01/current": f"releases/{name}", **LINKS}


def installed(root: Path) -> set[str]:
    return {path.name for path in (root / "opt/ds01/releases").iterdir()}


def state(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in root.rglob("*")}


def command(root: Path, name: str, *words: str) -> Ended:
    """Run an installed command below its root, from a folder and with variables of somebody's own."""
    done = subprocess.run(
        [root / name, *words, "--root", root],
        cwd="/",
        env={"PATH": "/nowhere", "PYTHONPATH": "/nowhere", "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr.replace(NO_DOCKERD, ""))


def ds01(root: Path, *words: str) -> Ended:
    return command(root, "usr/local/bin/ds01", *words)


# --- From checkout to host, with releases that are really built ---------------------------------------------

START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from ds01.program import main; sys.exit(main())"


class Checkout:
    """A copy of the checkout whose version can be changed, and whose runtime needs one tiny package from beside it."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder / "checkout"
        self.root = root
        self.inventory = write_inventory(folder / "inventory")
        for name in ("scripts", "schemas", "templates"):
            shutil.copytree(CHECKOUT / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(CHECKOUT / "tasks.py", self.folder)
        (self.folder / "requirements").mkdir()

    def be(self, version: str, tiny: str) -> None:
        """Become another version, with another lock."""
        about = self.folder / "scripts/ds01/__init__.py"
        about.write_text(re.sub(r'"[\d.]+"', f'"{version}"', about.read_text()))
        (self.folder / "requirements/host.txt").write_text(make_wheel(self.folder / "wheelhouse", tiny))

    def inv(self, task: str, *words: str) -> Ended:
        where = [
            "--root",
            str(self.root),
            *(["--inventory", str(self.inventory)] if task in {"plan", "deploy"} else []),
        ]
        done = subprocess.run(
            [sys.executable, "-I", "-X", "utf8", "-c", START, self.folder / "scripts", task, *where, *words],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr.replace(NO_DOCKERD, ""))


@dataclass
class Story:
    """What each step of a host's life said, and how the root was after it."""

    root: Path
    said: dict[str, Ended] = field(default_factory=dict)
    current: dict[str, str] = field(default_factory=dict)
    releases: dict[str, set[str]] = field(default_factory=dict)
    memory: dict[str, str] = field(default_factory=dict)

    def tell(self, step: str, ended: Ended) -> None:
        self.said[step] = ended
        self.current[step] = (self.root / "opt/ds01/current").readlink().name
        self.releases[step] = installed(self.root)
        self.memory[step] = re.findall(r"^MemoryMax=(.*)$", (self.root / ALICE).read_text(), re.MULTILINE)[0]

    def name(self, number: int) -> str:
        return self.current[f"deploy {number}"]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("story")
    told = Story(folder / "a root")
    told.root.mkdir()
    checkout = Checkout(folder, told.root)
    checkout.be("0.1.0", "1.0")
    told.said["plan 1"] = checkout.inv("plan", "--check")
    told.tell("deploy 1", checkout.inv("deploy", "--yes"))
    told.tell("deploy 1 again", checkout.inv("deploy", "--yes"))
    told.said["plan 1 again"] = checkout.inv("plan", "--check")
    checkout.be("0.2.0", "2.0")
    write_inventory(checkout.inventory, memory="5g")
    told.said["plan 2"] = checkout.inv("plan", "--json")
    told.tell("deploy 2", checkout.inv("deploy", "--yes"))
    checkout.be("0.3.0", "2.0")
    told.tell("deploy 3", checkout.inv("deploy", "--yes"))
    told.tell("rollback", ds01(told.root, "rollback", "--yes"))
    told.tell("rollback to 1", ds01(told.root, "rollback", "--yes", "--to", "1"))
    told.tell("rollback to 1 without", ds01(told.root, "rollback", "--yes", "--to", "1", "--no-runtime"))
    told.tell("forward", checkout.inv("deploy", "--yes"))
    module = next((told.root / "opt/ds01/releases" / told.name(3)).rglob("cli.py"))
    module.write_text(module.read_text() + "# mine\n")
    told.said["verify edited"] = checkout.inv("verify")
    told.said["plan edited"] = checkout.inv("plan", "--check")
    told.tell("deploy edited", checkout.inv("deploy", "--yes"))
    third = told.root / "opt/ds01/releases" / told.name(3)
    release = Release(f"{third.name}.2", json.loads((third / "release.json").read_text())["packages"])
    module.write_text(module.read_text().removesuffix("# mine\n"))
    transplant(third, told.root, release)  # as it would be built, in less time
    module.write_text(module.read_text() + "# mine\n")
    told.tell("deploy forced", checkout.inv("deploy", "--yes", "--force"))
    shutil.rmtree(told.root / "opt/ds01/releases" / told.current["deploy forced"])
    told.said["plan removed"] = checkout.inv("plan", "--check")
    told.tell("deploy removed", checkout.inv("deploy", "--yes", "--force"))
    told.said["verify"] = ds01(told.root, "verify")
    return told


def test_a_first_plan_shows_the_runtime_as_it_shows_files(story: Story) -> None:
    planned = story.said["plan 1"]
    assert planned.code == 3
    assert (
        f"+ add /opt/ds01/current: runtime {story.name(1)} (ds01 0.1.0, Python 3.{sys.version_info.minor}, tiny 1.0)\n"
        "    --- /dev/null\n"
        "    +++ /opt/ds01/current\n"
        "    @@ -0,0 +1 @@\n"
        f"    +symbolic link to releases/{story.name(1)}\n" in planned.out
    )
    assert "+ add /usr/local/bin/ds01: a link to ../../../opt/ds01/current/bin/ds01\n" in planned.out


def test_a_first_deploy_builds_it_and_a_second_does_nothing(story: Story) -> None:
    first, again = story.said["deploy 1"], story.said["deploy 1 again"]
    assert first.code == 0, first.err
    assert first.err.splitlines()[-1] == "Deployed generation 1: 29 to add, 0 to change, 0 to remove, 0 unchanged."
    assert [line.split(": ")[0] for line in first.err.splitlines()[:-1]] == [f"runtime {story.name(1)}"] * 2
    assert (again.code, again.err) == (0, "Nothing to do: the host is as the policy says.\n")
    assert story.said["plan 1 again"].code == 0
    assert story.releases["deploy 1 again"] == {story.name(1)}


def test_a_plan_shows_which_versions_change(story: Story) -> None:
    document = json.loads(story.said["plan 2"].out)
    (action,) = (each for each in document["actions"] if each["path"] == "/opt/ds01/current")
    assert action == {
        "action": "change",
        "path": "/opt/ds01/current",
        "reason": f"runtime {story.name(1)} → {story.name(2)} (ds01 0.1.0 → 0.2.0, tiny 1.0 → 2.0)",
        "drift": False,
        "account": None,
        "source": "scripts/ds01 and requirements/host.txt",
        "diff": "--- /opt/ds01/current\n"
        "+++ /opt/ds01/current\n"
        "@@ -1 +1 @@\n"
        f"-symbolic link to releases/{story.name(1)}\n"
        f"+symbolic link to releases/{story.name(2)}",
    }


def test_the_two_newest_releases_stay(story: Story) -> None:
    first, second, third = story.name(1), story.name(2), story.name(3)
    assert len({first, second, third}) == 3
    assert [story.releases[f"deploy {number}"] for number in (1, 2, 3)] == [{first}, {first, second}, {second, third}]


def test_a_rollback_brings_release_and_policy_back_together(story: Story) -> None:
    said = story.said["rollback"]
    assert said.code == 0, said.err
    assert f"runtime {story.name(3)} → {story.name(2)} (ds01 0.3.0 → 0.2.0)\n" in said.out
    assert (story.current["rollback"], story.memory["rollback"]) == (story.name(2), "10G")
    assert story.releases["rollback"] == {story.name(2), story.name(3)}


def test_a_rollback_to_a_release_that_is_gone_is_refused_and_works_without_it(story: Story) -> None:
    refused, without = story.said["rollback to 1"], story.said["rollback to 1 without"]
    assert (refused.code, refused.err) == (
        4,
        (
            "error: 1 file cannot be deployed; nothing was changed\n"
            f"  /opt/ds01/current: /opt/ds01/releases/{story.name(1)}: this release is gone, since only 2 stay;"
            " --no-runtime leaves the runtime as it is\n"
            "To fix: see to what each line names, then deploy again\n"
        ),
    )
    assert (story.current["rollback to 1"], story.memory["rollback to 1"]) == (story.name(2), "10G")
    assert without.code == 0, without.err
    step = "rollback to 1 without"
    assert (story.current[step], story.memory[step]) == (story.name(2), "8G")
    assert story.releases[step] == {story.name(2), story.name(3)}


def test_a_release_that_is_still_there_is_not_built_again(story: Story) -> None:
    forward = story.said["forward"]
    assert (forward.code, [line for line in forward.err.splitlines() if line.startswith("runtime ")]) == (0, [])
    assert (story.current["forward"], story.memory["forward"]) == (story.name(3), "10G")


def test_an_edited_release_is_found_and_its_edit_is_lost_by_force_alone(story: Story) -> None:
    third = story.name(3)
    site = f"venv/lib/python3.{sys.version_info.minor}/site-packages"
    edited = f"{site}/ds01/cli.py differs"
    assert story.said["verify edited"].code == 1
    assert (
        f"applied  FAILED  runtime: {third}: {edited}; sudo ./inv deploy --force builds it anew\n"
        in story.said["verify edited"].out
    )
    why = f"/opt/ds01/releases/{third} was edited by hand: {edited}; a fresh one takes its place, this one stays"
    assert story.said["plan edited"].code == 3
    assert f"~ change /opt/ds01/current [drift]: {why}\n" in story.said["plan edited"].out
    refused = story.said["deploy edited"]
    assert (refused.code, refused.err.splitlines()[1]) == (4, f"  /opt/ds01/current: {why}")
    assert story.releases["deploy edited"] == {story.name(2), third}
    assert story.said["deploy forced"].code == 0, story.said["deploy forced"].err
    assert story.current["deploy forced"] == f"{third}.2"
    assert story.releases["deploy forced"] == {third, f"{third}.2"}
    assert next((story.root / "opt/ds01/releases" / third).rglob("cli.py")).read_text().endswith("# mine\n")


def test_a_release_that_was_removed_by_hand_is_built_anew(story: Story) -> None:
    name = story.current["deploy forced"]
    assert story.said["plan removed"].code == 3
    assert (
        f"~ change /opt/ds01/current [drift]: /opt/ds01/releases/{name} was removed by hand; it is built anew\n"
        in story.said["plan removed"].out
    )
    assert story.said["deploy removed"].code == 0, story.said["deploy removed"].err
    assert f"runtime {name}: installing tiny from the wheels in " in story.said["deploy removed"].err
    assert (story.current["deploy removed"], name in story.releases["deploy removed"]) == (name, True)


def test_the_installed_command_proves_what_was_deployed(story: Story) -> None:
    name = story.current["deploy removed"]
    assert story.said["verify"] == Ended(
        0,
        "applied  ok      files: 29 files as written by generation 8\n"
        f"applied  ok      runtime: {name} (ds01 0.3.0, Python 3.{sys.version_info.minor}, tiny 2.0)\n"
        "applied  skipped slices: systemd is not running here, so effective values were not compared\n"
        f"host     skipped host: {story.root} is a folder, not the running machine\n"
        "4 checks: 0 failed, 0 warnings\n",
    )


# --- With a release that is there ---------------------------------------------------------------------------


@dataclass
class Folder:
    """A root where this checkout's release lies built, an inventory, and tasks on both with the runtime."""

    root: Path
    inventory: Path
    release: Release

    def inv(self, task: str, *more: str, runtime: bool = True) -> Ended:
        inventory = ["--inventory", str(self.inventory)] if task in {"plan", "deploy", "slices"} else []
        done = inv(task, "--root", str(self.root), *inventory, *more, runtime=runtime)
        return Ended(done.code, done.out, done.err.replace(NO_DOCKERD, ""))

    @property
    def installed(self) -> Path:
        return self.root / "opt/ds01/releases" / self.release.name


@pytest.fixture
def folder(tmp_path: Path, tiny_release: tuple[Release, Path]) -> Folder:
    """The release has the name that the checkout gives it now; that its packages are fewer is nobody's business."""
    made = Folder(tmp_path / "root", write_inventory(tmp_path / "inventory"), Source.of_checkout(CHECKOUT).release())
    made.root.mkdir()
    transplant(tiny_release[1], made.root, made.release)
    return made


@pytest.fixture
def deployed(folder: Folder) -> Folder:
    done = folder.inv("deploy", "--yes")
    assert (done.code, done.err) == (0, "Deployed generation 1: 29 to add, 0 to change, 0 to remove, 0 unchanged.\n")
    return folder


def test_a_release_that_is_built_is_put_in_force_with_all_that_calls_it(deployed: Folder) -> None:
    assert links(deployed.root) == in_force(deployed.release.name)
    service = (deployed.root / "etc/systemd/system/ds01-recover.service").read_text()
    assert "\nExecStart=/opt/ds01/current/bin/ds01 recover --boot\n" in service
    assert (deployed.root / WANTS).resolve() == deployed.root / "etc/systemd/system/ds01-recover.service"


def test_without_the_runtime_a_fresh_root_has_none_of_it_and_later_gets_it(
    folder: Folder, tiny_release: tuple[Release, Path]
) -> None:
    shutil.rmtree(folder.root / "opt")
    first = folder.inv("deploy", "--yes", runtime=False)
    assert first.err == "Deployed generation 1: 13 to add, 0 to change, 0 to remove, 0 unchanged.\n"
    assert (links(folder.root), (folder.root / "opt").exists()) == ({}, False)
    assert not (folder.root / "etc/systemd/system/ds01-recover.service").exists()
    assert folder.inv("plan", "--check", runtime=False).code == 0
    assert folder.inv("plan", "--check").code == 3
    transplant(tiny_release[1], folder.root, folder.release)
    second = folder.inv("deploy", "--yes")
    assert second.err == "Deployed generation 2: 16 to add, 0 to change, 0 to remove, 13 unchanged.\n"
    assert links(folder.root) == in_force(folder.release.name)


def edit(folder: Folder) -> None:
    (folder.installed / "bin/ds01").write_text("#!/bin/sh\n")


def break_it(folder: Folder) -> None:
    python = next((folder.installed / "venv/bin").glob("python3.*"))
    python.unlink()
    python.symlink_to("/nowhere/python3")
    seal(folder.installed, folder.release)


def remove(folder: Folder) -> None:
    shutil.rmtree(folder.installed)


@pytest.mark.parametrize("spoil", [lambda _: None, edit, break_it, remove], ids=["whole", "edited", "broken", "gone"])
def test_without_the_runtime_a_deploy_and_a_rollback_leave_it_whatever_its_state(
    deployed: Folder, spoil: Callable[[Folder], None]
) -> None:
    spoil(deployed)
    (deployed.root / "usr/local/sbin/ds01-generate-limits").unlink()  # what calls it is left alone too
    before, before_links = state(deployed.root / "opt"), links(deployed.root)
    write_inventory(deployed.inventory, memory="8g")
    for task in (["deploy"], ["rollback"], ["slices"]):
        more = [] if task == ["slices"] else ["--yes"]
        done = deployed.inv(*task, *more, runtime=False)
        assert done.code == 0, done.err
        assert (state(deployed.root / "opt"), links(deployed.root)) == (before, before_links)
    assert "MemoryMax=16G\n" in (deployed.root / ALICE).read_text()


def test_the_generations_of_such_deploys_still_know_the_runtime(deployed: Folder) -> None:
    write_inventory(deployed.inventory, memory="8g")
    assert deployed.inv("deploy", "--yes", runtime=False).code == 0
    assert deployed.inv("verify").code == 0
    assert deployed.inv("plan", "--check").code == 0
    (deployed.root / "usr/local/bin/ds01").unlink()
    done = deployed.inv("rollback", "--yes", "--to", "2", "--force")
    assert (done.code, links(deployed.root)) == (0, in_force(deployed.release.name)), done.err


def test_a_release_whose_python_is_gone_is_replaced_without_force(
    deployed: Folder, tiny_release: tuple[Release, Path]
) -> None:
    break_it(deployed)
    second = named(deployed.release, f"{deployed.release.name}.2")
    transplant(tiny_release[1], deployed.root, second)
    assert deployed.inv("verify").code == 1
    planned = deployed.inv("plan")
    assert (
        f"~ change /opt/ds01/current: /opt/ds01/releases/{deployed.release.name}: its Python is gone: /nowhere/python3;"
        f" {second.name} takes its place\n" in planned.out
    )
    done = deployed.inv("deploy", "--yes")
    assert (done.code, links(deployed.root)) == (0, in_force(second.name)), done.err
    assert deployed.inv("verify").code == 0
    # Once the spoilt one is cleared away, the one in force stays.
    shutil.rmtree(deployed.installed)
    assert deployed.inv("plan", "--check").code == 0


def test_a_rollback_to_before_the_runtime_takes_it_away_and_back(
    folder: Folder, tiny_release: tuple[Release, Path]
) -> None:
    assert folder.inv("deploy", "--yes", runtime=False).code == 0
    assert installed(folder.root) == set()  # nothing needed it
    transplant(tiny_release[1], folder.root, folder.release)
    write_inventory(folder.inventory, memory="8g")
    assert folder.inv("deploy", "--yes").code == 0
    assert folder.inv("rollback", "--yes").code == 0
    assert links(folder.root) == {}
    assert not (folder.root / "etc/systemd/system/multi-user.target.wants").exists()
    assert not (folder.root / "usr/local/bin").exists()
    assert installed(folder.root) == {folder.release.name}
    verified = folder.inv("verify")
    assert "applied  skipped runtime: none was deployed (--no-runtime)\n" in verified.out
    assert folder.inv("rollback", "--yes").code == 0
    assert links(folder.root) == in_force(folder.release.name)


def test_a_plan_for_an_account_is_not_about_the_runtime(folder: Folder) -> None:
    planned = folder.inv("plan", "--user", "alice")
    assert planned.out.startswith(f"Plan for ds01 on {folder.root}: 1 to add, 0 to change, 0 to remove, 0 unchanged\n")


FOREIGN = {
    "a link": (lambda place: place.symlink_to("/srv/mine"), 0),
    "a file": (lambda place: place.write_text("mine\n"), 0),
    "a folder": (lambda place: place.mkdir(), 4),
}


@pytest.mark.parametrize(("make", "code"), FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("place", ["opt/ds01/current", "usr/local/bin/ds01"])
def test_what_somebody_else_put_in_a_links_place_is_kept_or_refused(
    folder: Folder, place: str, make: Callable[[Path], object], code: int
) -> None:
    there = folder.root / place
    there.parent.mkdir(parents=True, exist_ok=True)
    make(there)
    done = folder.inv("deploy", "--yes")
    assert done.code == code, done.err
    if code:
        assert f"  /{place} is a folder\n" in done.err
        assert there.is_dir()
    else:
        assert links(folder.root)[place] == in_force(folder.release.name)[place]
        kept = folder.root / "var/lib/ds01/deploy/kept/000001" / place
        assert os.path.lexists(kept)


@pytest.mark.root
@pytest.mark.parametrize("task", ["plan", "deploy", "verify"])
def test_root_believes_no_release_where_others_can_write(deployed: Folder, task: str) -> None:
    (deployed.root / "opt/ds01").chmod(0o777)
    before = state(deployed.root)
    done = deployed.inv(task, *(["--yes", "--force"] if task == "deploy" else []))
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith(
        f"error: {deployed.root}/opt/ds01 can be written by others than root,"
        " so root neither reads nor writes below it\n"
        f"To fix: chmod go-w {deployed.root}/opt/ds01, after a look at what is in it; "
    )
    assert {path: each for path, each in state(deployed.root).items() if not path.endswith("/.lock")} == {
        path: each for path, each in before.items() if not path.endswith("/.lock")
    }


# --- The installed commands ---------------------------------------------------------------------------------


def test_installed_commands_say_what_the_tasks_say(deployed: Folder) -> None:
    for words in (["verify"], ["verify", "--json"], ["history"], ["history", "--json"]):
        assert ds01(deployed.root, *words) == deployed.inv(*words)
    (deployed.root / ALICE).write_text("mine\n")
    failed = ds01(deployed.root, "verify")
    assert (failed.code, failed) == (1, deployed.inv("verify"))
    assert ds01(deployed.root, "limits", "alice", "--group") == Ended(0, "student\n")


def test_an_installed_recover_clears_up_what_was_cut_off(deployed: Folder) -> None:
    assert ds01(deployed.root, "recover") == Ended(0, "", "Nothing to do: no deploy was interrupted.\n")
    before = (deployed.root / ALICE).read_text()
    change = Write(PurePosixPath("/", ALICE), b"half\n", 0o644)
    stage(HostPaths(deployed.root), [change], context={"generation": 2}).commit()
    assert (deployed.root / ALICE).read_text() == "half\n"
    verified = ds01(deployed.root, "verify")
    assert verified.out.startswith(
        "applied  FAILED  deploy: an earlier deploy was interrupted with all its files in place;"
        " the next deploy finishes it first; sudo ds01 recover\n"
    )
    undone = ds01(deployed.root, "recover", "--boot")
    assert undone.code == 1
    assert undone.err.endswith(
        f"  FAILED  /{ALICE}: differs from generation 1; see ./inv plan; deploy --force writes it again\n"
        "Rolled back: the files are as before the deploy.\n"
    )
    assert (deployed.root / ALICE).read_text() == before
    assert ds01(deployed.root, "verify").code == 0


def test_an_installed_comparison_ends_with_what_it_found(deployed: Folder) -> None:
    def compare(*words: str) -> Ended:
        return command(deployed.root, "usr/local/sbin/ds01-generate-limits", *words)

    assert compare() == Ended(0, "generation 1: 0 to add, 0 to change, 0 to remove, 8 unchanged\n")
    (deployed.root / ALICE).write_text("mine\n")
    found = compare("--user", "alice")
    assert (found.code, found.out) == (
        3,
        f"/{ALICE}: edited by hand since generation 1\ngeneration 1: 0 to add, 1 to change, 0 to remove, 0 unchanged\n",
    )
    assert compare("--user", "bob").code == 0
    assert compare("--user", "eve").code == 2
    assert compare("--nope").code == 2
    (deployed.root / "var/lib/ds01/deploy/manifest.json").unlink()
    shutil.rmtree(deployed.root / "var/lib/ds01/deploy/generations")
    assert compare().code == 2


def test_an_installed_rollback_leaves_the_release_it_runs_from(
    deployed: Folder, tiny_release: tuple[Release, Path]
) -> None:
    """The generation before wants another release; the process goes on with its own modules to the end."""
    other = named(deployed.release, "0.0.9-other", ds01="0.0.9")
    transplant(tiny_release[1], deployed.root, other)
    generation = deployed.root / "var/lib/ds01/deploy/generations/000001.json"
    text = generation.read_text()
    write_inventory(deployed.inventory, memory="8g")
    assert deployed.inv("deploy", "--yes").code == 0
    generation.write_text(text.replace(f"releases/{deployed.release.name}", f"releases/{other.name}"))
    transplant(tiny_release[1], deployed.root, other)
    done = ds01(deployed.root, "rollback", "--yes")
    assert done.code == 0, done.err
    assert "(ds01 0.1.0 → 0.0.9)\n" in done.out
    assert links(deployed.root) == in_force(other.name)
    assert installed(deployed.root) == {other.name, deployed.release.name}
    assert ds01(deployed.root, "history").out.splitlines()[1].split()[0] == "3"
