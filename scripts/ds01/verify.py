"""`ds01 verify` as people call it: the deployer's checks, and what only the runtime can look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ds01.core.errors import Ds01Error
from ds01.core.jsonstate import StateError, read_json
from ds01.core.paths import HostPaths
from ds01.core.process import run
from ds01.deployer.commands import verify as deployer
from ds01.deployer.verify import Check, Status
from ds01.runtime.cgroup.proof import prove_paths
from ds01.runtime.client.fits import check_client
from ds01.runtime.gpu.devices import read_devices
from ds01.runtime.gpu.hardware import DevicesError
from ds01.runtime.gpu.layout import cannot_tell, compare, fits, stated_gpus


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return deployer.main(argv, look_around)


def verify(root: Path, *, as_json: bool) -> int:
    """Check files, units, values and the runtime, then what DS01 needs of the machine and its GPUs."""
    return deployer.verify(root, as_json=as_json, more=look_around)


def look_around(paths: HostPaths) -> tuple[Check, ...]:
    """Look at what only the runtime can: GPUs, the docker client, and whether usage is read where it is counted."""
    return (*look_at_gpus(paths), *look_at_client(paths), *look_at_usage(paths))


def look_at_client(paths: HostPaths) -> tuple[Check, ...]:
    """Hold the docker client against its table of options; only where our helper reads its lines."""
    if not paths.is_live or not paths.docker_helper.exists():
        return ()
    if not paths.docker_client.exists():
        words = f"there is no {paths.docker_client}, before which the wrapper stands"
        return (Check("host", "docker client", Status.WARNING, words, "install the docker client (docker.io)"),)
    try:
        version = check_client(paths.docker_client, run)
    except Ds01Error as error:
        words = error.brief if error.details is None else f"{error.brief}: {error.details}"
        return (Check("host", "docker client", Status.WARNING, words, error.resolution or ""),)
    return (Check("host", "docker client", Status.OK, f"docker {version}, whose options DS01 knows"),)


def look_at_usage(paths: HostPaths) -> tuple[Check, ...]:
    """Prove that quotas are read where systemd counts: a wrong path would silently refuse nobody."""
    if not paths.is_live:
        return ()
    return tuple(
        Check("host", "usage", Status.OK if each.fix is None else Status.WARNING, each.text, each.fix or "")
        for each in prove_paths(paths.cgroup, run)
    )


def look_at_gpus(paths: HostPaths) -> tuple[Check, ...]:
    """Hold the GPUs against the host section of the policy; every finding is a warning with its fix."""
    if not paths.is_live:
        # The host part has said that it looks at the running machine alone.
        return ()
    try:
        policy = read_json(paths.policy)
    except StateError:
        # The host part has said so.
        return ()
    if policy is None:
        return (Check("host", "gpus", Status.SKIPPED, "no policy was deployed to hold the GPUs against"),)
    try:
        stated = stated_gpus(policy)
    except ValueError as error:
        return (Check("host", "gpus", Status.WARNING, str(error), "sudo ./inv deploy --force writes it anew"),)
    try:
        devices = read_devices(paths, live=True, who=False)
    except DevicesError as error:
        unseen = cannot_tell(error, stated)
        if unseen is None:
            return (Check("host", "gpus", Status.SKIPPED, "there are none, and the host file lists none"),)
        return (Check("host", unseen.about, Status.WARNING, unseen.text, unseen.fix),)
    findings = compare(stated, devices)
    if not findings:
        return (Check("host", "gpus", Status.OK, fits(devices)),)
    return tuple(Check("host", each.about, Status.WARNING, each.text, each.fix) for each in findings)
