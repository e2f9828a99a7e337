"""`./inv plan`, as a process: it changes nothing, works without root, and says by its exit code what it found."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.integration.machine import CHECKOUT, VENV_PYTHON, Ended, inv, needs_venv, on_terminal, write_inventory

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
ALICE = "/etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf"


class Folder:
    """A root and an inventory that anybody may read, outside pytest's private folder."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self.inventory = write_inventory(folder / "inventory")

    def inv(self, task: str, *words: str) -> Ended:
        defaults = {"--root": self.root, "--inventory": self.inventory}
        more = [str(each) for pair in defaults.items() if pair[0] not in words for each in pair]
        return inv(task, *more, *words)

    def snapshot(self) -> dict[str, tuple[object, ...]]:
        found = {}
        for path in [self.root, *self.root.rglob("*")]:
            seen = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found[str(path)] = (seen.st_mode, seen.st_uid, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns, content)
        return found


@pytest.fixture
def folder() -> Iterator[Folder]:
    with tempfile.TemporaryDirectory(prefix="ds01-test-") as name:
        Path(name).chmod(0o755)
        yield Folder(Path(name))


@pytest.fixture(scope="module")
def deployed_once() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ds01-test-") as name:
        Path(name).chmod(0o755)
        made = Folder(Path(name))
        assert made.inv("deploy", "--yes").code == 0
        yield made.root


@pytest.fixture
def deployed(folder: Folder, deployed_once: Path) -> Folder:
    shutil.rmtree(folder.root)
    subprocess.run(["cp", "-a", deployed_once, folder.root], check=True)
    return folder


def test_a_plan_leaves_the_root_as_it_is_to_the_byte_and_second(deployed: Folder) -> None:
    deployed.root.joinpath(ALICE.lstrip("/")).write_text("edited\n")
    deployed.root.joinpath("etc/ds01/policy.json").unlink()
    before = deployed.snapshot()
    assert deployed.inv("plan").code == 0
    assert deployed.inv("plan", "--json", "--check").code == 3
    assert deployed.snapshot() == before


def test_a_plan_on_an_empty_folder_makes_nothing_there(folder: Folder) -> None:
    before = folder.snapshot()
    assert folder.inv("plan").code == 0
    assert folder.snapshot() == before


def test_check_tells_by_the_exit_code(deployed: Folder) -> None:
    assert deployed.inv("plan", "--check").code == 0
    write_inventory(deployed.inventory, memory="8g")
    assert (deployed.inv("plan", "--check").code, deployed.inv("plan").code) == (3, 0)


def test_a_plan_reads_as_summary_then_one_diff_a_file(deployed: Folder) -> None:
    write_inventory(deployed.inventory, members="alice, carol")
    done = deployed.inv("plan", "--user", "alice")
    assert (done.code, done.out, done.err) == (
        0,
        f"Plan for ds01 on {deployed.root}: 0 to add, 0 to change, 0 to remove, 1 unchanged\n",
        "",
    )
    lines = deployed.inv("plan").out.splitlines()
    assert lines[0] == f"Plan for ds01 on {deployed.root}: 1 to add, 1 to change, 1 to remove, 11 unchanged"
    assert [line for line in lines if line[:1] in {"+", "-", "~", "!"}] == [
        (
            "- remove /etc/systemd/system/ds01-student-bob.slice.d/10-resource-limits.conf:"
            " account bob is no longer listed or limited"
        ),
        "~ change /etc/ds01/policy.json: templates/etc/ds01/policy.json.j2 renders differently",
        ("+ add /etc/systemd/system/ds01-student-carol.slice.d/10-resource-limits.conf: limits of account carol"),
    ]


def test_json_has_every_documented_key(deployed: Folder) -> None:
    deployed.root.joinpath(ALICE.lstrip("/")).write_text("[Slice]\nMemoryMax=1T\n")
    done = deployed.inv("plan", "--json")
    document = json.loads(done.out)
    assert (done.err, set(document)) == (
        "",
        {
            "version",
            "host",
            "root",
            "policy_hash",
            "summary",
            "counts",
            "actions",
            "handlers",
            "warnings",
            "notices",
            "lacking",
            "live",
        },
    )
    (action,) = document["actions"]
    assert {key: action[key] for key in ("action", "path", "reason", "drift", "account")} == {
        "action": "change",
        "path": ALICE,
        "reason": "edited by hand since generation 1",
        "drift": True,
        "account": "alice",
    }
    assert "-MemoryMax=1T\n" in action["diff"]


MISTAKES = {
    "account": (
        ["--user", "eve"],
        (
            "error: account 'eve' has no file of its own\n"
            "it is not listed, or its group has no limits over all containers\n"
        ),
    ),
    "host": (["--host", "ds02"], "error: there is no host 'ds02'\nTo fix: did you mean 'ds01'?\n"),
    "root": (
        ["--root", "/nowhere/at/all"],
        ("error: there is no folder /nowhere/at/all\nTo fix: mkdir -p /nowhere/at/all, or name another with --root\n"),
    ),
    "inventory": (["--inventory", "/nowhere"], "error: "),
    "option": (["--rot", "/x"], "error: task plan has no option --rot\nDid you mean --root?\n"),
}


@pytest.mark.parametrize(("words", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_bad_input_with_a_hint(folder: Folder, words: list[str], message: str) -> None:
    done = folder.inv("plan", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(message), done.err
    assert "Traceback" not in done.err


@needs_venv
@pytest.mark.root
def test_an_ordinary_account_sees_all_but_what_it_may_not_read(deployed: Folder) -> None:
    secret = deployed.root / "etc/docker/daemon.json"
    secret.chmod(0o600)
    (deployed.root / "etc/systemd/system/ds01-student-alice.slice.d").chmod(0o700)
    before = deployed.snapshot()
    words = ["plan", "--no-runtime", "--root", str(deployed.root), "--inventory", str(deployed.inventory)]
    python = [str(VENV_PYTHON), "-I", "-B", "-X", "utf8", "-m", "ds01.program"]
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if subprocess.run([*as_nobody, str(VENV_PYTHON), "-c", ""], check=False, capture_output=True).returncode:
        pytest.skip(f"{VENV_PYTHON} is out of reach for other accounts")
    done = subprocess.run([*as_nobody, *python, *words], capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"Plan for ds01 on {deployed.root}: 0 to add, 0 to change, 0 to remove, 2 unknown, 11 unchanged\n"
        "\n"
        "? unknown /etc/docker/daemon.json may not be read; run the command as root (sudo) to see it\n"
        "\n"
        f"? unknown {ALICE} may not be read; run the command as root (sudo) to see it\n"
        "\n"
        f"Plan for ds01 on {deployed.root}: 0 to add, 0 to change, 0 to remove, 2 unknown, 11 unchanged\n"
    )
    assert deployed.snapshot() == before


def test_an_interrupted_deploy_is_mentioned_and_left_alone(deployed: Folder) -> None:
    state = deployed.root / "var/lib/ds01/deploy"
    (state / "journal.json").write_text('{"version": 1, "state": "applying", "list": "x"}\n')
    before = deployed.snapshot()
    done = deployed.inv("plan")
    assert done.out.endswith("Notice: an earlier deploy was interrupted half way; the next deploy undoes it first\n")
    (state / "journal.json").write_text("{")
    assert "Notice: whether an earlier deploy was interrupted cannot be seen: " in deployed.inv("plan").out
    assert set(deployed.snapshot()) == set(before)


@needs_venv
def test_a_reader_that_leaves_is_no_error(folder: Folder) -> None:
    command = f"'{VENV_PYTHON}' -I -m ds01.program plan --root '{folder.root}' --inventory '{folder.inventory}'"
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -n 1"], capture_output=True, text=True, check=False, cwd="/"
    )
    assert done.stderr == ""
    assert done.stdout.startswith("Plan for ds01 on ")


@needs_venv
def test_colour_is_for_terminals_that_want_it(folder: Folder) -> None:
    words = ["plan", "--no-runtime", "--root", str(folder.root), "--inventory", str(folder.inventory)]
    command = [str(CHECKOUT / "inv"), *words]
    plain = folder.inv("plan").out
    assert "\033" not in plain
    assert "\033[32m+\033[0m add " in on_terminal(command).out
    assert on_terminal(command, NO_COLOR="1").out == plain
    assert on_terminal(command, TERM="dumb").out == plain
