"""The greeting as a login sees it: the program, and the lines of /etc/profile.d that start it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cgroups import DATA
from tests.unit.runtime.overview.hosts import make_host, put_notices

from ds01.core.paths import HostPaths
from ds01.runtime.commands.greeting import main, text_for

CHECKOUT = Path(__file__).resolve().parents[4]
PROFILE = CHECKOUT / "tests/golden/minimal/expected/root/etc/profile.d/ds01.sh"
NOBODY = pwd.getpwnam("nobody")
# The interpreter may lie where only root can read it: what is imported late is imported before.
AS_NOBODY = """
import os, sys
import ds01.runtime.gpu.record, ds01.runtime.overview.holdings
from ds01.runtime.commands.greeting import main
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
sys.exit(main())
"""


@pytest.fixture
def host() -> Iterator[HostPaths]:
    # Below no folder of the tests' own, which are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield make_host(Path(folder))


def greet(*words: str) -> subprocess.CompletedProcess[str]:
    path = {"PYTHONPATH": f"{CHECKOUT / 'scripts'}", "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *words], env=path, capture_output=True, text=True, check=False
    )


def test_an_ordinary_account_is_greeted_with_its_own_numbers(host: HostPaths) -> None:
    put_notices(host, NOBODY.pw_uid, [{"at": "2026-03-01T09:12:00Z", "text": "welcome\x1b[2J"}])
    text = text_for(host, NOBODY.pw_uid, {"LANG": "C.UTF-8"})
    lines = text.split("\n")
    assert lines[0] == "nobody (student, not listed)"
    assert lines[1] == f"Memory      [{'░' * 20}] 0 of 96G"
    assert lines[6].endswith("  welcome\\x1b[2J")


@pytest.mark.root
def test_the_program_prints_it_to_who_logs_in(host: HostPaths) -> None:
    done = greet("--root", str(host.root))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == text_for(host, NOBODY.pw_uid, {"LC_ALL": "C.UTF-8"}) + "\n"


@pytest.mark.parametrize("policy", [None, "{", "{}", '{"version": 99}'])
def test_where_anything_is_broken_it_prints_nothing(host: HostPaths, policy: str | None) -> None:
    host.policy.unlink()
    if policy is not None:
        host.policy.write_text(policy)
    done = greet("--root", str(host.root))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


@pytest.mark.root
def test_where_no_state_can_be_read_it_prints_notices_or_nothing(host: HostPaths) -> None:
    shutil.rmtree(host.cgroup)
    shutil.copytree(DATA / "v1", host.cgroup)
    host.gpu_state.write_text("{")
    done = greet("--root", str(host.root))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    put_notices(host, NOBODY.pw_uid, [{"at": "2026-03-01T09:12:00Z", "text": "welcome"}])
    done = greet("--root", str(host.root))
    assert (done.returncode, done.stdout[len("2026-03-01 09:12") :], done.stderr) == (0, "  welcome\n", "")


@pytest.mark.root
def test_root_is_left_alone(host: HostPaths, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(host.root)]) == 0
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["--root"], 2), (["x"], 2), (["--root", "a", "b"], 2)])
def test_it_takes_a_root_and_nothing_else(words: list[str], code: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(words) == code
    assert capfd.readouterr().out == ("usage: ds01-greeting [--root DIR]\n" if code == 0 else "")


def test_it_imports_nothing_that_makes_a_login_wait() -> None:
    code = "import sys, ds01.runtime.commands.greeting; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(CHECKOUT / 'scripts')!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    slow = {
        "threading",
        "argparse",
        "dataclasses",
        "inspect",
        "typing",
        "subprocess",
        "logging",
        "socket",
        "fractions",
        "decimal",
    }
    assert slow.isdisjoint(loaded)


# --- /etc/profile.d/ds01.sh -------------------------------------------------------------------------------------------

SHELLS = {
    "dash": ["dash"],
    "bash": ["bash", "--norc", "--noprofile"],
    "posix bash": ["bash", "--norc", "--noprofile", "--posix"],
    "zsh": ["zsh", "-f"],
    "busybox": ["busybox", "sh"],
}


# Debian always has the first ones; the others are there or not.
HERE = [name for name, argv in SHELLS.items() if "ash" in argv[0] or shutil.which(argv[0])]


@pytest.fixture(params=HERE)
def shell(request: pytest.FixtureRequest) -> list[str]:
    return SHELLS[request.param]


@pytest.fixture
def helper(tmp_path: Path) -> Path:
    path = tmp_path / "helper"
    path.write_text("#!/bin/sh\necho hello\necho trouble >&2\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def profile(tmp_path: Path, helper: Path) -> Path:
    """The file with another program in it, and more patience than any test of it needs."""
    text = PROFILE.read_text()
    for there, instead in (("/opt/ds01/current/bin/ds01-greeting", str(helper)), ("=1 2 ", "=1 60 ")):
        assert text.count(there) == 1
        text = text.replace(there, instead)
    path = tmp_path / "ds01.sh"
    path.write_text(text)
    return path


def sh(shell: list[str], *options: str, text: str, given: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [*shell, *options, "-c", text],
        env={"PATH": os.environ["PATH"], "PS1": ""},
        input=given,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    return done.returncode, done.stdout


def test_an_interactive_shell_shows_it_once(shell: list[str], profile: Path) -> None:
    assert sh(shell, "-i", text=f". {profile}; echo status $?") == (0, "hello\nstatus 0\n")


def test_a_shell_that_nobody_looks_at_starts_nothing(shell: list[str], profile: Path) -> None:
    assert sh(shell, text=f". {profile}; echo status $?") == (0, "status 0\n")


@pytest.mark.parametrize("options", ["", "-e", "-u", "-eu", "-f", "-C"])
@pytest.mark.parametrize("interactive", [["-i"], []])
def test_the_shell_is_as_it_was_before(
    shell: list[str], profile: Path, options: str, interactive: list[str], tmp_path: Path
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    look = 'set >{0}; echo "OPTIONS=$-" >>{0}; alias >>{0}; trap >>{0}; pwd >>{0}; umask >>{0}'
    text = f"{look.format(before)}; . {profile}; {look.format(after)}"
    code, out = sh(shell, *interactive, *([options] if options else []), text=text)
    assert (code, out) == (0, "hello\n" if interactive else "")

    def seen(path: Path) -> list[str]:
        # What a shell counts, and the last word of the last command, are never the same twice.
        lines = path.read_text().split("\n")
        return [line for line in lines if not line.startswith(("_=", "LINENO=", "BASH_", "PIPESTATUS="))]

    assert seen(after) == seen(before)


@pytest.mark.parametrize("status", [0, 1, 3, 130])
def test_the_exit_status_is_as_it_was_before(shell: list[str], profile: Path, status: int) -> None:
    assert sh(shell, "-i", text=f"(exit {status}); . {profile}; echo status $?")[1] == f"hello\nstatus {status}\n"


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 1\n", "#!/bin/sh\nkill -9 $$\n", "#!/nowhere/at/all\n", "", None])
@pytest.mark.parametrize("options", [[], ["-e"], ["-eu"]])
def test_a_helper_that_fails_or_is_gone_shows_nothing(
    shell: list[str], helper: Path, profile: Path, script: str | None, options: list[str]
) -> None:
    helper.unlink()
    if script is not None:
        helper.write_text(script)
        helper.chmod(0o755)
    assert sh(shell, "-i", *options, text=f". {profile}; echo status $?") == (0, "status 0\n")


def test_a_helper_that_hangs_is_ended(shell: list[str], helper: Path, profile: Path) -> None:
    helper.write_text("#!/bin/sh\nexec sleep 600\n")
    profile.write_text(profile.read_text().replace("=1 60 ", "=1 0.1 "))
    assert sh(shell, "-i", "-e", text=f". {profile}; echo status $?") == (0, "status 0\n")


def test_what_is_typed_ahead_is_the_shells(shell: list[str], helper: Path, profile: Path) -> None:
    helper.write_text("#!/bin/sh\ncat\n")
    assert sh(shell, "-i", text=f". {profile}; read -r line; echo got $line", given="typed\n")[1] == "got typed\n"
