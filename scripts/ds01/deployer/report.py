"""Show a plan, the outcome of a deploy and a verification: to people as text, to programs as JSON.

The only module of the deployer that prints. Both forms are made from the same values.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TextIO

from ds01.core.terminal import print_json
from ds01.core.tree import Form
from ds01.core.value import replace
from ds01.core.words import count, printable
from ds01.deployer.containers import Finding, RunningContainer, describe
from ds01.deployer.diff import diff
from ds01.deployer.handlers import DAEMON_RELOAD, in_order
from ds01.deployer.plan import Action, Plan, Scope, Verb
from ds01.deployer.systemd import LiveUnits
from ds01.deployer.takeover import HOW

JSON_VERSION: Final = 1
_SIGNS: Final = {
    Verb.ADD: "+",
    Verb.CHANGE: "~",
    Verb.TAKE_OVER: "!",
    Verb.REMOVE: "-",
    Verb.RETIRE: "-",
    Verb.KEEP: "o",
    Verb.OLDER: "o",
    Verb.BLOCKED: "x",
    Verb.UNKNOWN: "?",
}
_COLOURS: Final = {
    "+": "32",
    "-": "31",
    "~": "33",
    "!": "35",
    "x": "31;1",
    "?": "33",
    "o": "35",
    "@": "36",
    "head": "1",
    "warn": "33;1",
}


# Below this many files the bar would be gone before it was seen.
_FEW: Final = 30
_OLDER: Final = frozenset({Verb.RETIRE, Verb.KEEP, Verb.OLDER})
_MOST_OF_OLDER: Final = 40


@dataclass(frozen=True, slots=True)
class Survey:
    """A plan and what else an admin should see before a deploy.

    Attributes:
        notices: one line each: of the inventory, of the committed tree, of foreign files.
        containers: running containers; None when the engine was not asked or gave no answer.
        overfull: slices that hold more than they are to have, one line each.
        lacking: those of them for which something will not hold; looked at before the first deploy.
        checks: what can only be said later, such as a restart left pending.
    """

    plan: Plan
    root: str
    notices: tuple[str, ...] = ()
    live: LiveUnits = field(default_factory=LiveUnits)
    containers: tuple[RunningContainer, ...] | None = None
    lacking: tuple[Finding, ...] = ()
    overfull: tuple[str, ...] = ()
    live_restore: bool = False
    can_run_handlers: bool = True
    title: str = "Plan"

    def within(self, scope: Scope, *, title: str) -> Survey:
        """Return the part that lies in a scope, under another title; live values stay as they are."""
        return replace(self, plan=self.plan.within(scope), title=title)

    @property
    def handlers(self) -> tuple[str, ...]:
        """Names of the handlers to run: the plan's, and a reload where systemd holds other values than the files."""
        reload = (DAEMON_RELOAD,) if self.live.deviations else ()
        return tuple(dict.fromkeys((*self.plan.handlers, *reload)))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What would disturb running containers."""
        found = list(self.overfull)
        running = self.containers or ()
        gpus = [each.name for each in running if each.has_gpu]
        for handler in in_order(self.handlers):
            if handler.name == DAEMON_RELOAD and gpus:
                found.append(f"daemon-reload {handler.disturbs}: {', '.join(gpus)}")
            elif handler.on_demand and running and not self.live_restore:
                names = ", ".join(each.name for each in running)
                found.append(f"{handler.name} would stop {len(running)} running: {names}")
        return tuple(found)

    def to_json(self) -> dict[str, object]:
        """Return the object that --json prints."""
        plan = self.plan
        return {
            "version": JSON_VERSION,
            "host": plan.host,
            "root": self.root,
            "policy_hash": plan.policy_hash,
            "summary": plan.summary,
            "counts": {verb.value: sum(action.verb is verb for action in plan.actions) for verb in Verb},
            "actions": [_action_json(action) for action in plan.actions if action.verb is not Verb.UNCHANGED],
            "handlers": [
                {"name": handler.name, "purpose": handler.purpose, "disturbs": handler.disturbs}
                for handler in in_order(self.handlers)
            ],
            "warnings": list(self.warnings),
            "notices": list(self.notices),
            "lacking": [
                {"container": each.name, "lacks": {lack.name.lower(): words for lack, words in each.lacks.items()}}
                for each in self.lacking
            ],
            "live": {
                "units": self.live.asked,
                "deviations": [
                    {
                        "unit": each.unit,
                        "property": each.property,
                        "wanted": each.wanted,
                        "actual": each.actual,
                    }
                    for each in self.live.deviations
                ],
                "stale": list(self.live.stale),
                "error": self.live.error,
            },
        }


def _action_json(action: Action) -> dict[str, object]:
    return {
        "action": action.verb.value,
        "path": _encodable(str(action.path)),
        "reason": _encodable(action.reason),
        "drift": action.drift,
        "account": action.account,
        "source": action.file.source if action.file else None,
        "diff": "\n".join(diff(action)),
    }


def _encodable(text: str) -> str:
    """Escape the bytes that were no UTF-8, which JSON cannot hold."""
    return text.encode(errors="backslashreplace").decode()


def show_survey(survey: Survey, *, as_json: bool, out: TextIO, colour: bool) -> None:
    """Print a plan."""
    if as_json:
        print_json(survey.to_json(), out)
        return
    paint = _painter(on=colour)
    for line in _survey_lines(survey, paint):
        print(line, file=out)


def _survey_lines(survey: Survey, paint: _Painter) -> Iterator[str]:
    plan = survey.plan
    head = printable(f"{survey.title} for {plan.host} on {survey.root}: {plan.summary}")
    yield paint(head, "head")
    brief = False
    for action in plan.actions:
        if action.verb is not Verb.UNCHANGED:
            lines = list(_action_lines(action, paint))
            # Files of an older DS01 are many, and most are shown by one line: those stand together.
            if not (brief and len(lines) == 1 and action.verb in _OLDER):
                yield ""
            brief = len(lines) == 1 and action.verb in _OLDER
            yield from lines
    if survey.handlers:
        yield ""
        yield paint("Afterwards" if survey.can_run_handlers else "Afterwards, on the host itself", "head")
        for handler in in_order(survey.handlers):
            when = " (only with --restart-docker)" if handler.on_demand else ""
            yield f"  {handler.name}{when}: {handler.purpose}"
            if handler.disturbs:
                yield f"    disturbs: {handler.disturbs}"
    yield from _remarks(survey, paint)
    if any(action.verb is not Verb.UNCHANGED for action in plan.actions):
        # Once more: after a long plan the first line is out of sight.
        yield ""
        yield paint(head, "head")
    if plan.drifted:
        yield "Files marked [drift] were changed by hand; deploy refuses to overwrite them without --force."
    if any(action.verb is Verb.OLDER for action in plan.actions):
        yield f"Files marked older are of an older DS01; deploy waits for a choice: {HOW}."


def _remarks(survey: Survey, paint: _Painter) -> Iterator[str]:
    """Yield what an admin should know besides the files."""
    for title, lines in (
        ("Warning", survey.warnings),
        ("Live value differs", tuple(map(str, survey.live.deviations))),
        ("Changed since systemd read it, though no value in effect differs", survey.live.harmless),
        ("Runs already", describe(survey.lacking)),
        ("Notice", survey.notices),
    ):
        if lines:
            yield ""
            yield from (f"{paint(title, 'warn')}: {printable(line)}" for line in lines)
    if survey.live.error:
        words = printable(f"systemd gave no answer, so its values were not compared: {survey.live.error}")
        yield f"{paint('Notice', 'warn')}: {words}"


def _action_lines(action: Action, paint: _Painter) -> Iterator[str]:
    sign = _SIGNS[action.verb]
    drift = paint(" [drift]", "warn") if action.drift else ""
    first, *more = map(printable, action.words.splitlines())
    path = str(action.path)
    words = first.replace(path, f"{paint(path, 'head')}{drift}", 1)
    yield f"{paint(sign, sign)} {action.verb.value} {words}"
    yield from (f"    {line}" for line in more)
    for line in _shown(action):
        yield f"    {paint(line, line[:1])}"


def _shown(action: Action) -> list[str]:
    """Return the diff, without what the words say already and without the end of an older script that goes."""
    if action.verb is not Verb.RETIRE:
        return diff(action)
    lines = [] if action.was is Form.LINK else diff(action)
    rest = len(lines) - _MOST_OF_OLDER
    return lines if rest <= 0 else [*lines[:_MOST_OF_OLDER], f"… and {count(rest, 'line')} more; --json shows all"]


class _Painter:
    """Colour by the sign of a line, or none at all."""

    def __init__(self, *, on: bool) -> None:
        self._on = on

    def __call__(self, text: str, kind: str) -> str:
        code = _COLOURS.get(kind) if self._on else None
        return f"\033[{code}m{text}\033[0m" if code else text


def _painter(*, on: bool) -> _Painter:
    return _Painter(on=on)


def ask(question: str) -> bool:
    """Ask on the terminal; anything but yes is no, and so is the end of input."""
    # What is asked about must be seen first, also when stdout is a pipe.
    sys.stdout.flush()
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


class ProgressBar:
    """A bar on stderr while many files are written; silent when stderr is no terminal or there is little to do."""

    def __init__(self, what: str, stream: TextIO) -> None:
        self._what = what
        self._stream = stream
        self._shown = -1

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` steps are through."""
        share = done * 30 // total if total else 30
        if total < _FEW or share == self._shown or not self._stream.isatty():
            return
        self._shown = share
        end = "\n" if done >= total else ""
        self._stream.write(f"\r{self._what} [{'#' * share}{'.' * (30 - share)}] {done}/{total}{end}")
        self._stream.flush()
