"""Every artefact's own tool looks at the staged file first; a refusal names the file and the tool's words."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from ds01.core.process import Completed, run
from ds01.core.tree import TreeFile
from ds01.deployer.plan import Action, Verb
from ds01.deployer.release import CURRENT, current_link
from ds01.deployer.staged import CheckError, check_staged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UNITS = "/etc/systemd/system"
VERIFY = ("systemd-analyze", "--man=no", "--recursive-errors=no", "verify", "{unit}")
VALIDATE = ("dockerd", "--validate", "--config-file", "{file}")


def action(path: str, after: str | None, check: tuple[str, ...] = (), verb: Verb = Verb.ADD) -> Action:
    target = PurePosixPath(path)
    return Action(verb, target, "", None, after, file=TreeFile(target, after or "", check=check))


class Tool:
    """One answer for every call; remembers the calls, and what lay in the scratch folder then."""

    def __init__(self, code: int = 0, stderr: str = "") -> None:
        self.answer = (code, "", stderr)
        self.calls: list[tuple[str, ...]] = []
        self.unit_path = ""

    def __call__(self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None, **_: object) -> Completed:
        self.calls.append(tuple(argv))
        self.unit_path = (environment or {})["SYSTEMD_UNIT_PATH"]
        return Completed(tuple(argv), *self.answer)


def test_units_are_checked_in_one_call_together_with_those_that_stay() -> None:
    drop_in = action(f"{UNITS}/ds01-student-.slice.d/10.conf", "[Slice]\n", VERIFY)
    group = action(f"{UNITS}/ds01-student.slice", "[Slice]\n", VERIFY)
    stays = action(f"{UNITS}/ds01.slice", "[Slice]\n", VERIFY, Verb.UNCHANGED)
    tool = Tool()
    assert check_staged([drop_in, group], [drop_in, group, stays], tool) == ()
    assert tool.calls == [(*VERIFY[:-1], "ds01-student-any.slice", "ds01-student.slice")]
    staged, *vendor = tool.unit_path.split(":")
    assert staged.endswith(f"{UNITS}")
    assert not Path(staged).exists()
    # What an admin or an older DS01 put on this host is not ours to be refused for.
    assert vendor
    assert not [folder for folder in vendor if folder.startswith(("/etc", "/run"))]


def test_a_file_is_checked_where_it_is_staged() -> None:
    tool = Tool()
    script = action("/usr/local/sbin/x", "echo\n", ("bash", "-n", "{file}", "--root={root}"))
    check_staged([script], [script], tool)
    (call,) = tool.calls
    root = call[3].removeprefix("--root=")
    assert call == ("bash", "-n", f"{root}/usr/local/sbin/x", f"--root={root}")


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="logrotate is not installed")
@pytest.mark.parametrize(
    ("options", "refused"),
    [("    weekly\n    missingok\n", False), ("    weekly\n    dailyish\n", True)],
    ids=["good", "bad"],
)
def test_logrotate_judges_the_file_and_not_the_folder_that_the_deploy_puts_right(
    options: str, *, refused: bool
) -> None:
    check = ("logrotate", "--debug", "--state", "/dev/null", "{file}")
    rotation = action("/etc/logrotate.d/ds01", f"/var/log/ds01/*.jsonl {{\n{options}}}\n", check)
    asked: list[str] = []

    def look(argv: Sequence[str], *, environment: Mapping[str, str] | None = None, **_: object) -> Completed:
        asked.append(Path(argv[-1]).read_text())
        return run(argv, environment=environment)

    with pytest.raises(CheckError) if refused else nullcontext():
        check_staged([rotation], [rotation], look)
    (text,) = asked
    assert not text.startswith("/var/log/")
    assert "/var/log/ds01/*.jsonl {" in text


def test_removals_and_files_without_a_check_are_not_checked() -> None:
    tool = Tool()
    changes = [action("/etc/a", "x\n"), action("/etc/b", None, ("bash", "-n", "{file}"), Verb.REMOVE)]
    changes.append(Action(Verb.REMOVE, PurePosixPath("/etc/c"), "", "x\n"))
    assert check_staged(changes, changes, tool) == ()
    assert tool.calls == []


def test_a_tool_that_is_not_installed_is_a_notice_once() -> None:
    changes = [action(f"/etc/{name}", "x\n", ("logrotate", "{file}")) for name in "ab"]
    found = check_staged(changes, changes, Tool(127))
    assert found == ("logrotate is not installed here, so its check did not run",)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_really_refuses_a_broken_script() -> None:
    script = action("/usr/local/sbin/ds01-x", "if true\n", ("bash", "-n", "{file}"))
    with pytest.raises(CheckError) as caught:
        check_staged([script], [script], run)
    assert caught.value.render() == (
        "bash refuses /usr/local/sbin/ds01-x; nothing was changed\n"
        "/usr/local/sbin/ds01-x: line 2: syntax error: unexpected end of file\n"
        "To fix: mend the policy or the template"
    )


BROKEN_UNITS = {
    "value": (
        "[Slice]\nMemoryMax=banana\n",
        f"{UNITS}/ds01-t.slice:2: Invalid memory limit 'banana', ignoring: Invalid argument",
    ),
    "key": ("[Slice]\nMemroyMax=1G\n", f"{UNITS}/ds01-t.slice:2: Unknown key"),
    "section": ("[Slicee\nMemoryMax=1G\n", f"{UNITS}/ds01-t.slice:1: Invalid section header '[Slicee'"),
    "whole line": ("[Slice]\nMemoryMax\n", f"{UNITS}/ds01-t.slice:2: Missing '='"),
}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize(("text", "words"), BROKEN_UNITS.values(), ids=BROKEN_UNITS)
def test_systemd_really_refuses_a_broken_unit(text: str, words: str) -> None:
    unit = action(f"{UNITS}/ds01-t.slice", text, VERIFY)
    with pytest.raises(CheckError) as caught:
        check_staged([unit], [unit], run)
    assert caught.value.brief == f"systemd-analyze refuses {UNITS}/ds01-t.slice; nothing was changed"
    assert (caught.value.details or "").startswith(words)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_really_refuses_a_broken_drop_in_and_accepts_a_good_one() -> None:
    good = action(f"{UNITS}/ds01-t-a.slice.d/10.conf", "[Slice]\nMemoryMax=1G\n", VERIFY)
    assert check_staged([good], [good], run) == ()
    bad = action(f"{UNITS}/ds01-t-.slice.d/10.conf", "[Slice]\nTasksMax=many\n", VERIFY)
    with pytest.raises(CheckError) as caught:
        check_staged([good, bad], [good, bad], run)
    assert caught.value.brief == "systemd-analyze refuses 2 files; nothing was changed"
    assert "10.conf:2: Invalid maximum tasks value 'many'" in (caught.value.details or "")


SERVICE = "[Service]\nType=oneshot\nExecStart=/opt/ds01/current/bin/x --boot\n"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("root", ["root", "a root with 100%i"])
def test_a_unit_is_checked_with_the_release_it_will_call(tmp_path: Path, root: str) -> None:
    host = tmp_path / root
    command = host / "opt/ds01/releases/b/bin/x"
    command.parent.mkdir(parents=True)
    unit = action(f"{UNITS}/ds01-x.service", SERVICE, VERIFY)
    link = Action(Verb.ADD, CURRENT, "", None, "releases/b", file=current_link("b"))
    with pytest.raises(CheckError) as caught:
        check_staged([unit, link], [unit, link], run, host)
    assert caught.value.brief == f"systemd-analyze refuses {UNITS}/ds01-x.service; nothing was changed"
    assert "Command /opt/ds01/current/bin/x is not executable" in (caught.value.details or "")
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    assert check_staged([unit, link], [unit, link], run, host) == ()
    # A part of a plan leaves the link that is there in force.
    with pytest.raises(CheckError):
        check_staged([unit], [unit], run, host)
    (host / "opt/ds01/current").symlink_to("releases/b")
    assert check_staged([unit], [unit], run, host) == ()


NO_VALIDATE = Tool(125, "Status: unknown flag: --validate\nSee 'dockerd --help'., Code: 125")


@pytest.mark.parametrize("tool", [Tool(127), NO_VALIDATE], ids=["not installed", "too old to validate"])
def test_without_a_validating_engine_unknown_keys_of_daemon_json_are_refused(tool: Tool) -> None:
    daemon = action("/etc/docker/daemon.json", '{"live-restore": true, "max-gpus": 3}', VALIDATE)
    with pytest.raises(CheckError) as caught:
        check_staged([daemon], [daemon], tool)
    assert caught.value.render() == (
        "/etc/docker/daemon.json has the key 'max-gpus', which keeps Docker from starting; nothing was changed\n"
        "To fix: remove the key from /etc/docker/daemon.json, then deploy again"
    )


def test_without_a_validating_engine_known_keys_are_accepted() -> None:
    daemon = action("/etc/docker/daemon.json", '{"live-restore": true, "runtimes": {"x": {}}}', VALIDATE)
    assert check_staged([daemon], [daemon], NO_VALIDATE) == ()
    notice = ("dockerd is not installed here, so its check did not run",)
    assert check_staged([daemon], [daemon], Tool(127)) == notice


def test_an_engine_that_validates_has_the_last_word() -> None:
    daemon = action("/etc/docker/daemon.json", "{}", VALIDATE)
    words = "unable to configure the Docker daemon: the following directives don't match any configuration option: x"
    with pytest.raises(CheckError) as caught:
        check_staged([daemon], [daemon], Tool(1, words))
    assert caught.value.render() == (
        "dockerd refuses /etc/docker/daemon.json; nothing was changed\n"
        f"{words}\n"
        "To fix: mend /etc/docker/daemon.json, then deploy again; Docker runs on, but would not start with this file"
    )


def test_no_place_for_the_staged_files_says_where_to_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    monkeypatch.setattr("tempfile.tempdir", str(in_the_way))
    daemon = action("/etc/docker/daemon.json", "{}", VALIDATE)
    with pytest.raises(CheckError) as caught:
        check_staged([daemon], [daemon], Tool())
    assert caught.value.render() == (
        "there is no place to lay the new files out for their checks; nothing was changed\n"
        "Not a directory\n"
        "To fix: make room in /tmp (df -h, df -i), or name another folder: TMPDIR=/var/tmp"
    )
