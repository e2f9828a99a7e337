"""Prove that the host is as the last deploy left it, and look at what DS01 needs of it. Changes nothing.

Two parts: *applied* is what deploy wrote and what systemd made of it (a failure rolls a deploy back); *host* is
hardware, mounts and versions (warnings only, each with its fix).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import Final

from ds01.core.errors import Ds01Error
from ds01.core.jsonstate import StateError, read_json
from ds01.core.override import override
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, PolicyError
from ds01.core.process import Run
from ds01.core.services import CRON_UNITS, SERVICES, Service
from ds01.core.tree import Form, sha256
from ds01.core.words import count
from ds01.deployer.containers import ADVICE, Homes, look_at_containers, summarise
from ds01.deployer.docker import Engine, ask_engine, running_containers
from ds01.deployer.files import observe_files
from ds01.deployer.merge import ours_in
from ds01.deployer.observed import Observed
from ds01.deployer.owned import Owned, OwnedFile
from ds01.deployer.release import CURRENT, State
from ds01.deployer.releases import in_force, look_at
from ds01.deployer.systemd import compare_live, is_running


class Status(Enum):
    """How a check ended."""

    OK = "ok"
    FAILED = "FAILED"
    WARNING = "warning"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of verify.

    Attributes:
        part: "applied" or "host".
        fix: what to do; empty when all is well.
    """

    part: str
    name: str
    status: Status
    text: str
    fix: str = ""

    @override
    def __str__(self) -> str:
        fix = f"; {self.fix}" if self.fix else ""
        return f"{self.status.value:8}{self.name}: {self.text}{fix}"

    def to_json(self) -> dict[str, str]:
        """Return the parts, for --json."""
        return {
            "part": self.part,
            "name": self.name,
            "status": self.status.value.lower(),
            "text": self.text,
            "fix": self.fix,
        }


def verify_applied(paths: HostPaths, owned: Owned, run: Run) -> tuple[Check, ...]:
    """Check files, units and the values systemd has in effect."""
    if owned.generation == 0:
        text, fix = "nothing was deployed here yet", "sudo ./inv deploy"
        return (Check("applied", "deploy", Status.FAILED, text, fix),)
    observed = observe_files(paths, owned.files)
    wrong = list(_wrong_files(owned, observed))
    checks = [*wrong[:_SHOWN_AT_MOST]]
    if len(wrong) > _SHOWN_AT_MOST:
        more = f"and {len(wrong) - _SHOWN_AT_MOST} more files"
        checks.append(Check("applied", "files", Status.FAILED, more, "see ./inv plan"))
    if not wrong:
        text = f"{count(len(owned.files), 'file')} as written by generation {owned.generation}"
        checks.append(Check("applied", "files", Status.OK, text))
    services = look_at_services(owned, run) if is_running(paths) else ()
    return (*checks, *_runtime(paths, owned, run), *_units(paths, observed, run), *services)


_SHOWN_AT_MOST: Final = 20
_SAFE_WITH_PLUGINS: Final = (29, 3, 1)
# Programs with a hole that lets a container's user out, and the first release without it.
_UNSAFE: Final = (
    (
        "runc",
        ("runc", "--version"),
        (1, 1, 12),
        "CVE-2024-21626: a leaked descriptor reaches the host's files",
    ),
    (
        "nvidia-container-toolkit",
        ("nvidia-ctk", "--version"),
        (1, 17, 8),
        "CVE-2025-23266: LD_PRELOAD in an image runs code as root",
    ),
)


def _wrong_files(owned: Owned, observed: Mapping[PurePosixPath, Observed]) -> Iterator[Check]:
    for path, file in owned.files.items():
        there = observed[path]
        fix = "see ./inv plan; deploy --force writes it again"
        if there.form is not file.form:
            what = there.obstacle or f"is {there.kind.value}"
            # Root may read everything: what it cannot read is wrong, and not merely unknown.
            denied = there.kind.value == "unreadable" and os.geteuid() != 0
            status = Status.SKIPPED if denied else Status.FAILED
            yield Check("applied", str(path), status, what, "run it with sudo" if status is Status.SKIPPED else fix)
        elif _edited(file, there.content or b""):
            yield Check("applied", str(path), Status.FAILED, f"differs from generation {owned.generation}", fix)
        elif file.record is None and file.form is Form.FILE and there.mode != file.mode:
            yield Check("applied", str(path), Status.FAILED, f"mode is {there.mode:04o}, not {file.mode:04o}", fix)


def _edited(file: OwnedFile, content: bytes) -> bool:
    if file.record is None:
        return sha256(content) != file.sha256
    try:
        return bool(ours_in(content.decode(errors="surrogateescape"), file.record))
    except Ds01Error:
        return True


def _runtime(paths: HostPaths, owned: Owned, run: Run) -> Iterator[Check]:
    """Prove that the release in force is what was installed, and that its command starts."""
    if CURRENT not in owned.files:
        yield Check("applied", "runtime", Status.SKIPPED, "none was deployed (--no-runtime)")
        return
    fix = "sudo ./inv deploy --force builds it anew"
    name = in_force(paths)
    if name is None:
        yield Check("applied", "runtime", Status.FAILED, f"{CURRENT} names no release", fix)
        return
    found = look_at(paths, name)
    if found.state is State.UNKNOWN and os.geteuid() != 0:
        yield Check("applied", "runtime", Status.SKIPPED, found.why or "it may not be read", "run it with sudo")
    elif found.state is not State.WHOLE:
        yield Check("applied", "runtime", Status.FAILED, f"{name}: {found.why or 'it is gone'}", fix)
    else:
        done = run([os.fspath(paths.releases / found.release.name / "bin/ds01"), "--version"])
        text = f"{found.release.name} ({found.release.words})" if done.ok else f"{name} does not start: {done.words}"
        yield Check("applied", "runtime", Status.OK if done.ok else Status.FAILED, text, "" if done.ok else fix)


def _units(paths: HostPaths, observed: Mapping[PurePosixPath, Observed], run: Run) -> Iterator[Check]:
    if not is_running(paths):
        text = "systemd is not running here, so effective values were not compared"
        yield Check("applied", "slices", Status.SKIPPED, text)
        return
    files = [
        (path, there.content.decode(errors="replace"))
        for path, there in observed.items()
        if there.content and there.form is Form.FILE
    ]
    live = compare_live(files, run)
    if live.error is not None:
        yield Check(
            "applied",
            "slices",
            Status.FAILED,
            f"systemd gives no answer: {live.error}",
            "see systemctl status",
        )
        return
    for unit in live.harmless:
        # A comment that changed needs no reload, and a reload is no small thing; a changed value is a deviation.
        text = "systemd has not read its changed file yet; the values in effect are right"
        yield Check("applied", unit, Status.WARNING, text, "systemctl daemon-reload once no GPU container runs")
    for deviation in live.deviations[:_SHOWN_AT_MOST]:
        fix = (
            f"systemctl cat {deviation.unit} shows what else sets it; remove that, then systemctl daemon-reload"
            " (systemctl revert would remove DS01's files too)"
        )
        yield Check("applied", deviation.unit, Status.FAILED, str(deviation).split(": ", 1)[1], fix)
    if len(live.deviations) > _SHOWN_AT_MOST:
        more = f"and {len(live.deviations) - _SHOWN_AT_MOST} more values"
        yield Check("applied", "slices", Status.FAILED, more, "see ./inv plan")
    if not live.deviations:
        yield Check("applied", "slices", Status.OK, f"{live.asked} units have the policy's values in effect")


def look_at_services(owned: Owned, run: Run) -> Iterator[Check]:
    """Say whether DS01's services run; nothing is limited by them, so that a deploy stands without."""
    deployed = {path.name for path in owned.files}
    for service in SERVICES:
        if service.unit in deployed:
            yield _service(service, run)


def _service(service: Service, run: Run) -> Check:
    unit = service.unit
    # One that starts again and again is not active.
    if run(["systemctl", "is-active", "--", unit]).stdout.split() != ["active"]:
        fix = f"journalctl -u {unit} says why; systemctl restart {unit}"
        return Check("applied", unit, Status.WARNING, f"does not run: {service.without}", fix)
    if "NeedDaemonReload=yes" in run(["systemctl", "show", "--property=NeedDaemonReload", "--", unit]).stdout:
        text = "runs with the settings of its file before the last change"
        fix = f"systemctl daemon-reload once no GPU container runs, then systemctl restart {unit}"
        return Check("applied", unit, Status.WARNING, text, fix)
    return Check("applied", unit, Status.OK, service.does)


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of the machine."""

    paths: HostPaths
    policy: Mapping[str, object]
    engine: Engine


def verify_host(paths: HostPaths, run: Run) -> tuple[Check, ...]:
    """Look at what DS01 needs of the machine; every finding is a warning with its fix."""
    if not paths.is_live:
        return (Check("host", "host", Status.SKIPPED, f"{paths.root} is a folder, not the running machine"),)
    unread = []
    policy: Mapping[str, object] = {}
    try:
        policy = read_json(paths.policy) or {}
    except StateError as error:
        text = f"{error.brief}, so what it asks of the host was not looked at"
        unread.append(Check("host", "policy", Status.WARNING, text, "sudo ./inv deploy --force writes it anew"))
    engine = ask_engine(run)
    found = (*look_at_host(paths, policy, engine), *_containers(paths, policy, engine, run))
    return (*unread, *found, *look_at_cron(paths, run), *_versions(run))


def look_at_host(paths: HostPaths, policy: Mapping[str, object], engine: Engine) -> tuple[Check, ...]:
    """Hold control groups, the engine and the mounts against what DS01 needs of them."""
    facts = _Facts(paths, policy, engine)
    return tuple(check for look in _HOST_CHECKS for check in look(facts))


def _cgroup(facts: _Facts) -> Iterator[Check]:
    if (facts.paths.cgroup / "cgroup.controllers").exists():
        yield Check("host", "cgroup", Status.OK, "control groups are v2")
    else:
        fix = "boot with systemd.unified_cgroup_hierarchy=1"
        yield Check("host", "cgroup", Status.WARNING, "control groups are not pure v2; limits may not hold", fix)


def _docker(facts: _Facts) -> Iterator[Check]:
    engine = facts.engine
    if engine.error is not None:
        fix = "see systemctl status docker, or run this as root"
        yield Check("host", "docker", Status.WARNING, f"the engine gives no answer: {engine.error}", fix)
        return
    driver = str(engine.info.get("CgroupDriver"))
    if driver == "systemd":
        yield Check("host", "docker", Status.OK, f"engine {engine.version}, cgroup driver systemd")
    else:
        fix = "run ds01-verify-cgroup; it prints the daemon.json that is needed"
        yield Check("host", "docker", Status.WARNING, f"cgroup driver is {driver}, so slices do not hold", fix)
    if engine.info.get("DefaultRuntime") == "nvidia":
        text = "default-runtime is nvidia: an image that says NVIDIA_VISIBLE_DEVICES=all gets every GPU"
        yield Check("host", "runtime", Status.WARNING, text, "remove default-runtime from daemon.json")
    stated = _text(facts.policy, "host", "engine_version")
    if stated and _numbers(stated)[:2] != _numbers(engine.version)[:2]:
        text = f"the engine is {engine.version}, the host file says {stated}"
        yield Check("host", "engine_version", Status.WARNING, text, "correct engine_version and deploy again")


def _plugins(facts: _Facts) -> Iterator[Check]:
    engine = facts.engine
    plugins = engine.info.get("Plugins")
    authorization = plugins.get("Authorization") if isinstance(plugins, dict) else None
    if authorization and _numbers(engine.version) < _SAFE_WITH_PLUGINS:
        wanted = ".".join(map(str, _SAFE_WITH_PLUGINS))
        text = f"engine {engine.version} can be talked round its authorization plugins (CVE-2024-41110, CVE-2026-34040)"
        yield Check(
            "host",
            "plugins",
            Status.WARNING,
            text,
            f"update Docker to {wanted} or later, or drop the plugins",
        )


def _containers(paths: HostPaths, policy: Mapping[str, object], engine: Engine, run: Run) -> Iterator[Check]:
    """Say for which running containers something does not hold, in a few lines however many they are."""
    if not policy or engine.error is not None:
        return
    running = running_containers(run, paths.proc)
    if running is None:
        text = "Docker does not answer for every running container, so whether each is where it belongs is not known"
        yield Check("host", "containers", Status.WARNING, text, "see docker ps, then docker inspect for each")
    if not running:
        return
    try:
        homes = Homes.of(Policy.from_document(policy))
    except PolicyError as error:
        text = f"{error.brief}, so running containers were not held against it"
        yield Check("host", "containers", Status.WARNING, text, "sudo ./inv deploy --force writes it anew")
        return
    findings = look_at_containers(running, homes)
    for line in summarise(findings):
        yield Check("host", "containers", Status.WARNING, line, ADVICE)
    if not findings:
        yield Check("host", "containers", Status.OK, f"{count(len(running), 'container')}, each where it belongs")


def look_at_cron(paths: HostPaths, run: Run) -> Iterator[Check]:
    """Say whether anything starts the jobs of our file for cron, once there is one."""
    if not paths.cron.exists():
        return
    if "active" in run(["systemctl", "is-active", "--", *CRON_UNITS]).stdout.split():
        yield Check("host", "cron", Status.OK, "cron runs")
    else:
        text = f"no cron daemon runs, so that nobody starts the jobs of {paths.cron}"
        yield Check("host", "cron", Status.WARNING, text, "apt install cron; systemctl enable --now cron")


def _versions(run: Run) -> Iterator[Check]:
    for name, argv, safe, why in _UNSAFE:
        done = run(argv)
        found = re.search(r"version (\d+\.\d+\.\d+)", done.stdout)
        if found is None:
            continue
        if _numbers(found[1]) < safe:
            wanted = ".".join(map(str, safe))
            fix = f"update {name}, unless your distribution's package has the fix"
            yield Check("host", name, Status.WARNING, f"{found[1]} is older than {wanted} ({why})", fix)
        else:
            yield Check("host", name, Status.OK, f"{name} {found[1]}")


def _mounts(facts: _Facts) -> Iterator[Check]:
    section = facts.policy.get("access_control")
    roots = section.get("bind_roots") if isinstance(section, dict) else None
    mounts = _read_mounts(facts.paths)
    for root in roots if isinstance(roots, list) else ():
        path = str(root["path"]).split("{", 1)[0].rstrip("/") or "/"
        mount = max((m for m in mounts if f"{path}/".startswith(f"{m.rstrip('/')}/")), key=len, default="/")
        missing = sorted({"nosuid", "nodev"} - mounts.get(mount, frozenset()))
        if missing and root["mode"] == "rw":
            text = f"{mount} holds bind root {path} and is not mounted {','.join(missing)}"
            fix = f"add nosuid,nodev to {mount} in /etc/fstab and remount: a container's root can leave a setuid file"
            yield Check("host", path, Status.WARNING, text, fix)
        else:
            yield Check("host", path, Status.OK, f"bind root on {mount} ({root['mode']})")


def _read_mounts(paths: HostPaths) -> dict[str, frozenset[str]]:
    """Return mount point to options. Source: proc_pid_mounts(5); which writes blanks in octal."""
    try:
        lines = (paths.proc / "self/mounts").read_text().splitlines()
    except OSError:
        return {}
    fields = [line.split() for line in lines]
    return {field[1].replace("\\040", " "): frozenset(field[3].split(",")) for field in fields}


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _text(document: Mapping[str, object], section: str, key: str) -> str:
    entry = document.get(section)
    return str(entry.get(key, "")) if isinstance(entry, dict) else ""


_HOST_CHECKS: Final[tuple[Callable[[_Facts], Iterator[Check]], ...]] = (
    _cgroup,
    _docker,
    _plugins,
    _mounts,
)
