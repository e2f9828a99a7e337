"""`ds01 emergency-stop`: an administrator ends containers at once, past every rule. Asks first, looks afterwards."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import BadInputError, Ds01Error, ExitCode, RefusedError
from ds01.core.events import Event, EventLog
from ds01.core.names import ROOT_SLICE
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, read_policy
from ds01.core.terminal import print_json, say
from ds01.core.typed import Final, TextIO
from ds01.core.value import dataclass
from ds01.core.visible import visible
from ds01.core.words import count, table
from ds01.runtime.accounts import is_known, limits_of, uid_of
from ds01.runtime.administrator import administrator, administrator_without_policy, require_root
from ds01.runtime.containers.engine import EngineError, engine_socket
from ds01.runtime.identity import Caller
from ds01.runtime.lifecycle.control import Control
from ds01.runtime.lifecycle.emergency import Choice, Left, Scope, Target, What, choose
from ds01.runtime.lifecycle.halt import Halted, Outcome, halt
from ds01.runtime.lifecycle.targets import gather, look, parts_of

SOURCE: Final = "emergency-stop"
JSON_VERSION: Final = 1
_YES: Final = "yes"
_SHOWN_ID: Final = 12
_MOST_REASON: Final = 500


@dataclass(frozen=True, slots=True)
class Stop:
    """One emergency stop.

    Attributes:
        by: who asked for it.
        reason: in the administrator's words; empty when none was given.
    """

    paths: HostPaths
    policy: Policy | None
    by: Caller
    scope: Scope
    reason: str

    def look(self) -> Choice:
        """Return who is meant now.

        Raises:
            EngineError: Docker does not say what runs.
        """
        return choose(look(gather(self.paths, self.policy)), self.scope)

    def tell(self, halted: Halted, number: int, of: int) -> None:
        """Say and log what became of one container, as soon as that is known."""
        target, owner = halted.target, halted.target.owner
        said = "stopped" if halted.trouble is None else f"NOT stopped: {halted.trouble}"
        say(f"{number} of {of}: {visible(target.name)} {said}")
        details = {
            "container": target.name,
            "container_id": target.id,
            "evidence": None if owner is None else owner.by,
            "outcome": _word(halted),
            "text": halted.trouble,
        }
        self.log(None if owner is None else owner.user, details)

    def log(self, user: str | None, details: Mapping[str, object]) -> None:
        """Put something into the event log; that it cannot be written stops nothing."""
        whole = {"by": self.by.name, "scope": self.scope.words, "reason": self.reason, **details}
        event = Event("emergency.stop", user, SOURCE, datetime.now(UTC), whole)
        appended = EventLog(self.paths.events).append(event)
        if not appended:
            say(f"warning: {appended.reason}")


def main(argv: Sequence[str] | None = None) -> int:
    """Stop what is meant; returns the exit code."""
    made = _parser()

    def act(options: argparse.Namespace) -> int:
        if options.including_site and not options.all:
            made.error("--including-site goes with --all")
        return _act(options, list(sys.argv[1:] if argv is None else argv))

    return run_command(made, argv, act)


def _parser() -> argparse.ArgumentParser:
    made = parser(
        "ds01 emergency-stop",
        "End containers at once: no notice, no time to save anything, no rule in the way. For administrators.",
    )
    made.epilog = "They are stopped, not removed: docker start brings one back. The site's own containers go on."
    which = made.add_mutually_exclusive_group(required=True)
    which.add_argument("--user", type=_named, metavar="NAME", help="all containers of an account")
    which.add_argument("--gpu", action="store_true", help="all containers that have a GPU")
    which.add_argument("--all", action="store_true", help="all containers")
    made.add_argument("--spare-protected", action="store_true", help="but not those that an administrator protected")
    made.add_argument("--including-site", action="store_true", help="the site's own too (monitoring, services)")
    made.add_argument("--reason", type=_reason, default="", metavar="TEXT", help="why, for the event log")
    made.add_argument("--dry-run", action="store_true", help="only say what would be stopped")
    made.add_argument("--yes", action="store_true", help="do not ask")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return made


def _named(text: str) -> str:
    """An empty option is a variable that was not set."""
    if not text:
        raise argparse.ArgumentTypeError("needs an account, this one is empty")
    return text


def _reason(text: str) -> str:
    return text[:_MOST_REASON]


def _act(options: argparse.Namespace, argv: Sequence[str]) -> int:
    stop = _open(options, argv)
    try:
        choice = stop.look()
    except EngineError as error:
        raise EngineError(error.brief, error.details, _without_docker(stop)) from error
    if stop.scope.user is not None:
        _check_user(stop, stop.scope.user, choice)
    _show(choice, sys.stderr if options.json else sys.stdout)
    if options.dry_run or not choice.stop:
        return _nothing_done(stop, choice, options)
    if not options.yes:
        _ask(choice)
    try:
        outcome = halt(choice, stop.look, Control(engine_socket(stop.paths)), stop.tell)
    except KeyboardInterrupt:
        stop.log(None, {"outcome": "interrupted"})
        raise
    running = [each.target.name for each in outcome.halted if each.trouble is not None]
    summary = {"outcome": "ended", "stopped": len(outcome.halted) - len(running), "running": running}
    stop.log(None, summary | ({} if outcome.unproven is None else {"text": outcome.unproven}))
    return _report(stop, choice, outcome, as_json=options.json)


def _open(options: argparse.Namespace, argv: Sequence[str]) -> Stop:
    paths = host_paths(options.root)
    require_root(paths, "containers are stopped")
    policy = _policy(paths)
    if policy is None:
        command = shlex.join(["ds01", "emergency-stop", *argv])
        by = administrator_without_policy(command, uid=os.getuid(), environment=os.environ)
    else:
        by = administrator(policy, uid=os.getuid(), environment=os.environ)
    what = What.USER if options.user is not None else What.GPU if options.gpu else What.ALL
    scope = Scope(
        what,
        options.user,
        frozenset() if options.user is None else parts_of(policy, options.user),
        options.spare_protected,
        options.including_site,
    )
    for each in gather(paths, policy).missing:
        say(f"warning: {each}")
    return Stop(paths, policy, by, scope, options.reason)


def _policy(paths: HostPaths) -> Policy | None:
    """Return the policy; None when it cannot be read: what is out of order must keep nobody from ending it."""
    try:
        return read_policy(paths.policy, of_root=True)
    except Ds01Error as error:
        say(f"warning: {error.brief}; going on without a policy")
        return None


def _without_docker(stop: Stop) -> str:
    """Return what can be done when Docker does not answer; of one account nothing that ends others' work.

    Source: systemctl(1), kill: of a slice, every process in it and below it; PATTERN.
    """
    look_after = "look after Docker (systemctl status docker), and call this again"
    units = _slices(stop)
    if not units:
        return look_after
    what = (
        "all that runs there without Docker, also what has no GPU"
        if stop.scope.what is What.GPU
        else ("what runs there without Docker")
    )
    return f"sudo systemctl kill --signal=KILL {' '.join(units)} ends {what}; then {look_after}"


def _slices(stop: Stop) -> Sequence[str]:
    """Return the slices with all that is meant, as a shell takes them; none for a name that no slice can have."""
    user = stop.scope.user
    if user is None:
        return (ROOT_SLICE,)
    if stop.policy is not None:
        with suppress(BadInputError):
            return (limits_of(stop.policy, user).slice_name,)
    return [f"'ds01-*-{part}.slice'" for part in sorted(stop.scope.parts)]


def _check_user(stop: Stop, user: str, choice: Choice) -> None:
    """A slip in a name must not look like an account that runs nothing."""
    exists = uid_of(user) is not None if stop.policy is None else is_known(stop.policy, user)
    if not exists and not choice.stop and not choice.left:
        raise BadInputError(
            f"there is no account {visible(user)!r}, and nothing of that name runs",
            None,
            "write it as in the inventory, or as id -un does",
        )


# --- Saying and asking ------------------------------------------------------------------------------------------------


def _show(choice: Choice, out: TextIO) -> None:
    if choice.stop:
        rows = [_row(each) for each in choice.stop]
        head = ("CONTAINER", "ID", "ACCOUNT", "BY ITS", "STATE", "GPU", "PROTECTED")
        print(table([head, *rows]), file=out, flush=True)
    for left in choice.left:
        say(f"left alone: {visible(left.target.name)}: {left.why}")


def _row(target: Target) -> tuple[str, ...]:
    owner = target.owner
    gpu = "?" if target.has_gpu is None else "yes" if target.has_gpu else "no"
    return (
        visible(target.name),
        target.id[:_SHOWN_ID],
        "-" if owner is None else visible(owner.user),
        "-" if owner is None else owner.by,
        target.state.value,
        gpu,
        "yes" if target.protected else "no",
    )


def _ask(choice: Choice) -> None:
    """Go on only when somebody types the whole word."""
    what = count(len(choice.stop), "container")
    if not sys.stdin.isatty():
        raise BadInputError(
            f"nobody can be asked whether {what} shall be stopped: the input is no terminal",
            None,
            "add --yes, or --dry-run to see them only",
        )
    print(f"Type {_YES} to stop {what} at once: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != _YES:
        raise RefusedError("nothing was stopped: the answer was not yes", None, f"type {_YES}, or add --yes")


# --- What came of it --------------------------------------------------------------------------------------------------


def _word(halted: Halted) -> str:
    return "stopped" if halted.trouble is None else "running"


def _nothing_done(stop: Stop, choice: Choice, options: argparse.Namespace) -> int:
    unclear = any(each.unclear for each in choice.left)
    if options.json:
        rows = [_json(each, "would stop") for each in choice.stop]
        print_json(_document(stop, rows, choice.left, dry_run=options.dry_run), sys.stdout)
    elif choice.stop:
        say(f"{count(len(choice.stop), 'container')} would be stopped; nothing was done")
    else:
        say("nothing of that runs; nothing to do" if not unclear else "nothing was stopped")
    return ExitCode.FAILED if unclear and not choice.stop and not options.dry_run else ExitCode.DONE


def _report(stop: Stop, before: Choice, outcome: Outcome, *, as_json: bool) -> int:
    left = before.left if outcome.choice is None else outcome.choice.left
    running = [each for each in outcome.halted if each.trouble is not None]
    if as_json:
        rows = [_json(each.target, _word(each)) | {"trouble": each.trouble} for each in outcome.halted]
        print_json(_document(stop, rows, left, dry_run=False) | {"unproven": outcome.unproven}, sys.stdout)
    else:
        print(f"{count(len(outcome.halted) - len(running), 'container')} stopped, {len(running)} running")
    for each in running:
        say(f"still running: {visible(each.target.name)}: {each.trouble}")
    if outcome.unproven is not None:
        say(f"what runs now cannot be told: {outcome.unproven}")
    _say_returning(outcome)
    unclear = [each for each in left if each.unclear]
    return ExitCode.FAILED if running or unclear or outcome.unproven is not None else ExitCode.DONE


def _say_returning(outcome: Outcome) -> None:
    """Name what a start of Docker would bring back: only `always` does so for what was stopped by hand."""
    names = sorted(
        each.target.name for each in outcome.halted if each.trouble is None and each.target.restart_policy == "always"
    )
    if names:
        say(f"notice: when Docker or the machine is started anew, {count(len(names), 'container')} will come back")
        say(f"To keep them down: docker update --restart=no {' '.join(map(visible, names))}")


def _json(target: Target, outcome: str) -> dict[str, object]:
    owner = target.owner
    return {
        "container": target.name,
        "container_id": target.id,
        "user": None if owner is None else owner.user,
        "evidence": None if owner is None else owner.by,
        "state": target.state.value,
        "gpu": target.has_gpu,
        "protected": target.protected,
        "outcome": outcome,
    }


def _document(
    stop: Stop, rows: Sequence[Mapping[str, object]], left: Sequence[Left], *, dry_run: bool
) -> dict[str, object]:
    return {
        "version": JSON_VERSION,
        "scope": stop.scope.words,
        "dry_run": dry_run,
        "containers": list(rows),
        "left": [{"container": each.target.name, "container_id": each.target.id, "why": each.why} for each in left],
    }
