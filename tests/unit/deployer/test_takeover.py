"""What becomes of an older DS01's files: nothing without a choice, each its own way with one, never the half of it."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from tests.older_host import DROP_IN, FILES

from ds01.core.errors import BadInputError
from ds01.core.tree import Form, Part, Tree, TreeFile
from ds01.deployer.observed import Kind, Observed
from ds01.deployer.older import Older, Remains
from ds01.deployer.owned import Owned
from ds01.deployer.plan import Action, Plan, Scope, Verb
from ds01.deployer.takeover import (
    HOW,
    Choice,
    Decision,
    Question,
    ask_about_older,
    decide,
    emptied,
    foreign_notices,
    is_settling,
    refusal,
    with_older,
)

UNITS = "/etc/systemd/system"
NOTHING = Tree.of("ds01", "hash", [])
REMOVE, KEEP = Choice(remove=True), Choice(remove=False)


def older(path: str, text: str, what: str = "does something", *, link: bool = False) -> Older:
    there = Observed(Kind.SYMLINK if link else Kind.FILE, text.encode(errors="surrogateescape"), 0o644, 0, 0)
    return Older(PurePosixPath(path), there, what)


CRON = older("/etc/cron.d/ds01-maintenance", FILES["/etc/cron.d/ds01-maintenance"])
GONE = older(f"{UNITS}/ds01-student-gone.slice.d/10-resource-limits.conf", DROP_IN)
WANTS = older(f"{UNITS}/multi-user.target.wants/ds01-x.service", f"{UNITS}/ds01-x.service", link=True)
SERVICE = older(f"{UNITS}/ds01-x.service", "[Service]\n")
COMMAND = older("/usr/local/bin/gr\udcfcn", "/opt/ds01-infra/gr\udcfcn", link=True)
ALL = Remains((CRON, GONE, SERVICE, WANTS, COMMAND))


def retired(each: Older, *handlers: str) -> Action:
    was = each.there.form or Form.FILE
    return Action(Verb.RETIRE, each.path, each.what, each.text, keep=True, handlers=handlers, was=was)


def staying(verb: Verb, each: Older) -> Action:
    return Action(verb, each.path, each.what, was=each.there.form or Form.FILE)


def test_without_a_choice_everything_waits() -> None:
    assert decide(ALL, Question(), NOTHING, None) == Decision(tuple(staying(Verb.OLDER, each) for each in ALL.older))


def test_removed_are_copied_and_reload_systemd_where_it_has_read_them() -> None:
    assert decide(ALL, Question(REMOVE), NOTHING, None) == Decision(
        (
            retired(CRON),
            retired(GONE, "daemon-reload"),
            retired(SERVICE, "daemon-reload"),
            retired(WANTS),
            retired(COMMAND),
        )
    )


def test_kept_stay_and_what_they_do_to_ours_is_said() -> None:
    decision = decide(ALL, Question(KEEP), NOTHING, None)
    assert decision.actions == tuple(staying(Verb.KEEP, each) for each in ALL.older)
    assert [line.split(" and ")[0] for line in decision.notices] == ["/etc/cron.d/ds01-maintenance stays"]


def test_some_are_kept_by_patterns() -> None:
    choice = Choice(remove=True, keep=("/usr/local/bin/*", f"{UNITS}/*ds01-x.service"))
    verbs = [action.verb for action in decide(ALL, Question(choice), NOTHING, None).actions]
    assert verbs == [Verb.RETIRE, Verb.RETIRE, Verb.KEEP, Verb.KEEP, Verb.KEEP]


def test_a_pattern_that_fits_nothing_is_a_mistake() -> None:
    with pytest.raises(BadInputError) as caught:
        decide(ALL, Question(Choice(remove=True, keep=("/etc/cron.d/*", "/usr/bin/*"))), NOTHING, None)
    assert caught.value.render() == (
        "--keep '/usr/bin/*' fits no file of an older DS01\n"
        "To fix: write paths as the plan shows them, with * where it does not matter, in quotes"
    )


def test_a_choice_made_before_holds_and_is_said_each_time() -> None:
    decision = decide(ALL, Question(settled=True), NOTHING, None)
    assert decision.actions == ()
    assert decision.notices[0] == (
        "left from an older DS01 by choice: /etc/cron.d/ds01-maintenance,"
        f" {UNITS}/ds01-student-gone.slice.d/10-resource-limits.conf, {UNITS}/ds01-x.service and 2 more;"
        " sudo ./inv deploy --older remove removes what is left"
    )
    assert decision.notices[1].startswith("/etc/cron.d/ds01-maintenance stays and makes /var/lib/ds01 and ")


def test_a_host_without_older_files_hears_nothing() -> None:
    for question in (Question(), Question(REMOVE), Question(KEEP), Question(settled=True)):
        assert decide(Remains(), question, NOTHING, None) == Decision()


def test_a_later_choice_removes_what_was_left() -> None:
    decision = decide(Remains((CRON,)), Question(REMOVE, settled=True), NOTHING, None)
    assert decision == Decision((retired(CRON),))


def test_what_runs_is_blocked_with_what_to_do_and_the_rest_is_not() -> None:
    remains = Remains((CRON, SERVICE, WANTS), running=frozenset({"ds01-x.service"}))
    actions = decide(remains, Question(REMOVE), NOTHING, None).actions
    assert [action.verb for action in actions] == [Verb.RETIRE, Verb.BLOCKED, Verb.BLOCKED]
    assert actions[1].words == (
        f"{UNITS}/ds01-x.service belongs to ds01-x.service, which still runs and would go on without it\n"
        "To fix: systemctl disable --now ds01-x.service, or --keep it"
    )
    assert {action.verb for action in decide(remains, Question(KEEP), NOTHING, None).actions} == {Verb.KEEP}


def test_what_daemon_json_needs_is_blocked() -> None:
    socket = older(f"{UNITS}/docker.service.d/ds01-socket.conf", "[Service]\n")
    daemon = '{"hosts": ["unix:///var/run/docker-real.sock"]}'
    (blocked,) = decide(Remains((socket,)), Question(REMOVE), NOTHING, daemon).actions
    (free,) = decide(Remains((socket,)), Question(REMOVE), NOTHING, "{}").actions
    assert (blocked.verb, free) == (Verb.BLOCKED, retired(socket, "daemon-reload"))


def test_limits_beside_ours_cannot_be_kept() -> None:
    ours = TreeFile(PurePosixPath(f"{UNITS}/ds01-a-b.slice.d/10-resource-limits.conf"), "[Slice]\nMemoryMax=8G\n")
    limits = older(f"{UNITS}/ds01-a-b.slice.d/limits.conf", "[Slice]\nMemoryMax=1T\n")
    tree = Tree.of("ds01", "hash", [ours])
    verbs = [decide(Remains((limits,)), Question(each), tree, None).actions[0].verb for each in (None, KEEP, REMOVE)]
    assert verbs == [Verb.OLDER, Verb.BLOCKED, Verb.RETIRE]


def test_the_rule_goes_with_the_wrapper_or_not_at_all() -> None:
    rule = older("/etc/sudoers.d/ds01-user-slice", FILES["/etc/sudoers.d/ds01-user-slice"])
    wrapper = older("/usr/local/bin/docker", "#!/bin/bash\n# DS01\n")
    remains = Remains((rule, wrapper), makes_slices=True)

    def verbs(*keep: str) -> list[Verb]:
        question = Question(Choice(remove=True, keep=keep))
        return [action.verb for action in decide(remains, question, NOTHING, None).actions]

    assert verbs() == [Verb.RETIRE, Verb.RETIRE]
    assert verbs("/usr/local/bin/docker") == [Verb.BLOCKED, Verb.KEEP]
    assert verbs("/usr/local/bin/docker", "/etc/sudoers.d/*") == [Verb.KEEP, Verb.KEEP]


def test_what_cannot_be_read_is_unknown_and_not_removed() -> None:
    hidden = Older(
        PurePosixPath("/etc/sudoers.d/ds01-x"), Observed(Kind.UNREADABLE, obstacle="no"), "it may not be read"
    )
    remains = Remains((hidden,))
    verbs = [decide(remains, Question(each), NOTHING, None).actions[0].verb for each in (None, KEEP, REMOVE)]
    assert verbs == [Verb.OLDER, Verb.KEEP, Verb.UNKNOWN]


def test_callers_and_what_was_not_seen_are_always_said() -> None:
    remains = Remains(callers=(PurePosixPath("/etc/pam.d/common-session"),), unseen=("not seen",), unsafe=("unsafe",))
    said = ("unsafe", "not seen", "/etc/pam.d/common-session calls the older DS01's scripts; edit it by hand")
    for question in (Question(), Question(REMOVE), Question(settled=True)):
        assert decide(remains, question, NOTHING, None) == Decision((), said)
    # Root saw everything at the first deploy; who plans without root is not told each time.
    after = Question(settled=True, deployed=True)
    assert decide(remains, after, NOTHING, None) == Decision((), ("unsafe", said[2]))


def test_units_of_nobody_known_are_said_with_what_they_set() -> None:
    foreign = (
        (PurePosixPath(f"{UNITS}/ds01-a.slice.d/99-mine.conf"), "[Slice]\nMemoryMax=1G\nMemoryMax=2G\nCPUWeight=5\n"),
        (PurePosixPath(f"{UNITS}/ds01-b.slice"), "/dev/null"),
    )
    end = "; remove it when it is not meant"
    assert foreign_notices(Remains(foreign=foreign)) == (
        f"{foreign[0][0]} is not DS01's and changes what the slice means (MemoryMax=2G, CPUWeight=5){end}",
        f"{foreign[1][0]} is not DS01's and changes what the slice means{end}",
    )


@pytest.mark.parametrize(
    ("word", "keep", "choice"),
    [
        (None, [], None),
        ("remove", [], REMOVE),
        ("keep", [], KEEP),
        ("remove", ["/etc/*", "/usr/*"], Choice(remove=True, keep=("/etc/*", "/usr/*"))),
    ],
)
def test_a_choice_is_read_from_its_options(word: str | None, keep: list[str], choice: Choice | None) -> None:
    assert Choice.of(word, keep) == choice


@pytest.mark.parametrize(
    ("word", "keep", "words"),
    [
        ("delete", [], "--older 'delete' is no choice\nTo fix: write --older remove or --older keep"),
        ("", [], "--older '' is no choice\nTo fix: write --older remove or --older keep"),
        ("keep", ["/etc/*"], f"--keep excepts files from --older remove, which is missing\nTo fix: {HOW}"),
        (None, ["/etc/*"], f"--keep excepts files from --older remove, which is missing\nTo fix: {HOW}"),
    ],
)
def test_options_that_make_no_choice_are_a_mistake(word: str | None, keep: list[str], words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        Choice.of(word, keep)
    assert caught.value.render() == words


@pytest.mark.parametrize(
    ("scope", "question"),
    [
        (None, Question(REMOVE, settled=True, deployed=True)),
        (Scope(without=Part.RUNTIME), Question(REMOVE, settled=True, deployed=True, without=Part.RUNTIME)),
        (Scope(account="alice"), None),
        (Scope(pattern="/etc/*", without=Part.RUNTIME), None),
    ],
)
def test_a_plan_about_some_files_alone_asks_nothing(scope: Scope | None, question: Question | None) -> None:
    assert ask_about_older(scope, REMOVE, Owned(1, settled=True)) == question


def plan(*actions: Action) -> Plan:
    return Plan("ds01", "hash", actions, ("docker-restart",))


def test_older_files_come_last_and_what_was_pending_stays() -> None:
    first = Action(Verb.ADD, PurePosixPath("/etc/a"), "new", None, "a")
    joined = with_older(plan(first), Decision((retired(CRON),)))
    assert joined == plan(first, retired(CRON))


def test_a_plan_without_a_choice_is_refused_with_names_and_commands() -> None:
    many = [staying(Verb.OLDER, older(f"/etc/cron.d/ds01-{number:02}", "")) for number in range(23)]
    brief, names, fix = refusal(plan(*many)) or ("", "", "")
    assert brief == "23 files of an older DS01 are here, and nobody said what becomes of them; nothing was deployed"
    lines = names.splitlines()
    assert (len(lines), lines[0], lines[-1]) == (21, "  /etc/cron.d/ds01-00", "  and 3 more, in the plan above")
    assert fix == HOW
    one = refusal(plan(staying(Verb.OLDER, CRON)))
    assert one is not None
    assert one[:2] == (
        "1 file of an older DS01 is here, and nobody said what becomes of them; nothing was deployed",
        "  /etc/cron.d/ds01-maintenance",
    )


def test_a_plan_with_a_choice_is_not_refused_and_settles_it() -> None:
    undecided, kept, gone = plan(staying(Verb.OLDER, CRON)), plan(staying(Verb.KEEP, CRON)), plan(retired(CRON))
    assert [refusal(each) is None for each in (undecided, kept, gone, plan())] == [False, True, True, True]
    assert [is_settling(each) for each in (undecided, kept, gone, plan())] == [False, True, True, False]


def test_folders_of_drop_ins_may_be_left_empty_and_others_are_not_touched() -> None:
    socket = older(f"{UNITS}/docker.service.d/ds01-socket.conf", "")
    found = emptied(plan(retired(GONE), retired(CRON), retired(WANTS), staying(Verb.KEEP, socket)))
    assert found == (PurePosixPath(f"{UNITS}/ds01-student-gone.slice.d"),)
