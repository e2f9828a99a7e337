"""Looks at a host for `ds01 health`, as any account. Changes nothing, and waits for nothing longer than a few seconds.

A disk or an engine that hangs costs its own line, not the others.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ds01.core.clock import parse_instant
from ds01.core.cron import parse_times
from ds01.core.errors import BadInputError, Ds01Error
from ds01.core.jsonstate import StateError, read_bytes
from ds01.core.paths import HostPaths
from ds01.core.policy import Policy, PolicyError, read_policy
from ds01.core.process import Run
from ds01.core.services import CRON_UNITS, EVENTSD, GPUWATCH, SAMPLER, SERVICES, Service
from ds01.core.typed import Final
from ds01.core.value import dataclass
from ds01.runtime.containers.engine import Engine, EngineError
from ds01.runtime.gpu.activity import trouble_in, unknown_in
from ds01.runtime.gpu.layout import stated_gpus
from ds01.runtime.lifecycle.jobs import read_stamps
from ds01.runtime.machine import Machine
from ds01.runtime.telemetry.health import (
    FRESH_CONTAINERS,
    FRESH_GPUS,
    FRESH_PRESSURE,
    FRESH_RATES,
    LOOK_AT_DISKS,
    CannotSee,
    Check,
    GpusSeen,
    Health,
    Schedule,
    ServiceSeen,
    Status,
    Written,
    all_of,
    judge_gpus,
    judge_job,
    judge_service,
)
from ds01.runtime.telemetry.statefiles import AS_ROOT, disk_check, file_check, files_of, folders_of

LIMIT_SECONDS: Final = 5.0
_JOB_NAMES: Final = {
    "idle": "idle",
    "max_runtime": "max-runtime",
    "stale_gpu": "stale-gpu",
    "stale_containers": "stale-containers",
    "unmanaged": "unmanaged",
}
Probe = Callable[[], Iterable[Check | None]]
# What comes of a file that is not as a service wrote it.
_DAMAGED: Final = (OSError, StateError, BadInputError, ValueError, KeyError, TypeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Host:
    """What is looked at.

    Attributes:
        limit_seconds: for each question.
    """

    paths: HostPaths
    run: Run
    machine: Machine
    limit_seconds: float = LIMIT_SECONDS


def look_around(host: Host) -> Health:
    """Look at everything at once, and return what was found in a fixed order."""
    probes: list[tuple[str, Probe]] = [("policy", lambda: policy_checks(host))]
    if host.paths.is_live:
        probes += [(each.name, _service_probe(host, each)) for each in SERVICES]
        probes += [("gpus", lambda: gpu_checks(host)), ("docker", lambda: docker_checks(host))]
        probes += [("cron", lambda: cron_checks(host))]
    else:
        text = f"{host.paths.root} is a folder: services, Docker and cron of the machine were not looked at"
        probes.append(("host", lambda: (Check("host", Status.UNKNOWN, text),)))
    probes += [("jobs", lambda: job_checks(host)), ("deploy", lambda: deploy_checks(host))]
    probes += [(path, _file_probe(host, path)) for path in files_of(host.paths)]
    probes += [(f"disk {folder}", _disk_probe(folder)) for folder in folders_of(host.paths)]
    return all_of(_all_at_once(probes, host.limit_seconds))


def _service_probe(host: Host, service: Service) -> Probe:
    return lambda: (service_check(host, service),)


def _file_probe(host: Host, path: str) -> Probe:
    return lambda: (file_check(host.paths, path),)


def _disk_probe(folder: Path) -> Probe:
    return lambda: (disk_check(folder),)


def _all_at_once(probes: Sequence[tuple[str, Probe]], limit_seconds: float) -> Iterator[Check | None]:
    """Run probes beside each other; of one that fails, or does not answer in time, that is said.

    Twice the limit: what a probe asks has that limit itself, and then says in its own words what did not answer.
    """
    found: dict[int, tuple[Check | None, ...]] = {}

    def ask(number: int, name: str, probe: Probe) -> None:
        found[number] = _answered(name, probe)

    threads = [threading.Thread(target=ask, args=(number, *each), daemon=True) for number, each in enumerate(probes)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 2 * limit_seconds
    for number, ((name, _), thread) in enumerate(zip(probes, threads, strict=True)):
        thread.join(max(end - time.monotonic(), 0.0))
        if number in found:
            yield from found[number]
        else:
            late = f"no answer within {2 * limit_seconds:g} s"
            yield Check(name, Status.FAILED, late, LOOK_AT_DISKS)


def _answered(name: str, probe: Probe) -> tuple[Check | None, ...]:
    try:
        return tuple(probe())
    except OSError as error:
        text = f"{error.filename or name}: {error.strerror or error}"
        return (Check(name, Status.FAILED, text, LOOK_AT_DISKS),)


# --- Services, Docker, cron -------------------------------------------------------------------------------------------


def service_check(host: Host, service: Service) -> Check:
    """Look at one service and at all that it writes."""
    paths = host.paths
    files: dict[str, tuple[tuple[Path, timedelta], ...]] = {
        SAMPLER.name: ((paths.rates, FRESH_RATES), (paths.pressure, FRESH_PRESSURE)),
        EVENTSD.name: ((paths.containers, FRESH_CONTAINERS),),
        GPUWATCH.name: ((paths.gpu_activity, FRESH_GPUS),),
    }
    seen = ServiceSeen(None)
    if (paths.units / service.unit).exists():
        said = host.run(["systemctl", "is-active", "--", service.unit], timeout_seconds=host.limit_seconds)
        state = said.stdout.strip() or said.words
        looked = files[service.name] if state == "active" else ()
        seen = ServiceSeen(state, tuple(Written(os.fspath(file), fresh, _updated_at(file)) for file, fresh in looked))
    return judge_service(service, seen, host.machine.now())


def _updated_at(file: Path) -> datetime | CannotSee | str | None:
    try:
        return parse_instant(str(json.loads(read_bytes(file))["updated_at"]))
    except FileNotFoundError:
        return None
    except PermissionError:
        return CannotSee(f"{file} was not looked at: {AS_ROOT}")
    except _DAMAGED as error:
        return f"{type(error).__name__}: {error}"


def gpu_checks(host: Host) -> Iterator[Check]:
    """Look whether the one who watches GPUs could; nothing where it did not of late, which its own line says."""
    try:
        document = json.loads(read_bytes(host.paths.gpu_activity))
        age = host.machine.now() - parse_instant(str(document["updated_at"]))
        trouble, unknown = trouble_in(document), unknown_in(document)
    except _DAMAGED:
        return
    if abs(age) <= FRESH_GPUS:
        yield judge_gpus(GpusSeen(_states_gpus(host.paths), trouble, unknown))


def _states_gpus(paths: HostPaths) -> bool:
    """Whether the host file lists GPUs; as long as nobody can tell it does."""
    try:
        return bool(stated_gpus(read_policy(paths.policy).document))
    except (Ds01Error, ValueError):
        return True


def docker_checks(host: Host) -> Iterator[Check]:
    """Ask Docker for a sign of life; on a host with a gateway through it, and behind it."""
    behind = host.paths.engine_behind_gateway
    if behind.exists():
        yield _docker("gateway", host.paths.engine, host.limit_seconds)
        yield _docker("docker", behind, host.limit_seconds)
    else:
        yield _docker("docker", host.paths.engine, host.limit_seconds)


def _docker(name: str, socket: Path, limit_seconds: float) -> Check:
    try:
        Engine(socket, timeout_seconds=limit_seconds).ping()
    except EngineError as error:
        if isinstance(error.__cause__, PermissionError):
            return Check(name, Status.UNKNOWN, f"{socket}: {AS_ROOT}")
        text = error.brief if error.details is None else f"{error.brief}: {error.details}"
        return Check(name, Status.FAILED, text, error.resolution or "")
    return Check(name, Status.OK, f"{socket} answers")


def cron_checks(host: Host) -> Iterator[Check]:
    """Look whether anything starts the jobs."""
    said = host.run(["systemctl", "is-active", "--", *CRON_UNITS], timeout_seconds=host.limit_seconds)
    if "active" in said.stdout.split():
        yield Check("cron", Status.OK, "it runs")
    else:
        text = "no cron daemon runs: nobody starts the jobs of the lifecycle rules"
        yield Check("cron", Status.FAILED, text, "apt install cron; systemctl enable --now cron")


# --- Policy and jobs --------------------------------------------------------------------------------------------------


def policy_checks(host: Host) -> Iterator[Check]:
    """Read the policy as everything on the host does."""
    try:
        policy = read_policy(host.paths.policy, of_root=True)
    except (PolicyError, StateError) as error:
        text = error.brief if error.details is None else f"{error.brief}: {error.details}"
        yield Check("policy", Status.FAILED, text, error.resolution or "sudo ./inv deploy")
        return
    missing = [f"policies.schedule.{key}" for key, times in _schedule(policy).items() if times is None]
    if missing:
        text = f"{host.paths.policy} is of another release: it has no {', '.join(missing)}"
        yield Check("policy", Status.FAILED, text, "sudo ./inv deploy")
    else:
        yield Check("policy", Status.OK, f"{host.paths.policy} is of this release")


def job_checks(host: Host) -> Iterator[Check]:
    """Hold what the jobs left behind against when they were due."""
    paths = host.paths
    try:
        written = datetime.fromtimestamp(paths.cron.stat().st_mtime, UTC)
    except FileNotFoundError:
        yield Check("jobs", Status.WARNING, f"there is no {paths.cron}: nobody starts them", "sudo ./inv deploy")
        return
    try:
        policy = read_policy(paths.policy)
    except Ds01Error:
        yield Check("jobs", Status.UNKNOWN, "without a policy nobody can tell when they are due")
        return
    now = host.machine.now()
    since = max(written, now - timedelta(seconds=host.machine.boot_seconds()))
    stamps = read_stamps(paths)
    for key, times in _schedule(policy).items():
        if times is None:
            continue
        name = _JOB_NAMES[key]
        try:
            schedule = Schedule(parse_times(str(times)), since)
        except BadInputError as error:
            yield Check(f"job {name}", Status.FAILED, error.brief, "mend policies.schedule and deploy again")
        else:
            yield judge_job(name, stamps.get(name), schedule, now.astimezone())


def _schedule(policy: Policy) -> Mapping[str, object]:
    policies = policy.document.get("policies")
    schedule = policies.get("schedule") if isinstance(policies, dict) else None
    return {key: schedule.get(key) if isinstance(schedule, dict) else None for key in _JOB_NAMES}


# --- The last deploy --------------------------------------------------------------------------------------------------


def deploy_checks(host: Host) -> Iterator[Check]:
    """Look whether a deploy was cut off."""
    try:
        cut_off = (host.paths.deploy / "journal.json").exists()
    except PermissionError:
        yield Check("deploy", Status.UNKNOWN, AS_ROOT)
        return
    if cut_off:
        text = "a deploy is under way, or was cut off"
        yield Check("deploy", Status.WARNING, text, "when none is under way: sudo ds01 recover")
