"""All files or none: staging, putting in place, keeping, taking back, recovering."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

import pytest

from ds01.core.paths import HostPaths
from ds01.deployer.apply import Link, Outcome, Remove, Write, recover, stage
from ds01.deployer.files import FilesError, ObstacleError
from ds01.deployer.journal import JournalError, State, pending

SLICE, CRON, NEW = map(PurePosixPath, ("/etc/systemd/ds01.slice", "/etc/cron.d/ds01", "/etc/ds01/sub/policy.json"))


def snapshot(root):
    """Everything below a root, without the deploy folder's own existence, which is ours to make."""
    found = {}
    for path in root.rglob("*"):
        info, name = path.lstat(), f"/{path.relative_to(root)}"
        mode = stat.S_IMODE(info.st_mode)
        if path.is_symlink():
            found[name] = ("link", os.fspath(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder", mode)
        else:
            found[name] = (mode, info.st_ino, info.st_nlink, info.st_mtime_ns, path.read_bytes())
    return found


def contents(root):
    return {name: state[-1] for name, state in snapshot(root).items() if isinstance(state[-1], bytes)}


@pytest.fixture
def paths(tmp_path):
    for path, content in ((SLICE, "old slice\n"), (CRON, "old cron\n")):
        file = tmp_path / path.relative_to("/")
        file.parent.mkdir(parents=True)
        file.write_text(content)
        file.chmod(0o604)
    (tmp_path / "var/lib/ds01/deploy").mkdir(parents=True)
    return HostPaths(tmp_path)


CHANGES = [Write(NEW, b"{}\n", 0o640), Remove(CRON), Write(SLICE, b"new slice\n", 0o644), Remove(PurePosixPath("/no"))]


def test_staging_changes_nothing_that_others_read(paths):
    before = contents(paths.root)
    transaction = stage(paths, CHANGES)
    visible = {name: content for name, content in contents(paths.root).items() if "/." not in name}
    ours = {"/var/lib/ds01/deploy/journal.json", "/var/lib/ds01/deploy/journal.files.json"}
    assert {name: content for name, content in visible.items() if name not in ours} == before
    assert transaction.paths == (NEW, CRON, SLICE)


def test_names_beside_a_target_are_passed_over_by_what_reads_folders(paths):
    before = {path for path in paths.root.rglob("*") if path.parent != paths.deploy}
    stage(paths, CHANGES)
    added = {
        path.name for path in set(paths.root.rglob("*")) - before if path.parent != paths.deploy and path.is_file()
    }
    assert added == {
        ".policy.json.ds01-new~", ".ds01.ds01-old~", ".ds01.slice.ds01-new~", ".ds01.slice.ds01-old~"
    }  # fmt: skip


def test_what_is_kept_is_new_and_clean(paths):
    steps = []
    transaction = stage(paths, CHANGES, prune=[CRON.parent], progress=lambda done, total: steps.append((done, total)))
    transaction.commit()
    assert pending(paths) is State.APPLIED
    transaction.finish()
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert contents(paths.root) == {"/etc/ds01/sub/policy.json": b"{}\n", "/etc/systemd/ds01.slice": b"new slice\n"}
    assert paths.at(NEW).stat().st_mode & 0o7777 == 0o640
    assert paths.at(SLICE).stat().st_mode & 0o7777 == 0o644
    assert not paths.at(CRON.parent).exists()
    assert list(paths.deploy.iterdir()) == []


@pytest.mark.parametrize("committed", [False, True])
def test_what_is_taken_back_is_the_same_files_with_all_attributes(paths, committed):
    before = snapshot(paths.root)
    transaction = stage(paths, CHANGES, prune=[CRON.parent])
    if committed:
        transaction.commit()
    assert transaction.undo() == ()
    assert snapshot(paths.root) == before


def test_modes_do_not_depend_on_the_umask(paths):
    before = os.umask(0o077)
    try:
        transaction = stage(paths, [Write(NEW, b"", 0o644), Write(PurePosixPath("/usr/bin/x"), b"", 0o4755)])
        transaction.commit()
        transaction.finish()
    finally:
        os.umask(before)
    found = ["etc/ds01", "etc/ds01/sub", "etc/ds01/sub/policy.json", "usr/bin/x"]
    modes = [(paths.root / path).stat().st_mode & 0o7777 for path in found]
    assert modes == [0o755, 0o755, 0o644, 0o4755]


@pytest.mark.root
def test_the_owner_is_set_and_setuid_survives_it(paths):
    transaction = stage(paths, [Write(NEW, b"", 0o4750, 1234, 4321), Write(SLICE, b"", 0o640, gid=4321)])
    transaction.commit()
    found = [paths.at(path).stat() for path in (NEW, SLICE)]
    assert [(each.st_uid, each.st_gid, each.st_mode & 0o7777) for each in found] == [
        (1234, 4321, 0o4750),
        (0, 4321, 0o640),
    ]


def test_two_thousand_files_in_one_go(paths):
    before = snapshot(paths.root)
    names = [PurePosixPath(f"/etc/systemd/ds01-group-user{n}.slice.d/10-limits.conf") for n in range(2000)]
    transaction = stage(paths, [Write(name, f"{name}\n".encode(), 0o644) for name in names])
    transaction.commit()
    transaction.finish()
    expected = {str(name): f"{name}\n".encode() for name in names}
    assert contents(paths.root) == expected | {str(SLICE): b"old slice\n", str(CRON): b"old cron\n"}
    transaction = stage(paths, [Remove(name) for name in names], prune=[name.parent for name in names])
    transaction.commit()
    transaction.finish()
    assert snapshot(paths.root) == before


def test_nothing_to_do_is_a_deploy_too(paths):
    before = snapshot(paths.root)
    transaction = stage(paths, [])
    transaction.commit()
    transaction.finish()
    assert snapshot(paths.root) == before


def test_a_first_deploy_makes_its_own_folder(tmp_path):
    paths = HostPaths(tmp_path)
    transaction = stage(paths, [Write(SLICE, b"x", 0o644)])
    transaction.commit()
    transaction.finish()
    assert contents(tmp_path) == {str(SLICE): b"x"}
    assert paths.deploy.stat().st_mode & 0o7777 == 0o755


def test_one_path_twice_is_a_mistake_of_the_caller(paths):
    before = snapshot(paths.root)
    with pytest.raises(ValueError, match=r"/etc/cron\.d/ds01 is changed twice"):
        stage(paths, [Write(CRON, b"", 0o644), Remove(CRON)])
    assert snapshot(paths.root) == before


def test_the_steps_come_in_order(paths):
    transaction = stage(paths, CHANGES)
    with pytest.raises(RuntimeError, match="staging cannot do this"):
        transaction.finish()
    transaction.commit()
    with pytest.raises(RuntimeError, match="applied cannot do this"):
        transaction.commit()
    transaction.finish()
    with pytest.raises(RuntimeError, match="finishing cannot do this"):
        transaction.undo()


# --- what is in the way -------------------------------------------------------------------------------------


@pytest.mark.parametrize("component", ["etc", "etc/systemd", "etc/systemd/deep"])
def test_a_link_on_the_way_stops_everything(tmp_path, component):
    (tmp_path / "elsewhere/systemd/deep").mkdir(parents=True)
    (tmp_path / "var/lib/ds01/deploy").mkdir(parents=True)
    (tmp_path / component).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / component).symlink_to(tmp_path / "elsewhere")
    before = snapshot(tmp_path)
    changes = [
        Write(PurePosixPath("/usr/first"), b"x", 0o644),
        Write(PurePosixPath("/etc/systemd/deep/file"), b"", 0o644),
    ]
    with pytest.raises(ObstacleError) as caught:
        stage(HostPaths(tmp_path), changes)
    assert caught.value.brief == f"/{component} is a symbolic link to {tmp_path}/elsewhere"
    assert snapshot(tmp_path) == before


def make_pipe(path):
    os.mkfifo(path)


IN_THE_WAY = [
    (Path.mkdir, "/etc/cron.d/way is a folder"),
    (make_pipe, "/etc/cron.d/way is a pipe"),
]


@pytest.mark.parametrize(
    "change", [Write(PurePosixPath("/etc/cron.d/way"), b"", 0o644), Remove(PurePosixPath("/etc/cron.d/way"))]
)
@pytest.mark.parametrize(("make", "brief"), IN_THE_WAY)
def test_what_is_no_file_is_neither_replaced_nor_removed(paths, make, brief, change):
    make(paths.root / "etc/cron.d/way")
    before = {path: path.lstat().st_mode for path in paths.root.rglob("*")}
    with pytest.raises(ObstacleError) as caught:
        stage(paths, [*CHANGES, change])
    assert caught.value.brief == brief
    assert {path: path.lstat().st_mode for path in paths.root.rglob("*")} == before


LINK = PurePosixPath("/etc/cron.d/link")
LINK_CHANGES = [Write(LINK, b"new", 0o644), Link(LINK, "elsewhere"), Remove(LINK)]


@pytest.mark.parametrize("change", LINK_CHANGES)
@pytest.mark.parametrize("old", ["a link", "a file", None])
@pytest.mark.parametrize("keep", [True, False])
def test_a_link_is_made_replaced_and_removed_itself_and_never_followed(paths, change, old, *, keep):
    precious = paths.root / "etc/cron.d/precious"
    precious.write_text("precious")
    if old == "a link":
        paths.at(LINK).symlink_to("precious")
    elif old is not None:
        paths.at(LINK).write_text(old)
    before = snapshot(paths.root)
    transaction = stage(paths, [*CHANGES, change])
    transaction.commit()
    if not keep:
        assert transaction.undo() == ()
        assert snapshot(paths.root) == before
        return
    transaction.finish()
    assert precious.read_text() == "precious"
    match change:
        case Link():
            assert paths.at(LINK).readlink() == Path("elsewhere")
        case Write():
            assert (paths.at(LINK).is_symlink(), paths.at(LINK).read_text()) == (False, "new")
        case _:
            assert not os.path.lexists(paths.at(LINK))
    assert sorted(path.name for path in paths.at(LINK).parent.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("goal", ["by-hand", None])
def test_a_link_that_was_changed_since_is_left_as_it_is(paths, goal):
    paths.at(LINK).symlink_to("old")
    transaction = stage(paths, [Link(LINK, "new")])
    transaction.commit()
    paths.at(LINK).unlink()
    if goal is None:
        paths.at(LINK).write_text("a file by hand")
    else:
        paths.at(LINK).symlink_to(goal)
    assert transaction.undo() == (LINK,)
    assert paths.at(LINK).with_name(".link.ds01-old~").readlink() == Path("old")


@pytest.mark.root
def test_a_link_belongs_to_whom_it_should(paths):
    stage(paths, [Link(LINK, "new", 7, 8)]).commit()
    assert (paths.at(LINK).lstat().st_uid, paths.at(LINK).lstat().st_gid) == (7, 8)


@pytest.mark.root
def test_a_device_is_not_replaced(paths):
    os.mknod(paths.root / "etc/cron.d/way", 0o20666, os.makedev(1, 3))
    with pytest.raises(ObstacleError, match=r"/etc/cron\.d/way is a device"):
        stage(paths, [Write(PurePosixPath("/etc/cron.d/way"), b"", 0o644)])


def test_a_file_where_a_folder_should_be_stops_everything(paths):
    before = snapshot(paths.root)
    with pytest.raises(ObstacleError, match=r"/etc/cron\.d/ds01 is a file, not a folder"):
        stage(paths, [*CHANGES[:1], Write(CRON / "below", b"", 0o644)])
    assert snapshot(paths.root) == before


def test_leftovers_of_an_older_crash_are_replaced_and_never_followed(paths):
    precious = paths.root / "precious"
    precious.write_text("precious")
    for name in (".ds01.slice.ds01-new~", ".ds01.slice.ds01-old~", ".journal.json.applied"):
        folder = paths.deploy if "journal" in name else paths.at(SLICE).parent
        (folder / name).symlink_to(precious)
    transaction = stage(paths, CHANGES)
    transaction.commit()
    transaction.finish()
    assert contents(paths.root) == {str(NEW): b"{}\n", str(SLICE): b"new slice\n", "/precious": b"precious"}
    assert paths.at(SLICE).parent.joinpath("ds01.slice").is_symlink() is False


def test_a_leftover_link_is_not_taken_for_the_old_file(paths):
    # The crash came while staging: the link beside the second file is of an older deploy and must not be put back.
    before = contents(paths.root)
    stale = paths.at(SLICE).with_name(".ds01.slice.ds01-old~")
    stale.write_text("from long ago\n")
    paths.at(CRON).with_name(".ds01.ds01-new~").mkdir()  # makes staging fail at the first file
    with pytest.raises(FilesError) as caught:
        stage(paths, [Write(CRON, b"new\n", 0o644), Write(SLICE, b"new\n", 0o644)])
    assert caught.value.render() == (
        "/etc/cron.d/ds01 cannot be written: File exists\n[Errno 17] File exists: '.ds01.ds01-new~'\n"
        "To fix: mend that and try again"
    )
    assert contents(paths.root) == before


def test_a_target_that_changed_since_staging_stops_everything(paths):
    for edit in (
        lambda: paths.at(SLICE).write_text("edited\n"),
        lambda: paths.at(CRON).unlink(),
        lambda: paths.at(NEW).write_text("made by hand\n"),
    ):
        transaction = stage(paths, CHANGES)
        edit()
        edited = contents(paths.root)
        with pytest.raises(FilesError, match="was changed by somebody else while it was being deployed"):
            transaction.commit()
        expected = {name: text for name, text in edited.items() if "ds01-" not in name and "journal" not in name}
        assert contents(paths.root) == expected
        assert pending(paths) is None
        paths.at(CRON).write_text("old cron\n")
        paths.at(NEW).unlink(missing_ok=True)


# --- after a crash ------------------------------------------------------------------------------------------


def test_without_a_crash_there_is_nothing_to_recover(paths, tmp_path):
    before = snapshot(paths.root)
    assert recover(paths) is None
    assert recover(HostPaths(tmp_path / "etc")) is None
    assert snapshot(paths.root) == before


def test_a_deploy_after_a_crash_is_refused_until_it_is_recovered(paths):
    stage(paths, CHANGES)
    with pytest.raises(JournalError) as caught:
        stage(paths, CHANGES)
    assert caught.value.render() == (
        "an earlier deploy was interrupted and is not cleared up yet\n"
        "its journal is /var/lib/ds01/deploy/journal.json\n"
        "To fix: run ./inv deploy again: it first finishes or undoes what was left"
    )


def test_before_all_was_in_place_it_is_undone(paths):
    before = snapshot(paths.root)
    stage(paths, CHANGES, context={"generation": 7})
    found = recover(paths)
    assert found is not None
    assert (found.outcome, found.context, found.transaction, found.kept) == (
        Outcome.UNDONE,
        {"generation": 7},
        None,
        (),
    )
    assert (snapshot(paths.root), recover(paths)) == (before, None)


@pytest.mark.parametrize("ending", ["finish", "undo"])
def test_once_all_was_in_place_the_caller_decides(paths, ending):
    before = snapshot(paths.root)
    stage(paths, CHANGES, context={"handlers": ["reload"]}, prune=[CRON.parent]).commit()
    found = recover(paths)
    assert found is not None
    assert (found.outcome, found.context) == (Outcome.APPLIED, {"handlers": ["reload"]})
    assert found.transaction is not None
    assert found.transaction.paths == (NEW, CRON, SLICE)
    getattr(found.transaction, ending)()
    if ending == "undo":
        assert snapshot(paths.root) == before
    else:
        assert contents(paths.root) == {str(NEW): b"{}\n", str(SLICE): b"new slice\n"}
        assert not paths.at(CRON.parent).exists()
    assert recover(paths) is None


def test_what_somebody_edited_after_a_crash_is_left_and_named(paths):
    stage(paths, CHANGES).commit()
    paths.at(SLICE).write_text("mended by hand\n")
    paths.at(CRON).write_text("made again by hand\n")
    found = recover(paths)
    assert found is not None
    assert found.transaction is not None
    assert found.transaction.undo() == (CRON, SLICE)
    assert contents(paths.root) == {
        str(SLICE): b"mended by hand\n",
        "/etc/systemd/.ds01.slice.ds01-old~": b"old slice\n",
        str(CRON): b"made again by hand\n",
        "/etc/cron.d/.ds01.ds01-old~": b"old cron\n",
    }


def test_a_new_file_that_somebody_edited_is_left_with_its_folder(paths):
    transaction = stage(paths, CHANGES)
    transaction.commit()
    paths.at(NEW).write_text("edited\n")
    assert transaction.undo() == (NEW,)
    assert contents(paths.root) == {str(NEW): b"edited\n", str(SLICE): b"old slice\n", str(CRON): b"old cron\n"}


def test_folders_that_somebody_uses_by_now_stay(paths):
    transaction = stage(paths, CHANGES, prune=[CRON.parent])
    transaction.commit()
    (paths.at(CRON).parent / "theirs").write_text("x")
    transaction.finish()
    assert contents(paths.root)["/etc/cron.d/theirs"] == b"x"


def test_a_folder_that_somebody_removed_does_not_stop_recovery(paths):
    stage(paths, CHANGES).commit()
    for file in paths.at(CRON).parent.iterdir():
        file.unlink()
    paths.at(CRON).parent.rmdir()
    found = recover(paths)
    assert found is not None
    assert found.transaction is not None
    assert found.transaction.undo() == ()
    assert contents(paths.root) == {str(SLICE): b"old slice\n"}


def test_a_link_that_came_into_the_way_keeps_the_journal(paths):
    stage(paths, CHANGES).commit()
    (paths.root / "etc").rename(paths.root / "moved")
    (paths.root / "etc").symlink_to("moved")
    found = recover(paths)
    assert found is not None
    assert found.transaction is not None
    with pytest.raises(ObstacleError, match="/etc is a symbolic link to moved"):
        found.transaction.undo()
    (paths.root / "etc").unlink()
    (paths.root / "moved").rename(paths.root / "etc")
    found = recover(paths)
    assert found is not None
    assert found.outcome is Outcome.UNDONE
    assert contents(paths.root) == {str(SLICE): b"old slice\n", str(CRON): b"old cron\n"}


def test_a_spoilt_journal_stops_everything_and_stays(paths):
    stage(paths, CHANGES).commit()
    (paths.deploy / "journal.files.json").write_text("{}")
    before = snapshot(paths.root)
    for attempt in (lambda: recover(paths), lambda: stage(paths, CHANGES)):
        with pytest.raises(JournalError):
            attempt()
    assert snapshot(paths.root) == before


class CallerError(Exception):
    """Stands for any failure inside the caller's own progress function."""


@pytest.mark.parametrize("error", [KeyboardInterrupt, CallerError])
def test_an_interruption_while_staging_takes_everything_back(paths, error):
    before = snapshot(paths.root)

    def progress(done, total):
        if done == 2:
            raise error

    with pytest.raises(error):
        stage(paths, CHANGES, progress=progress)
    assert snapshot(paths.root) == before


def test_no_descriptor_stays_open(paths):
    before = len(list(Path("/proc/self/fd").iterdir()))
    transaction = stage(paths, CHANGES)
    transaction.commit()
    transaction.undo()
    recover(paths)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
