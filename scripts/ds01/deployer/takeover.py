"""Decides what becomes of an older DS01's files: nothing until an admin chooses, then each is removed or stays. Pure.

Never half: a file that cannot go without breaking the host, or cannot stay beside DS01's own, is blocked and says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final

from ds01.core.errors import BadInputError
from ds01.core.tree import Form, Part, Tree
from ds01.deployer.clashes import Host, if_it_stays, some, why_not_go, why_not_stay
from ds01.deployer.directives import parse_unit
from ds01.deployer.handlers import DAEMON_RELOAD
from ds01.deployer.older import UNITS, WRAPPER, Older, Remains
from ds01.deployer.owned import Owned
from ds01.deployer.plan import Action, Plan, Scope, Verb

DAEMON_JSON: Final = PurePosixPath("/etc/docker/daemon.json")
_LISTED: Final = 20
HOW: Final = (
    "sudo ./inv deploy --older remove removes them (copies are kept), --older keep leaves them; with remove, --keep"
    " 'PATTERN' leaves some and may be repeated; the whole way is in docs/migration.md"
)


@dataclass(frozen=True, slots=True)
class Choice:
    """What an admin wants to become of an older DS01's files.

    Attributes:
        keep: patterns of paths that stay though the others go.
    """

    remove: bool
    keep: tuple[str, ...] = ()

    @classmethod
    def of(cls, word: str | None, keep: Sequence[str]) -> Choice | None:
        """Read --older and --keep; None when neither was given.

        Raises:
            BadInputError: another word, or --keep where nothing is removed.
        """
        if word not in {None, "remove", "keep"}:
            raise BadInputError(f"--older {word!r} is no choice", None, "write --older remove or --older keep")
        if keep and word != "remove":
            raise BadInputError("--keep excepts files from --older remove, which is missing", None, HOW)
        return None if word is None else cls(word == "remove", tuple(keep))

    def removes(self, path: PurePosixPath) -> bool:
        """Whether this file goes."""
        return self.remove and not any(fnmatchcase(f"{path}", pattern) for pattern in self.keep)


@dataclass(frozen=True, slots=True)
class Question:
    """What a plan is asked about an older DS01's files.

    Attributes:
        choice: None when none was made now.
        settled: whether one was made in an earlier deploy.
        deployed: whether there was one, by root, who saw everything.
        without: the part of DS01 that is left out, so that nothing of it takes an older file's place.
    """

    choice: Choice | None = None
    settled: bool = False
    deployed: bool = False
    without: Part | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of them: actions for the plan, and lines to show with it."""

    actions: tuple[Action, ...] = ()
    notices: tuple[str, ...] = ()


def ask_about_older(scope: Scope | None, choice: Choice | None, owned: Owned) -> Question | None:
    """Return what a plan is asked; None for a plan about some files alone, which leaves an older DS01's as they are."""
    if scope is not None and scope.is_narrow:
        return None
    return Question(choice, owned.settled, owned.generation > 0, None if scope is None else scope.without)


def decide(remains: Remains, question: Question, wanted: Tree, daemon: str | None) -> Decision:
    """Decide for every file that was found.

    Args:
        daemon: text of Docker's daemon.json as it is; None when there is none.

    Raises:
        BadInputError: a pattern to keep fits none of them.
    """
    choice = question.choice
    _refuse_idle_patterns(choice, remains.older)
    unseen = (*remains.unsafe, *(() if question.deployed else remains.unseen))
    others = tuple(f"{path} calls the older DS01's scripts; edit it by hand" for path in remains.callers)
    if choice is None and question.settled:
        notices = (*unseen, *_left(remains.older), *if_it_stays(remains.older, wanted), *others)
        return Decision((), notices)
    stays = choice is not None and not choice.removes(WRAPPER) and any(each.path == WRAPPER for each in remains.older)
    host = Host.of(remains, daemon, wrapper_stays=stays)
    actions = tuple(_action(each, choice, host, wanted) for each in remains.older)
    staying = [each for each, action in zip(remains.older, actions, strict=True) if action.verb is not Verb.RETIRE]
    clashes = if_it_stays(staying, wanted) if choice is not None else ()
    return Decision(actions, (*unseen, *clashes, *others))


def with_older(plan: Plan, decision: Decision) -> Plan:
    """Return the plan with what becomes of the older files at its end: DS01's own are in place before they go."""
    return Plan(plan.host, plan.policy_hash, (*plan.actions, *decision.actions), plan.pending)


def emptied(plan: Plan) -> tuple[PurePosixPath, ...]:
    """Return the drop-in folders that a removal may leave empty."""
    return tuple(
        dict.fromkeys(
            action.path.parent
            for action in plan.actions
            if action.verb is Verb.RETIRE and action.path.parent.suffix == ".d" and action.path.parent.parent == UNITS
        )
    )


def is_settling(plan: Plan) -> bool:
    """Whether a choice was made in it."""
    return any(action.verb in {Verb.RETIRE, Verb.KEEP} for action in plan.actions)


def refusal(plan: Plan) -> tuple[str, str, str] | None:
    """Return why a plan cannot be deployed before a choice, as the parts of an error; None when it can."""
    undecided = [action for action in plan.actions if action.verb is Verb.OLDER]
    if not undecided:
        return None
    what = "file of an older DS01 is here" if len(undecided) == 1 else "files of an older DS01 are here"
    names = [f"  {action.path}" for action in undecided[:_LISTED]]
    if len(undecided) > _LISTED:
        names.append(f"  and {len(undecided) - _LISTED} more, in the plan above")
    brief = f"{len(undecided)} {what}, and nobody said what becomes of them; nothing was deployed"
    return brief, "\n".join(names), HOW


def _action(older: Older, choice: Choice | None, host: Host, wanted: Tree) -> Action:
    form = older.there.form
    if choice is None or not choice.removes(older.path):
        clash = None if choice is None else why_not_stay(older, wanted)
        if clash is not None:
            return Action(Verb.BLOCKED, older.path, f"{older.path} {clash}")
        verb = Verb.OLDER if choice is None else Verb.KEEP
        return Action(verb, older.path, older.what, was=form or Form.FILE)
    if form is None:
        return Action(Verb.UNKNOWN, older.path, older.what)
    obstacle = why_not_go(older, host)
    if obstacle is not None:
        return Action(Verb.BLOCKED, older.path, f"{older.path} {obstacle}")
    enables = older.path.parent.suffix in {".wants", ".requires"}
    return Action(
        Verb.RETIRE,
        older.path,
        older.what,
        older.text,
        keep=True,
        # What only enables a unit changes nothing before the next boot.
        handlers=(DAEMON_RELOAD,) if older.path.is_relative_to(UNITS) and not enables else (),
        was=form,
    )


def foreign_notices(remains: Remains) -> tuple[str, ...]:
    """Return a line for every unit file in DS01's name space that is nobody's known, yet changes what slices mean."""
    return tuple(
        f"{path} is not DS01's and changes what the slice means{_sets(text)}; remove it when it is not meant"
        for path, text in remains.foreign
    )


def _sets(text: str) -> str:
    found = [f"{name}={values[-1]}" for name, values in parse_unit(text).get("Slice", {}).items()]
    return f" ({', '.join(found)})" if found else ""


def _refuse_idle_patterns(choice: Choice | None, older: Iterable[Older]) -> None:
    for pattern in () if choice is None else choice.keep:
        if not any(fnmatchcase(f"{each.path}", pattern) for each in older):
            raise BadInputError(
                f"--keep {pattern!r} fits no file of an older DS01",
                None,
                "write paths as the plan shows them, with * where it does not matter, in quotes",
            )


def _left(older: Sequence[Older]) -> tuple[str, ...]:
    if not older:
        return ()
    names = some([f"{each.path}" for each in older])
    return (f"left from an older DS01 by choice: {names}; sudo ./inv deploy --older remove removes what is left",)
