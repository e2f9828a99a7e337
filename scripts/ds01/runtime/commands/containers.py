"""`ds01 containers`: every container there is, whose it is and how that is known. Changes nothing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from ds01.core.clock import format_instant
from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import ExitCode, RefusedError
from ds01.core.labels import ContainerType
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, read_policy
from ds01.core.terminal import print_json, say
from ds01.core.typed import Final
from ds01.core.value import dataclass, replace
from ds01.core.visible import visible
from ds01.core.words import table
from ds01.runtime.accounts import caller, is_admin
from ds01.runtime.administrator import require_root
from ds01.runtime.commands.watching import add_watch, shown
from ds01.runtime.containers.container import State
from ds01.runtime.containers.describe import inspect_all
from ds01.runtime.containers.engine import EngineError
from ds01.runtime.containers.look import Looked, Looker, Unseen, look, open_engine, read_record
from ds01.runtime.containers.record import Record, Row, entry_of, row_of
from ds01.runtime.containers.seen import Kind, Seen
from ds01.runtime.identity import Caller

JSON_VERSION: Final = 1
_HEAD: Final = ("NAME", "OWNER", "KIND", "STATE", "SINCE", "IMAGE", "GPU", "FLAGS")
_SHOWN_ID: Final = 12
_EPILOG: Final = """Whose a container is, is known by a claim of an administrator or by the label that DS01 gave it.
With a ? only its maker says so, by the slice that it is in, another label, or as whom its
processes run: it counts for nobody. What Docker could not describe is shown as it was seen last
(undescribed), and left alone. An account sees its own, an administrator all. Claims, and which
containers DS01 let come to be, root alone reads: without sudo what Docker and the kernel show has
to do."""
_NOT_READ: Final = (
    "claims, and which containers DS01 let come to be, are read by root alone: shown is what Docker and the kernel tell"
    " of your own; run the command through sudo to see more"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """One line, of a container that is there or was.

    Attributes:
        flags: `site` (one of the site's own), `protected`, how it comes back by itself; `undescribed` of one that is
            shown as it was seen last.
    """

    row: Row
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """What could be found out, and what is in the way of more.

    Attributes:
        failed: whether that should not be.
    """

    lines: tuple[Shown, ...]
    lacking: str | None = None
    failed: bool = False


def main(argv: Sequence[str] | None = None) -> int:
    """Show it, once or again and again; returns the exit code."""
    made = parser("ds01 containers", "Show every container, whose it is, and whether DS01 had a say in it.")
    made.epilog, made.formatter_class = _EPILOG, argparse.RawDescriptionHelpFormatter
    made.add_argument("--user", metavar="NAME", help="containers of one account")
    made.add_argument("--unmanaged", action="store_true", help="those that came to be without DS01")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    add_watch(made)
    return run_command(made, argv, _show)


def _show(options: argparse.Namespace) -> int:
    paths = host_paths(options.root)
    knows_all = os.geteuid() == 0 or (not paths.is_live and os.access(paths.containers, os.R_OK, effective_ids=True))
    if knows_all:
        require_root(paths, "which containers there are, and whose they are, is read")
    policy = read_policy(paths.policy, of_root=True)
    who = caller(policy, uid=os.getuid(), environment=os.environ)
    user = _whose(who if knows_all else replace(who, is_admin=False), options.user)

    def show(clear: str) -> int:
        found = _find(paths, policy) if knows_all else _find_without_root(paths, policy)
        lines = [each for each in found.lines if _is_wanted(each.row, user, unmanaged=options.unmanaged)]
        if options.json:
            print_json(_json(lines, found.lacking), sys.stdout)
        else:
            print(f"{clear}{_text(lines, user)}", flush=True)
            if found.lacking is not None:
                say(f"notice: {found.lacking}")
        return ExitCode.FAILED if found.failed else ExitCode.DONE

    return shown(options.watch, show)


def _whose(who: Caller, asked: str | None) -> str | None:
    """Return whose containers are shown; None is everybody's.

    Raises:
        RefusedError: somebody else's are asked for, by no administrator.
    """
    if who.is_admin or asked == who.name:
        return asked
    if asked is not None:
        raise RefusedError(
            f"containers of {visible(asked)} are shown to administrators alone",
            None,
            "leave --user out to see your own; administrators run the command through sudo",
        )
    return who.name


def _is_wanted(row: Row, user: str | None, *, unmanaged: bool) -> bool:
    owned = user is None or (row.owner is not None and row.owner.user == user)
    return owned and not (unmanaged and (row.kind is Kind.MANAGED or row.of_site))


def _find(paths: HostPaths, policy: Policy) -> _Found:
    """Return what there is; what was known last, when Docker cannot be asked."""
    record = read_record(paths)
    try:
        looked = look(paths, policy)
    except EngineError as error:
        when = "nothing is known from before" if record.updated_at is None else _when(record.updated_at)
        lacking = f"{error.render()}\nshown is what was known before: {when}"
        return _Found(_sorted(Shown(row, _flags(row)) for row in record.rows.values()), lacking, failed=True)
    return _Found(_lines(looked, record, policy))


def _lines(looked: Looked, record: Record, policy: Policy) -> tuple[Shown, ...]:
    seen = (_of(each, record.rows.get(each.container.id), policy) for each in looked.seen)
    return _sorted([*seen, *map(_unseen, looked.unseen)])


def _unseen(unseen: Unseen) -> Shown:
    """Return a container that Docker cannot describe: as it was seen last, else what Docker's list says."""
    there = unseen.there.summary
    row = unseen.row or Row(
        id=there.id,
        name=there.name,
        state=there.state,
        image=visible(there.image),
        kind=Kind.UNKNOWN,
        owner=None,
        admitted=False,
        of_site=False,
        type=ContainerType.UNKNOWN,
        created_at=there.created_at,
        started_at=None,
        finished_at=None,
        first_seen=there.created_at,
    )
    return Shown(row, (*_flags(row), "undescribed"))


def _find_without_root(paths: HostPaths, policy: Policy) -> _Found:
    """Return what anybody can find out who may ask Docker.

    Raises:
        EngineError: this account may not, or nobody can.
    """
    looked = Looker(paths, policy, Record(), {}).look_at(inspect_all(open_engine(paths)))
    return _Found(_lines(looked, Record(), policy), _NOT_READ)


def _of(seen: Seen, before: Row | None, policy: Policy) -> Shown:
    row = row_of(seen, before)
    return Shown(row, (*_flags(row), *_more_flags(seen, policy)))


def _flags(row: Row) -> tuple[str, ...]:
    return ("site",) if row.of_site else ()


def _more_flags(seen: Seen, policy: Policy) -> Iterable[str]:
    there = seen.container
    # Anybody can write that label.
    believed = seen.admitted or seen.of_site or (seen.charged is not None and is_admin(policy, seen.charged))
    if there.is_protected and believed:
        yield "protected"
    if there.restart_policy != "no":
        yield f"restart={visible(there.restart_policy)}"


def _sorted(lines: Iterable[Shown]) -> tuple[Shown, ...]:
    """Order by account, nobody's last, then by name."""

    def place(each: Shown) -> tuple[bool, str, str]:
        owner = each.row.owner
        return owner is None, "" if owner is None else owner.user, each.row.name

    return tuple(sorted(lines, key=place))


# --- As text and as JSON ----------------------------------------------------------------------------------------------


def _text(lines: Sequence[Shown], user: str | None) -> str:
    if not lines:
        return "there is no such container" if user is None else f"{visible(user)} has no such container"
    return table([_HEAD, *(_cells(each) for each in lines)])


def _cells(line: Shown) -> tuple[str, ...]:
    row = line.row
    return (
        visible(row.name or row.id[:_SHOWN_ID]),
        _owner(row),
        row.kind.value,
        row.state.value,
        _when(since(row)),
        visible(row.image),
        "-" if row.gpu is None else visible(row.gpu),
        " ".join(line.flags) or "-",
    )


def _owner(row: Row) -> str:
    owner = row.owner
    if owner is None:
        return "-"
    return f"{visible(owner.user)}{'?' if owner.asserted else ''} ({owner.evidence.value})"


def since(row: Row) -> datetime | None:
    """Return since when a container is in its state."""
    match row.state:
        case State.CREATED:
            return row.created_at
        case State.EXITED | State.DEAD | State.REMOVING:
            return row.finished_at or row.created_at
        case _:
            return row.started_at


def _when(instant: datetime | None) -> str:
    """As people of this machine read times."""
    return "-" if instant is None else f"{instant.astimezone():%Y-%m-%d %H:%M}"


def _json(lines: Sequence[Shown], lacking: str | None) -> Mapping[str, object]:
    return {
        "version": JSON_VERSION,
        "containers": [_json_line(each) for each in lines],
        "lacking": [] if lacking is None else [lacking],
    }


def _json_line(line: Shown) -> Mapping[str, object]:
    changed = since(line.row)
    return {
        "id": line.row.id,
        **entry_of(line.row),
        "since": None if changed is None else format_instant(changed),
        "flags": list(line.flags),
    }
