"""The bootstrap ./inv, really run, in a small checkout whose lock is one wheel of its own wheelhouse."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.wheel import make_wheel

CHECKOUT = Path(__file__).resolve().parents[2]
INTERPRETER = Path(sys.executable).resolve()
MADE = f"inv: making .venv with {INTERPRETER} (only now and when requirements/dev.txt changes) ...\n"
READY = "inv: .venv is ready\n"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
STRANGER = 12345

PROGRAM = """
import os, sys

import tiny

print(tiny.VERSION, os.getcwd(), *sys.argv[1:])
"""


@dataclass(frozen=True)
class Ended:
    """How a run of inv ended."""

    code: int
    out: str = ""
    err: str = ""


@dataclass(frozen=True)
class Checkout:
    """A checkout with inv, a program that prints its arguments, and a PATH with one Python."""

    root: Path
    tools: Path = field(repr=False)

    def environment(self, **extra: str) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SUDO_", "PIP_"))}
        return {**inherited, "PATH": os.fspath(self.tools), "LC_ALL": "C.UTF-8", **extra}

    def start(self, *words: str, **extra: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.root / "inv", *words],
            cwd="/",
            env=self.environment(**extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def inv(self, *words: str, **extra: str) -> Ended:
        child = self.start(*words, **extra)
        out, err = child.communicate()
        return Ended(child.returncode, out, err)

    def ran(self, *words: str, version: str = "1", err: str = "") -> Ended:
        """How it ends when the program was reached."""
        return Ended(0, " ".join([version, "/", *words]) + "\n", err)

    def lock(self, version: str) -> None:
        """Put one package in the wheelhouse and in the lock."""
        line = make_wheel(self.root / "wheelhouse", version)
        (self.root / "requirements/dev.txt").write_text(line)

    def use_tools(self, **scripts: str) -> None:
        """Replace the Pythons of PATH by these scripts."""
        for name in ("python3", "python3.13", "python3.12", "python3.11"):
            (self.tools / name).unlink(missing_ok=True)
        for name, text in scripts.items():
            path = self.tools / name.replace("_", ".")
            path.write_text(text)
            path.chmod(0o755)


def make_checkout(directory: Path) -> Checkout:
    """Make a checkout that is not built yet."""
    root, tools = directory / "checkout", directory / "tools"
    package = root / "scripts/ds01"
    for new in (package, root / "requirements", tools):
        new.mkdir(parents=True)
    shutil.copy(CHECKOUT / "inv", root / "inv")
    (package / "__init__.py").touch()
    (package / "program.py").write_text(PROGRAM)
    for folder in (Path("/usr/bin"), Path("/bin")):
        for tool in folder.iterdir():
            if not tool.name.startswith("python") and not (tools / tool.name).exists():
                (tools / tool.name).symlink_to(tool)
    (tools / "python3").symlink_to(INTERPRETER)
    checkout = Checkout(root, tools)
    checkout.lock("1")
    return checkout


@pytest.fixture
def fresh(tmp_path: Path) -> Checkout:
    return make_checkout(tmp_path)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    checkout = make_checkout(tmp_path_factory.mktemp("template"))
    assert checkout.inv() == checkout.ran(err=MADE + READY)
    return checkout


@pytest.fixture
def built(template: Checkout, tmp_path: Path) -> Checkout:
    """A built checkout of the test's own, its stamp saying that it was always here."""
    root = tmp_path / "checkout"
    shutil.copytree(template.root, root, symlinks=True)
    (root / ".venv/ds01-stamp").write_text(f"1 {root}")
    for path in root.glob(".venv/lib/python3.*/site-packages/ds01.pth"):
        path.write_text(f"{root}/scripts\n")
    tools = tmp_path / "tools"
    shutil.copytree(template.tools, tools, symlinks=True)
    return Checkout(root, tools)


# --- Making and renewing .venv


def test_later_run_makes_nothing(built: Checkout) -> None:
    built.use_tools()
    shutil.rmtree(built.root / "wheelhouse")
    assert built.inv("plan", "--json", "a b") == built.ran("plan", "--json", "a b")


def test_changed_lock_makes_venv_anew(built: Checkout) -> None:
    leftover = built.root / ".venv/leftover"
    leftover.touch()
    built.lock("2")
    assert built.inv("plan") == built.ran("plan", version="2", err=MADE + READY)
    assert not leftover.exists()


def test_moved_checkout_makes_venv_anew(built: Checkout) -> None:
    moved = Checkout(built.root.rename(built.root.with_name("moved checkout")), built.tools)
    assert moved.inv("plan") == moved.ran("plan", err=MADE + READY)
    assert moved.inv("plan") == moved.ran("plan")


@pytest.mark.slow
def test_venv_of_a_python_that_left_is_made_anew(built: Checkout) -> None:
    for name in ("python", "python3", INTERPRETER.name):
        (built.root / ".venv/bin" / name).unlink(missing_ok=True)
    (built.root / ".venv/bin/python").symlink_to("/nowhere/python3.11")
    assert built.inv("plan") == built.ran("plan", err=MADE + READY)


def test_killed_first_run_is_made_good_by_the_next(fresh: Checkout) -> None:
    child = fresh.start("plan")
    while not list(fresh.root.glob(".venv/lib/python3.*/site-packages")):
        assert child.poll() is None
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    assert not (fresh.root / ".venv/ds01-stamp").exists()
    assert fresh.inv("plan") == fresh.ran("plan", err=MADE + READY)


@pytest.mark.slow
def test_interrupted_first_run_says_so_and_the_next_makes_it_good(fresh: Checkout) -> None:
    child = fresh.start("plan")
    while not (fresh.root / ".venv/bin").exists():
        assert child.poll() is None
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)
    out, err = child.communicate()
    assert Ended(child.returncode, out, err) == Ended(130, "", MADE + "\ninv: interrupted\n")
    assert fresh.inv("plan") == fresh.ran("plan", err=MADE + READY)


def test_two_first_runs_at_once_make_one_venv(fresh: Checkout) -> None:
    children = [fresh.start("plan") for _ in range(2)]
    said = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert [out for out, _ in said] == [fresh.ran("plan").out] * 2
    waited = "inv: waiting for another ./inv that makes .venv ...\n"
    assert sorted(err for _, err in said) in (sorted([MADE + READY, waited]), sorted([MADE + READY, ""]))


@pytest.mark.slow
def test_venv_cannot_be_written_by_others_whatever_the_umask(fresh: Checkout) -> None:
    before = os.umask(0)
    try:
        fresh.inv()
    finally:
        os.umask(before)
    loose = [path for path in fresh.root.glob(".venv/**/*") if not path.is_symlink() and path.stat().st_mode & 0o22]
    assert loose == []


# --- Where it runs


@pytest.mark.parametrize("through", ["path", "symlink", "name"])
def test_works_from_any_directory(built: Checkout, tmp_path: Path, through: str) -> None:
    link = tmp_path / "bin/inv"
    link.parent.mkdir()
    link.symlink_to("../checkout/inv")
    words, directory = {
        "path": ([os.fspath(built.root / "inv")], tmp_path),
        "symlink": (["bin/inv"], tmp_path),
        "name": (["/bin/bash", "inv"], built.root),
    }[through]
    done = subprocess.run(
        [*words, "plan"], cwd=directory, env=built.environment(), capture_output=True, text=True, check=False
    )
    # The program runs where the caller stands, so that --root ./trial means what it says.
    assert Ended(done.returncode, done.stdout, done.stderr) == Ended(0, f"1 {directory} plan\n")


def test_environment_puts_no_code_in(built: Checkout, tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text("VERSION = 'strange'")
    (tmp_path / "rc").write_text("echo strange\n")
    poison = {
        "PYTHONPATH": os.fspath(tmp_path),
        "PYTHONHOME": "/nowhere",
        "PYTHONSTARTUP": os.fspath(tmp_path / "tiny.py"),
        "BASH_ENV": os.fspath(tmp_path / "rc"),
        "BASH_FUNC_cmp%%": "() { echo strange; }",
        "CDPATH": os.fspath(tmp_path),
    }
    assert built.inv("plan", **poison) == built.ran("plan")


# --- What may be missing


def test_missing_python_is_named_with_the_packages(fresh: Checkout) -> None:
    fresh.use_tools()
    assert fresh.inv("plan") == Ended(
        1,
        "",
        "error: no Python 3.11 or later was found\n"
        "None of python3, python3.13, python3.12, python3.11 runs from PATH.\n"
        "To fix: on Debian 12 or later: sudo apt-get install python3 python3-venv; "
        "elsewhere install Python 3.11 or later with its venv module\n",
    )


def test_old_python_is_named(fresh: Checkout) -> None:
    fresh.use_tools(python3="#!/bin/bash\necho old 3.9\n")
    assert fresh.inv("plan") == Ended(
        1,
        "",
        "error: no Python 3.11 or later was found\n"
        f"{fresh.tools}/python3 is Python 3.9.\n"
        "To fix: on Debian 12 or later: sudo apt-get install python3 python3-venv; "
        "elsewhere install Python 3.11 or later with its venv module\n",
    )


def test_python_without_venv_is_named_with_the_package(fresh: Checkout) -> None:
    hidden = fresh.tools / "hidden"
    hidden.mkdir()
    (hidden / "ensurepip.py").write_text("raise ImportError")
    # Like Debian's python3 without python3-venv: the real interpreter, which finds no ensurepip.
    source = f"import sys; sys.path.insert(0, {os.fspath(hidden)!r}); exec(sys.argv.pop(1))"
    fresh.use_tools(python3=f'#!/bin/bash\nexec {INTERPRETER} -I -c "{source}" "$3"\n')
    assert fresh.inv("plan") == Ended(
        1,
        "",
        "error: Python has no venv with ensurepip, so .venv cannot be made\n"
        f"{fresh.tools}/python3 is Python {VERSION}.\n"
        f"To fix: on Debian or Ubuntu: sudo apt-get install python{VERSION}-venv\n",
    )


@pytest.mark.slow
def test_newer_python_is_taken_where_python3_is_old(fresh: Checkout) -> None:
    fresh.use_tools(python3="#!/bin/bash\necho old 3.9\n", python3_12=f'#!/bin/bash\nexec {INTERPRETER} "$@"\n')
    assert fresh.inv("plan") == fresh.ran("plan", err=MADE + READY)


def test_unreachable_index_is_named_with_the_ways_out(fresh: Checkout) -> None:
    shutil.rmtree(fresh.root / "wheelhouse")
    # Port 9 of this very machine: refused at once, with no network asked.
    ended = fresh.inv("plan", PIP_INDEX_URL="http://127.0.0.1:9/", PIP_RETRIES="1", PIP_CONFIG_FILE="/dev/null")
    assert ended == Ended(
        1,
        "",
        f"{MADE}error: pip could not install requirements/dev.txt\n"
        "[Errno 111] Connection refused\n"
        f"All that pip said is in {fresh.root}/.venv/build.log.\n"
        "To fix: check the network, the proxy (https_proxy) and pip config, then run this again; "
        "without a network, copy a wheelhouse/ beside inv, made in this checkout on another machine by: "
        f"./inv wheelhouse --python {VERSION}\n",
    )


def test_package_with_another_hash_is_refused(fresh: Checkout) -> None:
    (fresh.root / "requirements/dev.txt").write_text(f"tiny==1 --hash=sha256:{'0' * 64}\n")
    assert fresh.inv("plan") == Ended(
        1,
        "",
        f"{MADE}error: pip could not install requirements/dev.txt\n"
        "A downloaded package is not the one that requirements/dev.txt names (its hash differs).\n"
        f"All that pip said is in {fresh.root}/.venv/build.log.\n"
        "To fix: do not go round this: ask who runs the package index or proxy why it serves another file\n",
    )


@pytest.mark.slow
def test_wheelhouse_of_another_lock_is_named(fresh: Checkout) -> None:
    (fresh.root / "requirements/dev.txt").write_text(f"other==1 --hash=sha256:{'0' * 64}\n")
    assert fresh.inv("plan") == Ended(
        1,
        "",
        f"{MADE}error: pip could not install requirements/dev.txt\n"
        "ERROR: No matching distribution found for other==1\n"
        f"All that pip said is in {fresh.root}/.venv/build.log.\n"
        "To fix: make ./wheelhouse anew in this checkout on a machine with a network "
        f"(./inv wheelhouse --python {VERSION}), or remove it to download\n",
    )


def test_missing_lock_is_named(fresh: Checkout) -> None:
    (fresh.root / "requirements/dev.txt").unlink()
    assert fresh.inv("plan") == Ended(
        1,
        "",
        f"error: requirements/dev.txt is missing\n{fresh.root} is not a whole checkout.\n"
        "To fix: git status shows what is gone\n",
    )


# --- As root


def give(root: Path, uid: int) -> None:
    for path in (root, *root.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)


def unsafe(path: Path | str, why: str, fix: str) -> Ended:
    return Ended(
        4,
        "",
        f"error: root runs nothing from a checkout that others can write\n{path} {why}.\n"
        f"To fix: look for changes that are not yours (git status), then {fix}\n",
    )


@pytest.mark.root
def test_sudo_makes_no_venv_in_a_checkout_of_somebody_else(fresh: Checkout) -> None:
    give(fresh.root, STRANGER)
    assert fresh.inv("plan", SUDO_UID=str(STRANGER)) == Ended(
        4,
        "",
        f"error: .venv must be made or renewed, and root does not do that in a checkout of uid {STRANGER}\n"
        f"It would leave root's files in {fresh.root}.\n"
        f"To fix: run ./inv --list once as uid {STRANGER}, without sudo; then this again\n",
    )
    assert not (fresh.root / ".venv").exists()


@pytest.mark.root
def test_sudo_renews_no_venv_in_a_checkout_of_somebody_else(built: Checkout) -> None:
    give(built.root, STRANGER)
    built.lock("2")
    assert built.inv("deploy", SUDO_UID=str(STRANGER)).code == 4
    assert (built.root / ".venv/ds01-stamp").exists()


@pytest.mark.root
def test_sudo_leaves_no_file_of_root_in_a_checkout_of_somebody_else(built: Checkout) -> None:
    give(built.root, STRANGER)
    for cache in list(built.root.rglob("__pycache__")):
        shutil.rmtree(cache)
    assert built.inv("deploy", SUDO_UID=str(STRANGER)) == built.ran("deploy")
    assert [path for path in built.root.rglob("*") if path.lstat().st_uid != STRANGER] == []


@pytest.mark.root
@pytest.mark.parametrize("task", ["deploy", "rollback"])
def test_root_deploys_from_its_own_checkout(built: Checkout, task: str) -> None:
    assert built.inv(task, "--yes") == built.ran(task, "--yes")


@pytest.mark.root
@pytest.mark.parametrize("task", ["deploy", "rollback"])
def test_deploy_from_a_checkout_that_anybody_can_write_is_refused(built: Checkout, task: str) -> None:
    path = built.root / "requirements/dev.txt"
    path.chmod(0o666)
    refusal = unsafe(path, "can be written by anybody", f"sudo chmod -R o-w {built.root}")
    assert (built.inv(task), built.inv("validate", task)) == (refusal, refusal)
    assert built.inv("plan") == built.ran("plan")


@pytest.mark.root
def test_deploy_with_a_venv_that_anybody_can_write_is_refused(built: Checkout) -> None:
    path = built.root / ".venv/bin"
    path.chmod(0o777)
    assert built.inv("deploy") == unsafe(path, "can be written by anybody", f"sudo chmod -R o-w {built.root}")


@pytest.mark.root
def test_deploy_from_a_checkout_with_a_file_of_somebody_else_is_refused(built: Checkout) -> None:
    path = built.root / "scripts/ds01/program.py"
    os.chown(path, STRANGER, 0)
    refusal = unsafe(path, f"belongs to uid {STRANGER}", f"sudo chown -R -h root {built.root}")
    assert (built.inv("deploy"), built.inv("deploy", SUDO_UID=str(STRANGER))) == (
        refusal,
        built.ran("deploy"),
    )


@pytest.mark.root
def test_deploy_with_a_link_of_somebody_else_is_refused(built: Checkout) -> None:
    link = built.root / "link"
    link.symlink_to("inv")
    os.chown(link, STRANGER, STRANGER, follow_symlinks=False)
    assert built.inv("deploy") == unsafe(link, f"belongs to uid {STRANGER}", f"sudo chown -R -h root {built.root}")


@pytest.mark.root
def test_group_that_is_the_callers_alone_may_write(built: Checkout) -> None:
    (built.root / "inv").chmod(0o775)
    assert built.inv("deploy") == built.ran("deploy")


@pytest.mark.root
def test_group_with_others_in_it_may_not_write(built: Checkout) -> None:
    path = built.root / "inv"
    os.chown(path, 0, STRANGER)
    path.chmod(0o775)
    assert built.inv("deploy") == unsafe(
        path,
        f"can be written by group {STRANGER}, or by whom its access list names",
        f"sudo chmod -R g-w {built.root}",
    )


@pytest.mark.root
def test_link_that_leads_to_a_file_of_somebody_else_is_refused(built: Checkout, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.touch()
    (built.root / "link").symlink_to(target)
    before = built.inv("deploy")
    target.chmod(0o666)
    refusal = unsafe(
        target,
        "can be written by anybody",
        f"sudo chmod o-w {target}, or move the checkout below a directory of your own",
    )
    assert (before, built.inv("deploy")) == (built.ran("deploy"), refusal)


@pytest.mark.root
def test_link_that_leads_nowhere_is_refused(built: Checkout) -> None:
    (built.root / "link").symlink_to("/nowhere/at-all")
    ended = built.inv("deploy")
    assert (ended.code, ended.out) == (4, "")
    assert ended.err.endswith(
        "error: the checkout cannot be searched for files that others can write\nfind failed: see above.\n"
        f"To fix: remove links that lead nowhere, and let root read {built.root}\n"
    )


@pytest.mark.root
def test_parent_that_others_can_write_is_refused_unless_sticky(built: Checkout) -> None:
    parent = built.root.parent
    parent.chmod(0o777)
    refusal = unsafe(
        parent,
        "can be written by anybody",
        f"sudo chmod o-w {parent}, or move the checkout below a directory of your own",
    )
    refused = built.inv("deploy")
    parent.chmod(0o1777)
    assert (refused, built.inv("deploy")) == (refusal, built.ran("deploy"))


@pytest.mark.root
def test_parent_of_somebody_else_is_refused(built: Checkout) -> None:
    parent = built.root.parent
    os.chown(parent, STRANGER, 0)
    assert built.inv("deploy") == unsafe(
        parent,
        f"belongs to uid {STRANGER}",
        f"sudo chown -h root {parent}, or move the checkout below a directory of your own",
    )


@pytest.mark.root
@pytest.mark.parametrize("caller", ["", "root", "-1", "0 -o -true"])
def test_caller_that_is_no_number_is_refused(built: Checkout, caller: str) -> None:
    expected = built.ran("deploy") if not caller else Ended(4)
    ended = built.inv("deploy", SUDO_UID=caller)
    assert (ended.code, ended.out) == (expected.code, expected.out)


@pytest.mark.root
def test_sudo_looks_at_the_checkout_for_every_task(built: Checkout) -> None:
    path = built.root / "scripts"
    path.chmod(0o757)
    refusal = unsafe(path, "can be written by anybody", f"sudo chmod -R o-w {built.root}")
    assert built.inv("plan", SUDO_UID="0") == refusal
    assert built.inv("plan") == built.ran("plan")
