"""`ds01 lifecycle`: run one of the lifecycle jobs, or say what it would do and why. Root only, as Docker is."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator, Sequence

from ds01.core.command import host_paths, parser, run_command
from ds01.core.errors import ExitCode, RefusedError
from ds01.core.policy import read_policy
from ds01.core.terminal import print_json
from ds01.core.typed import Final
from ds01.runtime.lifecycle.decision import Action, Decision
from ds01.runtime.lifecycle.enforce import Outcome
from ds01.runtime.lifecycle.jobs import JobError, run_job
from ds01.runtime.lifecycle.sights import Sights
from ds01.runtime.lifecycle.sweeps import JOBS, Report, run_sweep

# Cron's line ends the program a minute later, in whatever state it is.
_LIMIT_SECONDS: Final = 1440
_MOST_FAILURES: Final = 3
_WOULD: Final = {
    Action.WARN: "would warn",
    Action.STOP: "would stop",
    Action.REMOVE: "would remove",
    Action.RELEASE: "would release",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    made = parser("ds01 lifecycle", "Run a job of the lifecycle rules now, as cron and ds01-eventsd do.")
    made.add_argument("job", choices=JOBS, metavar="JOB", help=", ".join(JOBS))
    made.add_argument("--dry-run", action="store_true", help="say what it would do and why, and change nothing")
    made.add_argument("--json", action="store_true", help="print one JSON object")
    return run_command(made, argv, _run)


def _run(options: argparse.Namespace) -> int:
    if os.geteuid() != 0:
        raise RefusedError(
            "the lifecycle jobs are root's",
            "they ask Docker about all containers",
            "sudo ds01 lifecycle " + options.job,
        )
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    paths = host_paths(options.root)

    def sweep() -> str:
        report = run_sweep(options.job, Sights(paths, read_policy(paths.policy, of_root=True)), dry_run=options.dry_run)
        _show(report, as_json=options.json)
        if report.failures:
            raise JobError(
                f"{options.job}: {report.summary}",
                "; ".join(f"{each.decision.name}: {each.words}" for each in report.failures[:_MOST_FAILURES]),
                "the next run tries again; sudo ds01 events --type lifecycle.failed shows all",
            )
        return report.summary

    if options.dry_run:
        sweep()
        return ExitCode.DONE
    return run_job(paths, options.job, sweep, limit_seconds=_LIMIT_SECONDS)


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        print_json(_document(report), sys.stdout)
        return
    if report.dry_run:
        for line in _lines(report):
            print(line)
    print(f"{report.job}: {report.summary}")


def _lines(report: Report) -> Iterator[str]:
    """Yield what would be done, and why nothing is where nothing is."""
    decisions = report.plan.decisions
    rows = [(_WOULD[each.action], each.name, each.user, each.reason) for each in decisions.wanted]
    rows += [("leaves", each.name, each.user, each.words) for each in decisions.remarks]
    width = max((len(verb) for verb, *_ in rows), default=0)
    for verb, name, user, why in rows:
        whose = "nobody's" if user is None else f"{user}'s"
        yield f"{verb:{width}}  {whose} {name}: {why}"


def _document(report: Report) -> dict[str, object]:
    decisions = report.plan.decisions
    ended = {id(each.decision): each for each in report.outcomes}
    return {
        "version": 1,
        "job": report.job,
        "dry_run": report.dry_run,
        "summary": report.summary,
        "looked_at": report.plan.looked_at,
        "decisions": [_decision(each, ended.get(id(each))) for each in decisions.wanted],
        "left_alone": [{"container": each.name, "user": each.user, "why": each.words} for each in decisions.remarks],
    }


def _decision(decision: Decision, outcome: Outcome | None) -> dict[str, object]:
    return {
        "container": decision.name,
        "id": decision.container_id,
        "user": decision.user,
        "action": decision.action.value,
        "rule": decision.rule.value,
        "binding": decision.binding,
        "reason": decision.reason,
        "text": decision.text,
        "slots": list(decision.slots),
        "outcome": None if outcome is None else outcome.end.value,
        "words": None if outcome is None else outcome.words or None,
    }
