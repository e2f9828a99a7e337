"""Where one docker command is dealt with: who calls, what holds for them, where to look and how to tell."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ds01.core.errors import Ds01Error, RefusedError
from ds01.core.names import slice_parts
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, read_policy
from ds01.core.rules import Mode, Rule, read_rules
from ds01.core.terminal import say
from ds01.core.typed import Final
from ds01.core.value import dataclass, field
from ds01.core.words import printable
from ds01.runtime.accounts import caller, limits_of
from ds01.runtime.containers.admission import Refusal
from ds01.runtime.containers.denials import Telling
from ds01.runtime.containers.engine import Engine, engine_socket
from ds01.runtime.containers.request import AccountRules
from ds01.runtime.containers.standing import Account, Place
from ds01.runtime.identity import Caller, ProcessRef
from ds01.runtime.machine import Machine
from ds01.runtime.wrapper.protocol import Asked, RequestError

SOURCE: Final = "docker-wrapper"


class DeniedError(Ds01Error):
    """The command is refused, and everything about it was said already."""


class ParentError(RefusedError):
    """An administrator names a slice for a container that the policy does not list."""


@dataclass(frozen=True, slots=True)
class Desk:
    """One command's desk.

    Attributes:
        keeper: the docker command itself, which becomes the client.
        account: the caller's.
        undo: what takes back what was given, when the command comes to nothing.
    """

    paths: HostPaths
    policy: Policy
    asked: Asked
    caller: Caller
    rules: AccountRules
    keeper: ProcessRef
    account: Account
    place: Place
    undo: list[Callable[[], None]] = field(default_factory=list)

    @property
    def contact(self) -> str:
        """Whom to ask for more."""
        host = self.policy.document.get("host")
        return str(host.get("contact") or "") if isinstance(host, dict) else ""

    def enforces(self, rule: Rule) -> bool:
        """Whether the caller is refused what a rule is against."""
        return not self.caller.is_admin and self.rules.rules.mode(rule) is Mode.ENFORCE

    def log(self, event_type: str, details: dict[str, object]) -> None:
        """Put something into the event log; that it cannot be written stops nobody."""
        from ds01.core.events import Event, EventLog  # noqa: PLC0415 - most commands have nothing to tell

        event = Event(event_type, self.caller.name, SOURCE, self.place.machine.now(), details)
        appended = EventLog(self.paths.events).append(event)
        if not appended:
            say(f"ds01: {appended.reason}")

    def log_open(self, causes: tuple[str, ...], what: str) -> None:
        """Log that a check could not be made and refused nobody."""
        for cause in causes:
            self.log("admission.fail_open", {"check": what, "text": f"FAIL-OPEN: {cause}"})

    def tell(self, refusal: Refusal, telling: Telling, what: str) -> None:
        """Tell of a refusal: its box and an event, or a line when there were too many of them."""
        details = {"rule": refusal.rule.value, "verb": what, "text": refusal.title, **refusal.figures}
        self.log_refused(telling, details)
        if telling.in_full:
            self.draw(refusal)
        else:
            self.tell_often(telling, what, refusal.title)

    def tell_often(self, telling: Telling, what: str, title: str) -> None:
        """Tell of one refusal too many within an hour, in a line."""
        often = f"refusal {telling.number} within an hour; check-limits says more"
        say(f"ds01: {what} refused: {title} ({often})")

    def log_refused(self, telling: Telling, details: dict[str, object]) -> None:
        """Log a refusal; of those that are only counted, that they are."""
        if telling.in_full:
            more: dict[str, object] = {"not_told_before": telling.unsaid} if telling.unsaid else {}
            self.log("admission.refused", details | more)
        elif telling.unsaid == 0:
            self.log("admission.refused", {"text": "more refusals of this hour are only counted"})

    def tell_overruled(self, refusals: tuple[Refusal, ...], what: str) -> None:
        """Tell of what would be refused, were it enforced."""
        for each in refusals:
            rows = ", ".join(f"{name.lower()} {value}" for name, value in each.rows)
            say(f"ds01: warning: {each.title}: {rows}; allowed for now")
            self.log(
                "admission.overruled",
                {"rule": each.rule.value, "verb": what, "text": each.title, **each.figures},
            )

    def draw(self, refusal: Refusal) -> None:
        """Show a refusal's box."""
        from ds01.runtime.containers.box import Style, draw  # noqa: PLC0415 - most commands are refused nothing

        say_raw(draw(refusal, self.contact, Style(self.asked.unicode, self.asked.colour)))


def say_raw(text: str) -> None:
    """Write what is safe already, colours and all, in UTF-8 whatever this process's own locale is."""
    data = f"{text}\n".encode(errors="backslashreplace")
    while data:
        try:
            data = data[os.write(2, data) :]
        except OSError:
            return


def open_desk(paths: HostPaths, asked: Asked) -> Desk:
    """Find out who calls and what holds for them.

    Raises:
        PolicyError: there is no policy that can be used.
        UnknownCallerError, RequestError: nobody knows who calls, or another than who says so.
    """
    policy = read_policy(paths.policy, of_root=True)
    who = caller(policy, uid=os.getuid(), environment=os.environ)
    machine = Machine(paths.proc if paths.proc.is_dir() else Machine().proc)
    limits = limits_of(policy, who.name)
    return Desk(
        paths=paths,
        policy=policy,
        asked=asked,
        caller=who,
        rules=AccountRules(limits, read_rules(policy)),
        keeper=_keeper(machine, asked.pid, who.uid),
        account=Account(who.name, slice_parts(limits.slice_name, who.name, who.uid)),
        place=Place(paths.cgroup, Engine(engine_socket(paths)), machine),
    )


def _keeper(machine: Machine, pid: int, uid: int) -> ProcessRef:
    """Return the docker command, which must be above us and its user's: nobody names another's process.

    Above everybody is the first of all, which outlives every promise.

    Raises:
        RequestError: it is not.
    """
    above: int | None = os.getpid()
    while above is not None and above > 1 and above != pid:
        above = machine.parent(above)
    found = machine.process(pid) if above == pid > 1 else None
    if found is None or machine.uid(pid) not in {uid, os.getuid()}:
        raise RequestError(f"process {pid} is not the docker command that asks", None, "call docker as usual")
    return found


def code_of(verb: str) -> int:
    """Return the exit code of a refusal, as the client's own when the daemon refuses."""
    return 125 if verb == "run" else 1


def instant() -> str:
    """Return this moment to the microsecond, as labels have it."""
    now = time.time_ns()
    seconds, rest = divmod(now, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1000:06d}Z"


def shown(text: str) -> str:
    """Return a name as it may be shown."""
    return printable(text)
