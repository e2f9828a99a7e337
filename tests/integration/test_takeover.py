"""The first deploy on a server of an older DS01: nothing without a choice, all of it with one, and all of it back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.integration.machine import Ended, inv, write_inventory
from tests.older_host import CALLERS, FILES, LINKS, OLDER, OTHERS, OURS, UNITS, lay_older

MAKER = "opt/ds01-infra/scripts/system/create-user-slice.sh"
NO_DOCKERD = "notice: dockerd is not installed here, so its check did not run\n"
TAKEN = "9 to add, 0 to change, 4 to take over, 0 to remove"
REMOVED = f"{TAKEN}, {len(OLDER)} older to remove, 0 unchanged"


class Server:
    """A root that an older DS01 was deployed to, an inventory, and tasks on both."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.root.mkdir()
        self.inventory = write_inventory(folder / "inventory")
        lay_older(self.root)

    def inv(self, task: str, *more: str, stdin: str = "") -> Ended:
        inventory = ["--inventory", str(self.inventory)] if task in {"plan", "deploy", "slices"} else []
        done = inv(task, "--root", str(self.root), *inventory, *more, stdin=stdin)
        return Ended(done.code, done.out, done.err.replace(NO_DOCKERD, ""))

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def picture(self) -> dict[str, object]:
        """Content, mode and goal of everything but the deployer's lock."""
        found: dict[str, object] = {}
        for path in sorted(self.root.rglob("*")):
            name = f"/{path.relative_to(self.root)}"
            if path.is_symlink():
                found[name] = f"link to {path.readlink()}"
            elif path.is_file() and path.name != ".lock":
                found[name] = (path.stat().st_mode, path.read_bytes())
        return found

    def there(self, *paths: str) -> list[str]:
        return [path for path in paths if os.path.lexists(self.at(path))]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


def older_lines(text: str) -> dict[str, list[str]]:
    """Return the paths of older files by what the plan says becomes of them."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        for words in ("o older ", "o keep older ", "- remove older "):
            if line.startswith(words):
                found.setdefault(words.strip(), []).append(line.removeprefix(words).split(": ", 1)[0])
    return found


# --- Nothing without a choice --------------------------------------------------------------------------------


def test_a_plan_shows_every_older_file_with_what_it_does_and_waits(server: Server) -> None:
    before = server.picture()
    done = server.inv("plan")
    assert (done.code, older_lines(done.out)) == (0, {"o older": list(OLDER)})
    summary = f"{TAKEN}, {len(OLDER)} older to decide about, 0 unchanged"
    assert done.out.startswith(f"Plan for ds01 on {server.root}: {summary}\n")
    for line in (
        (
            "o older /etc/sudoers.d/ds01-user-slice: lets everybody in the group docker run create-user-slice.sh with"
            " any arguments as root without a password"
        ),
        (
            "o older /etc/cron.d/ds01-maintenance: gives /var/lib/ds01 to the group docker every 15 minutes, stops idle"
            " containers every hour, stops containers that run for too long every hour, 1 more job"
        ),
        (
            "o older /usr/local/bin/docker: stands before docker for every account: puts containers into slices, labels"
            " them with their owner"
        ),
        "! take over /etc/logrotate.d/ds01: a file that DS01 did not write is here",
        "Notice: /etc/pam.d/common-session calls the older DS01's scripts; edit it by hand",
        (
            "Files marked older are of an older DS01; deploy waits for a choice: sudo ./inv deploy --older remove"
            " removes them (copies are kept), --older keep leaves them; with remove, --keep 'PATTERN' leaves some and"
            " may be repeated; the whole way is in docs/migration.md."
        ),
    ):
        assert f"{line}\n" in done.out
    assert "check-idle-containers" not in done.out  # no content before it is about to go
    assert server.inv("plan", "--check").code == 3
    assert server.picture() == before


def test_a_deploy_without_a_choice_is_refused_with_names_and_commands(server: Server) -> None:
    before = server.picture()
    done = server.inv("deploy", "--yes")
    names = "".join(f"  {path}\n" for path in OLDER)
    assert (done.code, done.err) == (
        4,
        (
            f"error: {len(OLDER)} files of an older DS01 are here, and nobody said what becomes of them; nothing was"
            f" deployed\n{names}"
            "To fix: sudo ./inv deploy --older remove removes them (copies are kept), --older keep leaves them; with"
            " remove, --keep 'PATTERN' leaves some and may be repeated; the whole way is in docs/migration.md\n"
        ),
    )
    assert server.picture() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--older", "drop"], "error: --older 'drop' is no choice\nTo fix: write --older remove or --older keep\n"),
        (["--keep", "/etc/*"], "error: --keep excepts files from --older remove, which is missing\nTo fix: "),
        (
            ["--older", "keep", "--keep", "/etc/*"],
            "error: --keep excepts files from --older remove, which is missing\n",
        ),
        (
            ["--older", "remove", "--keep", "/usr/bin/*"],
            (
                "error: --keep '/usr/bin/*' fits no file of an older DS01\n"
                "To fix: write paths as the plan shows them, with * where it does not matter, in quotes\n"
            ),
        ),
    ],
)
@pytest.mark.parametrize("task", [["plan"], ["deploy", "--yes"]], ids=["plan", "deploy"])
def test_a_choice_that_is_none_is_bad_input(server: Server, task: list[str], words: list[str], message: str) -> None:
    before = server.picture()
    done = server.inv(*task, *words)
    assert done.code == 2
    assert done.err.startswith(message), done.err
    assert server.picture() == before


def test_the_slices_alone_leave_older_files_and_decide_nothing(server: Server) -> None:
    done = server.inv("slices")
    assert (done.code, server.there(*OLDER)) == (0, list(OLDER))
    assert "older" not in done.out
    assert server.inv("deploy", "--yes").code == 4


# --- Removed -------------------------------------------------------------------------------------------------


def test_removed_files_are_gone_with_copies_and_others_are_as_they_were(server: Server) -> None:
    before = server.picture()
    planned = server.inv("plan", "--older", "remove")
    assert (planned.code, older_lines(planned.out)) == (0, {"- remove older": list(OLDER)})
    assert "    -20 * * * * root $INFRA_ROOT/scripts/monitoring/check-idle-containers.sh" in planned.out
    assert server.picture() == before

    done = server.inv("deploy", "--yes", "--older", "remove")
    assert (done.code, done.err) == (
        0,
        (
            f"Deployed generation 1: {REMOVED}.\n"
            "What others had written there is kept below /var/lib/ds01/deploy/kept/000001.\n"
        ),
    )
    assert server.there(*OLDER) == []
    for path in (*CALLERS, *OTHERS):
        assert server.picture()[path] == before[path]
    for path in (*OLDER, *OURS):
        copy = server.at(f"/var/lib/ds01/deploy/kept/000001{path}")
        if path in LINKS:
            assert str(copy.readlink()) == LINKS[path]
        else:
            assert (copy.read_text(), copy.stat().st_mode & 0o777) == (FILES[path], 0o600)
    # The folder of a drop-in goes with it, and no other.
    assert server.there(f"{UNITS}/ds01-student-gone.slice.d") == []
    assert server.there(f"{UNITS}/multi-user.target.wants", "/etc/cron.d") != []

    again = server.inv("deploy", "--yes")
    assert (again.code, again.err) == (0, "Nothing to do: the host is as the policy says.\n")
    assert server.inv("plan", "--check").code == 0
    assert server.inv("verify").code == 0


def test_some_are_kept_and_said_in_every_later_plan_until_they_go(server: Server) -> None:
    keep = ["--keep", "/usr/local/bin/*", "--keep", "/etc/profile.d/ds01-*"]
    kept = [path for path in OLDER if path.startswith(("/usr/local/bin/", "/etc/profile.d/"))]
    done = server.inv("deploy", "--yes", "--older", "remove", *keep)
    assert (done.code, server.there(*OLDER)) == (0, kept)
    assert older_lines(done.out)["o keep older"] == kept
    assert f"{len(OLDER) - len(kept)} older to remove, {len(kept)} older to keep, 0 unchanged" in done.err
    assert "Notice: /usr/local/bin/ds01-generate-limits stays and writes DS01's own drop-ins anew" in done.out

    later = server.inv("plan")
    assert (later.code, older_lines(later.out)) == (0, {})
    assert (
        "Notice: left from an older DS01 by choice: /etc/profile.d/ds01-gpu-awareness.sh,"
        " /etc/profile.d/ds01-quota-greeting.sh, /usr/local/bin/container-create and 3 more; sudo ./inv deploy --older"
        " remove removes what is left\n" in later.out
    )
    assert server.inv("plan", "--check").code == 0
    assert server.inv("deploy", "--yes").err == "Nothing to do: the host is as the policy says.\n"

    last = server.inv("deploy", "--yes", "--older", "remove")
    assert (last.code, server.there(*OLDER)) == (0, [])
    assert f"Deployed generation 2: 0 to add, 0 to change, 0 to remove, {len(kept)} older to remove, " in last.err
    assert server.inv("plan").out == (
        f"Plan for ds01 on {server.root}: 0 to add, 0 to change, 0 to remove, 13 unchanged\n\n"
        "Notice: /etc/pam.d/common-session calls the older DS01's scripts; edit it by hand\n"
    )


def test_an_answer_but_yes_removes_nothing(server: Server) -> None:
    before = server.picture()
    done = server.inv("deploy", "--older", "remove", stdin="n\n")
    assert (done.code, server.picture()) == (4, before)


# --- Kept ----------------------------------------------------------------------------------------------------


def test_all_are_kept_by_choice_and_what_is_ours_is_taken_over_all_the_same(server: Server) -> None:
    done = server.inv("deploy", "--yes", "--older", "keep")
    assert (done.code, server.there(*OLDER)) == (0, list(OLDER))
    assert f"Deployed generation 1: {TAKEN}, {len(OLDER)} older to keep, 0 unchanged.\n" in done.err
    for path in OURS:
        assert server.at(path).read_text().startswith("# Made by DS01 from ")
    assert server.inv("deploy", "--yes").err == "Nothing to do: the host is as the policy says.\n"


def test_a_choice_alone_is_remembered_though_nothing_else_changes(tmp_path: Path) -> None:
    server = Server(tmp_path)
    assert server.inv("slices").code == 0
    assert server.inv("deploy", "--yes", "--older", "keep").code == 0
    state = json.loads(server.at("/var/lib/ds01/deploy/manifest.json").read_text())
    assert (state["generation"], state["settled"]) == (2, True)
    assert server.inv("deploy", "--yes").code == 0


def test_a_rollback_leaves_older_files_as_they_are(server: Server) -> None:
    assert server.inv("deploy", "--yes", "--older", "keep").code == 0
    write_inventory(server.inventory, memory="8g")
    assert server.inv("deploy", "--yes", "--older", "remove", "--keep", "/usr/local/bin/*").code == 0
    left = server.there(*OLDER)
    assert server.inv("rollback", "--yes").code == 0
    assert server.there(*OLDER) == left


# --- Never half ----------------------------------------------------------------------------------------------


def test_the_rule_does_not_go_from_under_the_wrapper(server: Server) -> None:
    maker = server.at(MAKER)
    maker.parent.mkdir(parents=True)
    maker.write_text("#!/bin/bash\n")
    before = server.picture()
    words = ["--yes", "--older", "remove", "--keep", "/usr/local/bin/docker"]
    done = server.inv("deploy", *words)
    assert (done.code, done.err) == (
        4,
        (
            "error: 1 file cannot be deployed; nothing was changed\n"
            "  /etc/sudoers.d/ds01-user-slice is what /usr/local/bin/docker asks sudo for, and without it docker run"
            " asks everybody for a password\n"
            f"  To fix: mv /{MAKER} /{MAKER}.off (systemd makes slices by itself), let both go, or --keep both\n"
            "To fix: see to what each line names, then deploy again\n"
        ),
    )
    assert server.picture() == before
    maker.rename(f"{maker}.off")
    assert server.inv("deploy", *words).code == 0
    assert server.there(*OLDER) == ["/usr/local/bin/docker"]


def test_docker_is_not_left_without_what_daemon_json_needs(server: Server) -> None:
    daemon, socket = server.at("/etc/docker/daemon.json"), server.at(f"{UNITS}/docker.service.d/ds01-socket.conf")
    for file, text in (
        (daemon, '{"hosts": ["unix:///var/run/docker-real.sock"]}\n'),
        (socket, "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd\n"),
    ):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    before = server.picture()
    done = server.inv("deploy", "--yes", "--older", "remove")
    assert done.code == 4
    assert "docker.service.d/ds01-socket.conf makes Docker listen where daemon.json says (hosts)" in done.err
    assert server.picture() == before
    daemon.write_text("{}\n")
    assert server.inv("deploy", "--yes", "--older", "remove").code == 0
    assert server.there(f"{UNITS}/docker.service.d") == []


def test_older_limits_beside_ours_go_or_nothing_is_deployed(server: Server) -> None:
    beside = server.at(f"{UNITS}/ds01-student-alice.slice.d/limits.conf")
    beside.write_text("[Slice]\nMemoryMax=1T\n")
    done = server.inv("deploy", "--yes", "--older", "keep")
    assert done.code == 4
    assert (
        "/ds01-student-alice.slice.d/limits.conf sets MemoryMax as /etc/systemd/system/ds01-student-alice." in done.err
    )
    assert server.inv("deploy", "--yes", "--older", "remove").code == 0
    assert not beside.exists()


def test_a_wrapper_that_is_no_text_and_a_link_are_copied_as_they_are(server: Server) -> None:
    odd = {"/etc/cron.d/ds01-odd": b"\x7fELF\0\xff", "/etc/profile.d/ds01-latin.sh": b"# gr\xfcn\nPATH=x\n"}
    for path, content in odd.items():
        server.at(path).write_bytes(content)
    wrapper = server.at("/usr/local/bin/docker")
    wrapper.unlink()
    wrapper.symlink_to("/opt/ds01-infra/scripts/docker/docker-wrapper.sh")
    planned = server.inv("plan", "--older", "remove")
    assert "    -6 bytes that are no text, SHA-256 " in planned.out
    assert "    -# gr\\xfcn\n" in planned.out
    assert "a link to /opt/ds01-infra/scripts/docker/docker-wrapper.sh\n" in planned.out
    assert json.loads(server.inv("plan", "--older", "remove", "--json").out)["counts"]["remove older"] == len(OLDER) + 2
    assert server.inv("deploy", "--yes", "--older", "remove").code == 0
    kept = server.at("/var/lib/ds01/deploy/kept/000001")
    assert {path: (kept / path.lstrip("/")).read_bytes() for path in odd} == odd
    assert str((kept / "usr/local/bin/docker").readlink()) == "/opt/ds01-infra/scripts/docker/docker-wrapper.sh"


# --- For programs --------------------------------------------------------------------------------------------


def test_json_names_what_becomes_of_each(server: Server) -> None:
    def by_action(*words: str) -> dict[str, list[str]]:
        document = json.loads(server.inv("plan", "--json", *words).out)
        found: dict[str, list[str]] = {}
        for action in document["actions"]:
            found.setdefault(action["action"], []).append(action["path"])
        assert {verb: len(paths) for verb, paths in found.items()} == {k: v for k, v in document["counts"].items() if v}
        return found

    assert by_action()["older"] == list(OLDER)
    assert by_action("--older", "remove")["remove older"] == list(OLDER)
    assert by_action("--older", "keep")["keep older"] == list(OLDER)
    document = json.loads(server.inv("plan", "--json", "--older", "remove").out)
    (cron,) = [each for each in document["actions"] if each["path"] == "/etc/cron.d/ds01-maintenance"]
    assert cron["diff"].startswith(
        "--- /etc/cron.d/ds01-maintenance\n+++ /dev/null\n@@ -1,7 +0,0 @@\n-SHELL=/bin/bash\n"
    )
    assert document["lacking"] == []
