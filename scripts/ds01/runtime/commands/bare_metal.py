"""`ds01 bare-metal`: let an account use GPUs outside containers for a time, and take that back. For administrators."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from ds01.core.clock import format_instant
from ds01.core.command import add_root, host_paths, run_command
from ds01.core.errors import BadInputError, Ds01Error, ExitCode
from ds01.core.events import Event, EventLog
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, read_policy
from ds01.core.terminal import print_json, say
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.core.words import table
from ds01.runtime.accounts import is_known
from ds01.runtime.administrator import administrator, require_root
from ds01.runtime.gpu.baremetal import read_bare_metal
from ds01.runtime.gpu.grantbook import change_grants, read_grants
from ds01.runtime.gpu.grants import LONGEST_REASON, Grant, grant_json, grant_of, granted, revoked

SOURCE: Final = "bare-metal"
JSON_VERSION: Final = 1
# A second: a grant is kept to the second, and one that is over at once is none.
_SHORTEST_HOURS: Final = 1 / 3600
_LONGEST_HOURS: Final = 366 * 24.0


@dataclass(frozen=True, slots=True)
class _Desk:
    """Where an administrator's word is taken.

    Attributes:
        by: the administrator.
        now: to the second, as it is kept.
    """

    paths: HostPaths
    policy: Policy
    by: str
    now: datetime


def main(argv: Sequence[str] | None = None) -> int:
    """Do what was asked for; returns the exit code."""
    made = argparse.ArgumentParser(
        prog="ds01 bare-metal",
        description="Let an account use GPUs outside containers for a time.",
        epilog="ds01 bare-metal ACTION --help says more; ds01 processes shows what runs there now.",
    )
    actions = made.add_subparsers(metavar="ACTION", required=True)
    give = actions.add_parser("grant", help="let an account do so from now on, for a time")
    take = actions.add_parser("revoke", help="take that back")
    show = actions.add_parser("list", help="show who may, and until when")
    for each in (give, take):
        each.add_argument("user", metavar="USER", help="the account, as id -un says")
    give.add_argument("--hours", type=_hours, metavar="N", help="for so many hours (default: as the policy says)")
    give.add_argument("--reason", default="", metavar="TEXT", help="why, for those who ask later")
    for each, act in ((give, _grant), (take, _revoke), (show, _list)):
        add_root(each)
        each.add_argument("--json", action="store_true", help="print one JSON object")
        each.set_defaults(act=act)
    return run_command(made, argv, lambda options: options.act(options))


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not _SHORTEST_HOURS <= hours <= _LONGEST_HOURS:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no time; write hours, up to {_LONGEST_HOURS:g}")
    return hours


def _desk(options: argparse.Namespace) -> _Desk:
    """Return where the word of whoever asks counts.

    Raises:
        RefusedError: it does not, or root would be led astray.
    """
    paths = host_paths(options.root)
    require_root(paths, "who may use GPUs outside containers is said")
    policy = read_policy(paths.policy, of_root=True)
    who = administrator(policy, uid=os.getuid(), environment=os.environ)
    return _Desk(paths, policy, who.name, datetime.now(UTC).replace(microsecond=0))


def _grant(options: argparse.Namespace) -> int:
    desk = _desk(options)
    if not is_known(desk.policy, options.user):
        raise BadInputError(
            f"there is no account {visible(options.user)!r}", None, "write it as in the inventory, or as id -un does"
        )
    seconds = read_bare_metal(desk.policy).grant_seconds if options.hours is None else options.hours * 3600
    until = (desk.now + timedelta(seconds=seconds)).replace(microsecond=0)
    grant = Grant(options.user, desk.by, desk.now, until, visible(options.reason, LONGEST_REASON))
    change_grants(desk.paths, lambda grants: granted(grants, grant))
    details = {"by": grant.by, "until": format_instant(until), "reason": grant.reason}
    _log(desk, Event("baremetal.granted", grant.user, SOURCE, desk.now, details))
    if options.json:
        print_json({"version": JSON_VERSION, "granted": grant_json(grant)}, sys.stdout)
    else:
        print(f"{grant.user} may use GPUs outside containers until {_when(until)}")
    return ExitCode.DONE


def _revoke(options: argparse.Namespace) -> int:
    desk = _desk(options)
    taken: list[Grant] = []

    def take(grants: tuple[Grant, ...]) -> tuple[Grant, ...]:
        found = grant_of(grants, options.user, desk.now)
        taken[:] = [] if found is None else [found]
        return revoked(grants, options.user, desk.now)

    change_grants(desk.paths, take)
    for each in taken:
        details = {"by": desk.by, "until": format_instant(each.until), "reason": each.reason}
        _log(desk, Event("baremetal.revoked", each.user, SOURCE, desk.now, details))
    if options.json:
        print_json({"version": JSON_VERSION, "revoked": [grant_json(each) for each in taken]}, sys.stdout)
    elif taken:
        print(f"{taken[0].user} may use GPUs outside containers no more")
    else:
        say(f"{visible(options.user)} has no grant; nothing to do")
    return ExitCode.DONE


def _list(options: argparse.Namespace) -> int:
    """Show the grants that hold, to whoever asks: the file is for everybody."""
    paths, now = host_paths(options.root), datetime.now(UTC)
    grants = sorted((each for each in read_grants(paths) if each.holds(now)), key=lambda each: (each.until, each.user))
    if options.json:
        print_json({"version": JSON_VERSION, "grants": [grant_json(each) for each in grants]}, sys.stdout)
        return ExitCode.DONE
    for line in _allowed_anyway(paths):
        say(line)
    if not grants:
        print("nobody has a grant")
    else:
        rows = [
            (visible(each.user), _when(each.until), visible(each.by), _when(each.at), visible(each.reason) or "-")
            for each in grants
        ]
        print(table([("USER", "UNTIL", "BY", "SINCE", "REASON"), *rows]))
    return ExitCode.DONE


def _allowed_anyway(paths: HostPaths) -> tuple[str, ...]:
    """Say what holds besides grants, where the policy can be read."""
    try:
        access = read_bare_metal(read_policy(paths.policy))
    except Ds01Error as error:
        return (f"notice: {error.render()}",)
    exempt = ", ".join(sorted(access.exempt_users))
    also = f", and {exempt} by the policy" if exempt else ""
    return (f"notice: the policy is {access.access.value}; root and administrators always may{also}",)


def _log(desk: _Desk, event: Event) -> None:
    told = EventLog(desk.paths.events).append(event)
    if not told:
        say(f"warning: {told.reason}")


def _when(instant: datetime) -> str:
    """As people of this machine read times."""
    return f"{instant.astimezone():%Y-%m-%d %H:%M}"
