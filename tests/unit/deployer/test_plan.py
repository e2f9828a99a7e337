"""What a deploy would do, for every state a file can be in; and planning again after a deploy finds nothing."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.caller import my_group, my_name

from ds01.core.paths import HostPaths
from ds01.core.process import Completed
from ds01.core.tree import Form, Merge, Part, Tree, TreeFile, sha256
from ds01.core.value import replace
from ds01.deployer.deploy import Options, World, deploy
from ds01.deployer.merge import merge_json
from ds01.deployer.observed import Kind, Observed
from ds01.deployer.owned import Owned, OwnedFile, read_owned
from ds01.deployer.plan import Action, Plan, Scope, Verb, make_plan
from ds01.deployer.survey import plan_host

PLAIN = TreeFile(PurePosixPath("/etc/logrotate.d/ds01"), "weekly\n", source="etc/logrotate.d/ds01.j2")
UNIT = TreeFile(
    PurePosixPath("/etc/systemd/system/ds01-student-alice.slice.d/10-resource-limits.conf"),
    "# made\n[Slice]\nCPUQuota=9600%\nMemoryMax=128G\n",
    source="alice.conf.j2",
    handlers=("daemon-reload",),
    account="alice",
)
OLD_UNIT = "# made\n[Slice]\nMemoryMax=96G\nTasksMax=5\n"
DAEMON = TreeFile(
    PurePosixPath("/etc/docker/daemon.json"),
    '{\n  "live-restore": true\n}\n',
    source="daemon.json.j2",
    merge=Merge.JSON,
    handlers=("docker-reload", "docker-restart"),
)
COMMAND = TreeFile(
    PurePosixPath("/usr/local/bin/ds01"),
    "../../../opt/ds01/current/bin/ds01",
    source="templates/manifest.yaml",
    form=Form.LINK,
    part=Part.RUNTIME,
)
FOREIGN = '{\n  "dns": ["8.8.8.8"]\n}\n'
MERGED = '{\n  "dns": ["8.8.8.8"],\n  "live-restore": true\n}\n'
RECORD = merge_json(DAEMON.content, FOREIGN, None).record
OURS_ALONE = merge_json(DAEMON.content, None, None).record


def there(content: str, mode: int = 0o644, uid: int = 0, gid: int = 0) -> Observed:
    return Observed(Kind.FILE, content.encode(), mode, uid, gid)


ABSENT = Observed(Kind.ABSENT)


def owned(file: TreeFile, content: str, record: dict[str, object] | None = None) -> OwnedFile:
    return OwnedFile(
        sha256(content.encode()), file.mode, "root", "root", file.source, file.account, record, file.form, file.part
    )


def leads(goal: str, uid: int = 0) -> Observed:
    return Observed(Kind.SYMLINK, goal.encode(), 0o777, uid, 0, f"it is a symbolic link to {goal}")


def plan(wanted: TreeFile | None, observed: Observed, known: OwnedFile | None, path: PurePosixPath) -> Plan:
    """Plan one file on a host that is at generation 7."""
    tree = Tree.of("ds01", "hash", [] if wanted is None else [wanted])
    return make_plan(
        tree,
        {path: observed},
        Owned(7, "ds01", "hash", {} if known is None else {path: known}),
        {} if wanted is None else {path: (0, 0)},
    )


def only(wanted: TreeFile, observed: Observed, known: OwnedFile | None = None) -> Action:
    (action,) = plan(wanted, observed, known, wanted.path).actions
    return action


def expected(verb: Verb, file: TreeFile, reason: str, before: str | None, after: str | None, **more: object) -> Action:
    return Action(  # type: ignore[arg-type]
        verb, file.path, reason, before, after, file=file, account=file.account, part=file.part, **more
    )


# --- Files that DS01 owns as a whole ------------------------------------------------------------------------


WHOLE = {
    "new": (
        PLAIN,
        ABSENT,
        None,
        expected(Verb.ADD, PLAIN, "new, from etc/logrotate.d/ds01.j2", None, PLAIN.content),
    ),
    "new, for an account": (
        UNIT,
        ABSENT,
        None,
        expected(Verb.ADD, UNIT, "limits of account alice", None, UNIT.content, handlers=("daemon-reload",)),
    ),
    "as wanted": (
        UNIT,
        there(UNIT.content),
        owned(UNIT, UNIT.content),
        expected(Verb.UNCHANGED, UNIT, "as wanted", UNIT.content, UNIT.content),
    ),
    "as wanted, but not DS01's so far": (
        UNIT,
        there(UNIT.content),
        None,
        expected(Verb.UNCHANGED, UNIT, "as wanted", UNIT.content, UNIT.content),
    ),
    "edited by hand to just what is wanted now": (
        UNIT,
        there(UNIT.content),
        owned(UNIT, OLD_UNIT),
        expected(Verb.UNCHANGED, UNIT, "as wanted", UNIT.content, UNIT.content),
    ),
    "directives differ": (
        UNIT,
        there(OLD_UNIT),
        owned(UNIT, OLD_UNIT),
        expected(
            Verb.CHANGE,
            UNIT,
            "CPUQuota (none) → 9600%, MemoryMax 96G → 128G, TasksMax 5 → (none)",
            OLD_UNIT,
            UNIT.content,
            handlers=("daemon-reload",),
        ),
    ),
    "only a comment differs, so nothing has to be read again": (
        UNIT,
        there(UNIT.content.replace("made", "written")),
        owned(UNIT, UNIT.content.replace("made", "written")),
        expected(
            Verb.CHANGE,
            UNIT,
            "alice.conf.j2 renders differently",
            UNIT.content.replace("made", "written"),
            UNIT.content,
        ),
    ),
    "somebody else's file": (
        UNIT,
        there("[Slice]\nMemoryMax=1G\n"),
        None,
        expected(
            Verb.TAKE_OVER,
            UNIT,
            "a file that DS01 did not write is here",
            "[Slice]\nMemoryMax=1G\n",
            UNIT.content,
            keep=True,
            handlers=("daemon-reload",),
        ),
    ),
    "edited": (
        UNIT,
        there(UNIT.content + "IOWeight=1\n"),
        owned(UNIT, UNIT.content),
        expected(
            Verb.CHANGE,
            UNIT,
            "edited by hand since generation 7",
            UNIT.content + "IOWeight=1\n",
            UNIT.content,
            drift=True,
            keep=True,
            handlers=("daemon-reload",),
        ),
    ),
    "deleted": (
        UNIT,
        ABSENT,
        owned(UNIT, UNIT.content),
        expected(
            Verb.ADD,
            UNIT,
            "deleted by hand since generation 7",
            None,
            UNIT.content,
            drift=True,
            handlers=("daemon-reload",),
        ),
    ),
    "mode": (
        PLAIN,
        there(PLAIN.content, mode=0o666),
        owned(PLAIN, PLAIN.content),
        expected(Verb.CHANGE, PLAIN, "mode is 0666, wanted 0644", PLAIN.content, PLAIN.content),
    ),
    "setuid bit": (
        PLAIN,
        there(PLAIN.content, mode=0o4644),
        owned(PLAIN, PLAIN.content),
        expected(Verb.CHANGE, PLAIN, "mode is 4644, wanted 0644", PLAIN.content, PLAIN.content),
    ),
    "owner": (
        PLAIN,
        there(PLAIN.content, uid=1000),
        owned(PLAIN, PLAIN.content),
        expected(Verb.CHANGE, PLAIN, "owned by 1000:0, wanted root:root", PLAIN.content, PLAIN.content),
    ),
    "group": (
        PLAIN,
        there(PLAIN.content, gid=100),
        owned(PLAIN, PLAIN.content),
        expected(Verb.CHANGE, PLAIN, "owned by 0:100, wanted root:root", PLAIN.content, PLAIN.content),
    ),
    "not text": (
        PLAIN,
        Observed(Kind.FILE, b"\xff\n", 0o644, 0, 0),
        None,
        expected(Verb.TAKE_OVER, PLAIN, "a file that DS01 did not write is here", "\udcff\n", PLAIN.content, keep=True),
    ),
    "symbolic link in the way": (
        PLAIN,
        Observed(Kind.SYMLINK, obstacle="/etc/logrotate.d is a symbolic link to /tmp"),
        owned(PLAIN, PLAIN.content),
        expected(Verb.BLOCKED, PLAIN, "/etc/logrotate.d is a symbolic link to /tmp", None, None),
    ),
    "a link where the file should be": (
        PLAIN,
        leads("/opt/older/rotate"),
        None,
        expected(
            Verb.TAKE_OVER,
            PLAIN,
            "a symbolic link that DS01 did not write is here",
            "/opt/older/rotate",
            PLAIN.content,
            keep=True,
            was=Form.LINK,
        ),
    ),
    "a link took the file's place": (
        PLAIN,
        leads("elsewhere"),
        owned(PLAIN, PLAIN.content),
        expected(
            Verb.CHANGE,
            PLAIN,
            "edited by hand since generation 7",
            "elsewhere",
            PLAIN.content,
            drift=True,
            keep=True,
            was=Form.LINK,
        ),
    ),
    "nothing is merged through a link": (
        DAEMON,
        leads("elsewhere"),
        None,
        expected(Verb.BLOCKED, DAEMON, "it is a symbolic link to elsewhere", None, None),
    ),
    "new link": (
        COMMAND,
        ABSENT,
        None,
        expected(Verb.ADD, COMMAND, f"a link to {COMMAND.content}", None, COMMAND.content),
    ),
    "link as wanted, whatever its mode says": (
        COMMAND,
        leads(COMMAND.content),
        owned(COMMAND, COMMAND.content),
        expected(Verb.UNCHANGED, COMMAND, "as wanted", COMMAND.content, COMMAND.content, was=Form.LINK),
    ),
    "link of somebody": (
        COMMAND,
        leads(COMMAND.content, uid=1000),
        owned(COMMAND, COMMAND.content),
        expected(
            Verb.CHANGE,
            COMMAND,
            "owned by 1000:0, wanted root:root",
            COMMAND.content,
            COMMAND.content,
            was=Form.LINK,
        ),
    ),
    "link leads elsewhere now": (
        COMMAND,
        leads("../old"),
        owned(COMMAND, "../old"),
        expected(
            Verb.CHANGE,
            COMMAND,
            f"leads to {COMMAND.content} instead of ../old",
            "../old",
            COMMAND.content,
            was=Form.LINK,
        ),
    ),
    "a file where the link should be, with the very text": (
        COMMAND,
        there(COMMAND.content),
        None,
        expected(
            Verb.TAKE_OVER,
            COMMAND,
            "a file that DS01 did not write is here",
            COMMAND.content,
            COMMAND.content,
            keep=True,
        ),
    ),
    "folder in the way": (
        PLAIN,
        Observed(Kind.FOLDER, obstacle="/etc/logrotate.d/ds01 is a folder"),
        None,
        expected(Verb.BLOCKED, PLAIN, "/etc/logrotate.d/ds01 is a folder", None, None),
    ),
    "device in the way": (
        PLAIN,
        Observed(Kind.OTHER, obstacle="/etc/logrotate.d/ds01 is a device"),
        None,
        expected(Verb.BLOCKED, PLAIN, "/etc/logrotate.d/ds01 is a device", None, None),
    ),
    "not readable without root": (
        UNIT,
        Observed(Kind.UNREADABLE, obstacle="it may not be read"),
        owned(UNIT, UNIT.content),
        expected(Verb.UNKNOWN, UNIT, "it may not be read", None, None),
    ),
}


@pytest.mark.parametrize(("file", "observed", "known", "action"), WHOLE.values(), ids=WHOLE)
def test_a_wanted_file_gets_the_action_its_state_asks_for(
    file: TreeFile, observed: Observed, known: OwnedFile | None, action: Action
) -> None:
    assert plan(file, observed, known, file.path) == Plan("ds01", "hash", (action,))


def test_ownership_is_not_looked_at_where_it_cannot_be_set() -> None:
    tree = Tree.of("ds01", "hash", [PLAIN])
    found = make_plan(tree, {PLAIN.path: there(PLAIN.content, uid=1000)}, Owned(), None)
    assert [action.verb for action in found.actions] == [Verb.UNCHANGED]


# --- Files that are not wanted any more ---------------------------------------------------------------------


def gone(verb: Verb, reason: str, before: str | None, **more: object) -> Action:
    return Action(verb, UNIT.path, reason, before, account="alice", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["sampler", "eventsd", "gpuwatch"])
def test_a_service_that_is_deployed_no_more_is_told_to_stop(name: str) -> None:
    path = PurePosixPath(f"/etc/systemd/system/ds01-{name}.service")
    text = f"[Service]\nExecStart=/opt/ds01/current/bin/ds01-{name}\n"
    owned = Owned(1, files={path: OwnedFile(sha256(text.encode()), 0o644, "root", "root", "x.j2")})
    (action,) = make_plan(Tree.of("ds01", "hash", []), {path: there(text)}, owned, None).actions
    assert (action.verb, action.handlers) == (Verb.REMOVE, (f"restart-{name}",))


STALE = {
    "as DS01 left it": (
        there(OLD_UNIT),
        gone(Verb.REMOVE, "account alice is no longer listed or limited", OLD_UNIT, handlers=("daemon-reload",)),
    ),
    "edited": (
        there("mine\n"),
        gone(
            Verb.REMOVE,
            "edited by hand, and no longer rendered",
            "mine\n",
            drift=True,
            keep=True,
            handlers=("daemon-reload",),
        ),
    ),
    "a link on the way": (Observed(Kind.SYMLINK, obstacle="a link"), gone(Verb.BLOCKED, "a link", None)),
    "a link took its place": (
        leads("mine"),
        gone(
            Verb.REMOVE,
            "edited by hand, and no longer rendered",
            "mine",
            drift=True,
            keep=True,
            handlers=("daemon-reload",),
            was=Form.LINK,
        ),
    ),
    "unreadable": (Observed(Kind.UNREADABLE, obstacle="no"), gone(Verb.UNKNOWN, "no", None)),
}


@pytest.mark.parametrize(("observed", "action"), STALE.values(), ids=STALE)
def test_a_stale_file_is_removed_unless_that_would_lose_something(observed: Observed, action: Action) -> None:
    assert plan(None, observed, owned(UNIT, OLD_UNIT), UNIT.path).actions == (action,)


def test_a_stale_file_that_is_gone_already_needs_nothing() -> None:
    assert plan(None, ABSENT, owned(UNIT, OLD_UNIT), UNIT.path).actions == ()


def test_a_stale_file_outside_systemds_folder_reloads_nothing() -> None:
    (action,) = plan(None, there(PLAIN.content), owned(PLAIN, PLAIN.content), PLAIN.path).actions
    assert action == Action(Verb.REMOVE, PLAIN.path, "no longer rendered", PLAIN.content)


def test_removals_come_first_then_files_by_path() -> None:
    files = [replace(PLAIN, path=PurePosixPath(path)) for path in ("/etc/b", "/etc/c")]
    observed = {PurePosixPath(path): there("weekly\n") for path in ("/etc/a", "/etc/b", "/etc/c", "/etc/z")}
    known = {path: owned(PLAIN, PLAIN.content) for path in observed}
    found = make_plan(Tree.of("ds01", "hash", reversed(files)), observed, Owned(1, files=known))
    assert [(action.verb, str(action.path)) for action in found.actions] == [
        (Verb.REMOVE, "/etc/a"),
        (Verb.REMOVE, "/etc/z"),
        (Verb.UNCHANGED, "/etc/b"),
        (Verb.UNCHANGED, "/etc/c"),
    ]


# --- daemon.json, which is others' too ----------------------------------------------------------------------

DOCKER = ("docker-reload", "docker-restart")
MERGES = {
    "no file yet": (
        ABSENT,
        None,
        expected(
            Verb.ADD, DAEMON, "new, from daemon.json.j2", None, DAEMON.content, record=OURS_ALONE, handlers=DOCKER
        ),
    ),
    "foreign keys": (
        there(FOREIGN),
        None,
        expected(
            Verb.CHANGE,
            DAEMON,
            "DS01's keys are merged in; foreign keys stay",
            FOREIGN,
            MERGED,
            keep=True,
            record=RECORD,
            handlers=DOCKER,
        ),
    ),
    "as wanted, whoever wrote it": (
        there(MERGED),
        None,
        expected(
            Verb.UNCHANGED,
            DAEMON,
            "as wanted",
            MERGED,
            MERGED,
            record=merge_json(DAEMON.content, MERGED, None).record,
        ),
    ),
    "merged before": (
        there(MERGED),
        owned(DAEMON, MERGED, RECORD),
        expected(Verb.UNCHANGED, DAEMON, "as wanted", MERGED, MERGED, record=RECORD),
    ),
    "somebody changed a foreign key": (
        there(MERGED.replace("8.8.8.8", "1.1.1.1")),
        owned(DAEMON, MERGED, RECORD),
        expected(
            Verb.UNCHANGED,
            DAEMON,
            "as wanted",
            MERGED.replace("8.8.8.8", "1.1.1.1"),
            MERGED.replace("8.8.8.8", "1.1.1.1"),
            record=RECORD,
        ),
    ),
    "somebody changed our key": (
        there(MERGED.replace("true", "false")),
        owned(DAEMON, MERGED, RECORD),
        expected(
            Verb.CHANGE,
            DAEMON,
            "DS01's own keys were edited by hand: live-restore",
            MERGED.replace("true", "false"),
            MERGED,
            drift=True,
            keep=True,
            record=merge_json(DAEMON.content, MERGED.replace("true", "false"), RECORD).record,
            handlers=DOCKER,
        ),
    ),
    "somebody deleted it": (
        ABSENT,
        owned(DAEMON, MERGED, RECORD),
        expected(
            Verb.ADD,
            DAEMON,
            "deleted by hand since generation 7",
            None,
            DAEMON.content,
            drift=True,
            record=merge_json(DAEMON.content, None, RECORD).record,
            handlers=DOCKER,
        ),
    ),
    "broken": (
        there('{\n  "dns": [,]\n}\n'),
        None,
        expected(
            Verb.BLOCKED,
            DAEMON,
            "/etc/docker/daemon.json, line 2, column 11: a value is missing\n"
            "To fix: put strings in double quotes; see the line named; nothing was changed",
            '{\n  "dns": [,]\n}\n',
            None,
        ),
    ),
    "not UTF-8": (
        Observed(Kind.FILE, b'{\n  "live-restore": "\xe9"\n}\n', 0o644, 0, 0),
        None,
        expected(
            Verb.BLOCKED,
            DAEMON,
            "/etc/docker/daemon.json, line 2, column 20 (bytes): it is not UTF-8 text\n"
            "invalid continuation byte\n"
            "To fix: save it as UTF-8 and try again; nothing was changed",
            None,
            None,
        ),
    ),
}


@pytest.mark.parametrize(("observed", "known", "action"), MERGES.values(), ids=MERGES)
def test_a_merged_file_gets_the_action_its_state_asks_for(
    observed: Observed, known: OwnedFile | None, action: Action
) -> None:
    assert only(DAEMON, observed, known) == action


UNMERGES = {
    "what was there comes back": (
        MERGED,
        RECORD,
        Action(
            Verb.CHANGE,
            DAEMON.path,
            "DS01's keys go; what was there before comes back",
            MERGED,
            FOREIGN,
            handlers=DOCKER,
        ),
    ),
    "a file of ours alone goes": (
        DAEMON.content,
        OURS_ALONE,
        Action(
            Verb.REMOVE,
            DAEMON.path,
            "DS01's keys go; what was there before comes back",
            DAEMON.content,
            None,
            handlers=DOCKER,
        ),
    ),
    "an edit of our key stays": (
        MERGED.replace("true", "false"),
        RECORD,
        Action(
            Verb.UNCHANGED,
            DAEMON.path,
            "nothing of DS01's is left in it",
            MERGED.replace("true", "false"),
            MERGED.replace("true", "false"),
        ),
    ),
    "broken": (
        "{",
        RECORD,
        Action(
            Verb.BLOCKED,
            DAEMON.path,
            "/etc/docker/daemon.json, line 1, column 2: a key in double quotes is missing\n"
            'To fix: write "key": value, and close every {; nothing was changed',
            "{",
        ),
    ),
}


@pytest.mark.parametrize(("text", "record", "action"), UNMERGES.values(), ids=UNMERGES)
def test_a_merged_file_that_is_not_wanted_any_more_is_restored(
    text: str, record: dict[str, object], action: Action
) -> None:
    assert plan(None, there(text), owned(DAEMON, MERGED, record), DAEMON.path).actions == (action,)


# --- The plan as a whole ------------------------------------------------------------------------------------


def acts(*verbs: Verb) -> tuple[Action, ...]:
    return tuple(Action(verb, PurePosixPath(f"/etc/{index}"), "") for index, verb in enumerate(verbs))


@pytest.mark.parametrize(
    ("actions", "summary"),
    [
        ((), "0 to add, 0 to change, 0 to remove, 0 unchanged"),
        (
            acts(*[Verb.ADD] * 3, *[Verb.CHANGE] * 2, Verb.REMOVE, *[Verb.UNCHANGED] * 158),
            "3 to add, 2 to change, 1 to remove, 158 unchanged",
        ),
        (
            acts(Verb.TAKE_OVER, Verb.BLOCKED, Verb.UNKNOWN),
            "0 to add, 0 to change, 1 to take over, 0 to remove, 1 blocked, 1 unknown, 0 unchanged",
        ),
    ],
)
def test_summary_counts_in_one_line(actions: tuple[Action, ...], summary: str) -> None:
    assert Plan("ds01", "hash", actions).summary == summary


def test_handlers_are_named_once_and_include_what_an_earlier_deploy_left() -> None:
    actions = tuple(replace(action, handlers=("daemon-reload",)) for action in acts(Verb.ADD, Verb.CHANGE))
    assert Plan("ds01", "hash", actions, ("docker-restart",)).handlers == ("daemon-reload", "docker-restart")


SCOPES = {
    "all": (Scope(), {"alice", "bob", "policy", "other", "runtime"}),
    "all but the runtime": (Scope(without=Part.RUNTIME), {"alice", "bob", "policy", "other"}),
    "the slices alone": (Scope(pattern="/etc/systemd/system/ds01*", without=Part.RUNTIME), {"alice", "bob", "other"}),
    "an account": (Scope(account="alice"), {"alice"}),
    "a pattern": (Scope(pattern="/etc/systemd/system/ds01*"), {"alice", "bob", "other", "runtime"}),
    "both": (Scope(account="bob", pattern="/etc/systemd/system/ds01*"), {"bob"}),
    "nobody": (Scope(account="eve"), set()),
}


@pytest.mark.parametrize(("scope", "left"), SCOPES.values(), ids=SCOPES)
def test_a_scope_leaves_its_part_of_the_plan(scope: Scope, left: set[str]) -> None:
    units = PurePosixPath("/etc/systemd/system")
    everything = {
        "alice": Action(Verb.ADD, units / "ds01-student-alice.slice.d/10.conf", "", account="alice"),
        "bob": Action(Verb.REMOVE, units / "ds01-student-bob.slice.d/10.conf", "", account="bob"),
        "other": Action(Verb.CHANGE, units / "ds01-other.slice", ""),
        "policy": Action(Verb.CHANGE, PurePosixPath("/etc/ds01/policy.json"), ""),
        "runtime": Action(Verb.ADD, units / "ds01-recover.service", "", part=Part.RUNTIME),
    }
    whole = Plan("ds01", "hash", tuple(everything.values()), ("docker-restart",))
    inside = tuple(action for name, action in everything.items() if name in left)
    # A restart that was left for later waits for a plan that is about more than some files.
    pending = () if scope.is_narrow else ("docker-restart",)
    assert whole.within(scope) == Plan("ds01", "hash", inside, pending)


@pytest.mark.parametrize("scope", [Scope(), Scope("alice", "/etc/*", Part.RUNTIME), Scope(without=Part.RUNTIME)])
def test_a_scope_survives_a_journal(scope: Scope) -> None:
    assert Scope.from_json(json.loads(json.dumps(scope.to_json()))) == scope


# --- Plan, apply, plan --------------------------------------------------------------------------------------

NAMES = ("/etc/a", "/etc/ds01/b", "/etc/ds01/deep/er/c", "/etc/systemd/system/ds01-x.slice")
MERGED_NAME = "/etc/docker/daemon.json"
contents = st.sampled_from(["", "one\n", "two\n", "[Slice]\nTasksMax=5\n", "no line end", "\x1b[31m\n"])
objects = st.dictionaries(
    st.sampled_from(["dns", "live-restore", "debug"]), st.sampled_from([True, False, [], ["x"], {"k": 1}]), max_size=3
)
modes = st.sampled_from([0o644, 0o755, 0o600])


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    chosen = draw(st.sets(st.sampled_from(NAMES)))
    files = [TreeFile(PurePosixPath(path), draw(contents), draw(modes)) for path in sorted(chosen)]
    if draw(st.booleans()):
        text = _json(draw(objects))
        files.append(TreeFile(PurePosixPath(MERGED_NAME), text, merge=Merge.JSON))
    return Tree.of("ds01", "hash", [replace(file, owner=my_name(), group=my_group()) for file in files])


def _json(value: dict[str, object]) -> str:
    return json.dumps(value, indent=2) + "\n"


def no_tools(argv: list[str], **_: object) -> Completed:
    return Completed(tuple(argv), 127, "", f"{argv[0]} is not installed")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(trees(), min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(NAMES), contents),
    st.none() | objects,
)
def test_planning_again_after_a_deploy_finds_no_change(
    wanted: list[Tree], before: dict[str, str], foreign: dict[str, object] | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths = HostPaths(Path(folder))
        found = {**before, **({} if foreign is None else {MERGED_NAME: _json(foreign)})}
        for path, text in found.items():
            paths.at(path).parent.mkdir(parents=True, exist_ok=True)
            paths.at(path).write_text(text)
        world = World(run=no_tools, ask=lambda _: True, environment={})  # type: ignore[arg-type]
        for tree in wanted:
            deploy(tree, paths, Options(yes=True), world)
            planned = plan_host(tree, paths, read_owned(paths))
            assert {action.verb for action in planned.actions} <= {Verb.UNCHANGED}
            assert set(planned_paths(planned)) == {str(path) for path in tree.files}
            assert not deploy(tree, paths, Options(yes=True), world)
        # What nobody ever wanted is still there, byte for byte; and so is all of it that DS01 gave back.
        wanted_once = {str(path) for tree in wanted for path in tree.files}
        for path, text in before.items():
            if path not in wanted_once:
                assert paths.at(path).read_text() == text
        deploy(Tree.of("ds01", "hash", []), paths, Options(yes=True), world)
        assert paths.at(MERGED_NAME).exists() == (foreign is not None)
        if foreign is not None:
            assert paths.at(MERGED_NAME).read_text() == _json(foreign)
        assert not [path for path in wanted_once - {MERGED_NAME} if paths.at(path).exists()]


def planned_paths(found: Plan) -> list[str]:
    return [str(action.path) for action in found.actions]
