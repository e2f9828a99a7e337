"""What a file of an older DS01 does on the host, in words an admin can decide by. Pure: text in, words out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from ds01.deployer.directives import parse_unit, unit_of

# What the older scripts do, by name without suffix; what matters most to people comes first.
_JOBS: Final = {
    "permissions-manifest": "gives /var/lib/ds01 to the group docker",
    "check-idle-containers": "stops idle containers",
    "enforce-max-runtime": "stops containers that run for too long",
    "cleanup-stale-containers": "removes stopped containers",
    "cleanup-stale-gpu-allocations": "frees GPUs of stopped containers",
    "sync-group-membership": "puts new accounts into lists of members",
    "gpu-queue-manager": "serves the line for GPUs",
    "collect-resource-stats": "records what accounts use",
}
_LOGINS: Final = {
    "add-user-to-docker": "puts the account into the group docker",
    "CUDA_VISIBLE_DEVICES": "hides GPUs from programs outside containers",
    "LD_PRELOAD": "loads a library into every program",
    "get_resource_limits": "shows limits",
    "ds01-login-check": "shows warnings",
    "ds01-motd": "shows announcements",
    "chmod 700": "closes the home folder to others",
    "PATH=": "sets PATH",
}
_SHOWN_JOBS: Final = 4
_SCRIPT: Final = re.compile(r"([\w-]+)\.(?:sh|py)\b")
_VARIABLE: Final = re.compile(r"\w+\s*=")
_GRANT: Final = re.compile(r"(?P<who>\S+)\s+\S+?\s*=\s*(?:\([^)]*\)\s*)?NOPASSWD:\s*(?P<commands>.+)")
_EVERY: Final = re.compile(r"\*/([1-9]\d?)")
_CRON_FIELDS: Final = 5
_SCHEDULE_KEYS: Final = ("OnCalendar", "OnUnitActiveSec", "OnUnitInactiveSec", "OnBootSec")


def of_cron(_: PurePosixPath, text: str) -> str:
    """Say which jobs run, and how often."""
    jobs = list(_jobs(text))
    known = [
        f"{words} {when}"
        for name, words in _JOBS.items()
        for when in dict.fromkeys(when for when, command in jobs if name in command)
    ]
    others = sum(not any(name in command for name in _JOBS) for _, command in jobs)
    shown = known[:_SHOWN_JOBS]
    rest = others + len(known) - len(shown)
    if rest:
        shown.append(f"{rest} more job{'s' * (rest > 1)}" if shown else f"runs {rest} job{'s' * (rest > 1)} as root")
    return ", ".join(shown) or "runs nothing"


def _jobs(text: str) -> Iterator[tuple[str, str]]:
    """Yield how often and what. Source: crontab(5), the format of /etc/cron.d with a user field."""
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#") or _VARIABLE.match(line):
            continue
        if line.startswith("@"):
            yield "at set times", line
            continue
        fields = line.split(None, _CRON_FIELDS)
        if len(fields) > _CRON_FIELDS:
            yield _when(fields[:_CRON_FIELDS]), fields[_CRON_FIELDS]


def _when(fields: list[str]) -> str:
    minute, hour, *days = fields
    every_day = days == ["*", "*", "*"]
    if hour == "*" and every_day and minute == "*":
        return "every minute"
    if hour == "*" and every_day and (every := _EVERY.fullmatch(minute)):
        return f"every {every[1]} minutes"
    if hour == "*" and every_day and minute.isdigit():
        return "every hour"
    if minute.isdigit() and hour.isdigit() and every_day:
        return "every day"
    return "at set times"


def of_sudoers(_: PurePosixPath, text: str) -> str:
    """Say who may run what as root."""
    grants = []
    for line in text.replace("\\\n", " ").splitlines():
        found = _GRANT.match(line.strip()) if not line.lstrip().startswith("#") else None
        if found is not None:
            commands = [_command(command.split()) for command in found["commands"].split(",") if command.strip()]
            grants.append(f"lets {_who(found['who'])} run {' and '.join(commands)} as root without a password")
    return "; ".join(grants) or "changes what sudo allows"


def _who(name: str) -> str:
    if name == "ALL":
        return "every account"
    return f"everybody in the group {name[1:]}" if name.startswith("%") else name


def _command(words: list[str]) -> str:
    """A command without arguments may be given any. Source: sudoers(5), Cmnd."""
    if words == ["ALL"]:
        return "everything"
    name = PurePosixPath(words[0]).name
    return f"{name} with any arguments" if len(words) == 1 else f"{name} {' '.join(words[1:])}"


def of_login(_: PurePosixPath, text: str) -> str:
    """Say what every login shell does because of it."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = [words for needle, words in _LOGINS.items() if needle in lines]
    return f"at every login: {', '.join(found) or 'runs commands'}"


def of_unit(path: PurePosixPath, text: str) -> str:
    """Say what a service or timer runs, or what a slice or drop-in sets."""
    sections = parse_unit(text)
    if path.suffix == ".timer":
        timer = sections.get("Timer", {})
        unit = timer.get("Unit", (f"{path.stem}.service",))[-1]
        when = [f"{key}={timer[key][-1]}" for key in _SCHEDULE_KEYS if key in timer]
        return f"starts {unit} by the clock ({', '.join(when) or 'no time'})"
    # An empty ExecStart= only takes back earlier ones. Source: systemd.service(5).
    started = [value for value in sections.get("Service", {}).get("ExecStart", ()) if value]
    if started:
        scripts = _SCRIPT.findall(started[-1])
        does = f"runs {scripts[0]}" if scripts else f"runs {started[-1].split()[0]}"
        return does if path.parent.suffix != ".d" else f"changes how {unit_of(path)} starts: {does}"
    limits = sections.get("Slice", {})
    # Accounting limits nothing, and systemd knows no Slice= in a slice: its name says what it is below.
    silent = ("Accounting", "Slice")
    stated = [f"{name}={values[-1]}" for name, values in limits.items() if not name.endswith(silent) and values[-1]]
    return f"{'sets ' + ', '.join(stated) + ' for' if stated else 'describes'} {unit_of(path)}"


def of_wrapper(_: PurePosixPath, text: str) -> str:
    """Say what the docker that people type does."""
    needles = {
        "--cgroup-parent": "puts containers into slices",
        "ds01.user": "labels them with their owner",
        "gpu": "gives out GPUs",
    }
    found = [words for needle, words in needles.items() if needle in text]
    return f"stands before docker for every account: {', '.join(found) or 'runs the real one'}"


def of_devices(_: PurePosixPath, text: str) -> str:
    """Say who may open the GPUs' devices because of it."""
    if '"0666"' in text or "DeviceFileMode=438" in text:
        return "lets every account open the devices of GPUs"
    if '"0660"' in text or "DeviceFileMode=432" in text:
        return "lets only a group open the devices of GPUs"
    return "sets who may open devices"
