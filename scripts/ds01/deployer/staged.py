"""Let every artefact's own tool look at the files before one of them is put in place.

Works in a scratch folder; the host's files are not touched.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from ds01.core.errors import Ds01Error
from ds01.core.process import Run
from ds01.core.tree import Form
from ds01.deployer.directives import unit_of
from ds01.deployer.plan import Action
from ds01.deployer.release import CURRENT

# Keys of daemon.json that dockerd 20.10 knows; for engines without --validate.
# Source: dockerd(8) of docker.io 20.10, "Daemon configuration file".
_DAEMON_KEYS: Final = frozenset(
    [
        "allow-nondistributable-artifacts",
        "api-cors-header",
        "authorization-plugins",
        "bip",
        "bridge",
        "builder",
        "cgroup-parent",
        "cluster-advertise",
        "cluster-store",
        "cluster-store-opts",
        "containerd",
        "containerd-namespace",
        "containerd-plugins-namespace",
        "cpu-rt-period",
        "cpu-rt-runtime",
        "data-root",
        "debug",
        "default-address-pools",
        "default-cgroupns-mode",
        "default-gateway",
        "default-gateway-v6",
        "default-ipc-mode",
        "default-network-opts",
        "default-runtime",
        "default-shm-size",
        "default-ulimits",
        "dns",
        "dns-opts",
        "dns-search",
        "exec-opts",
        "exec-root",
        "experimental",
        "features",
        "fixed-cidr",
        "fixed-cidr-v6",
        "group",
        "host-gateway-ip",
        "hosts",
        "http-proxy",
        "https-proxy",
        "icc",
        "init",
        "init-path",
        "insecure-registries",
        "ip",
        "ip-forward",
        "ip-masq",
        "ip6tables",
        "iptables",
        "ipv6",
        "labels",
        "live-restore",
        "log-driver",
        "log-level",
        "log-opts",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
        "metrics-addr",
        "mtu",
        "network-control-plane-mtu",
        "network-diagnostic-port",
        "no-new-privileges",
        "no-proxy",
        "node-generic-resources",
        "oom-score-adjust",
        "pidfile",
        "raw-logs",
        "registry-mirrors",
        "resolv-conf",
        "runtimes",
        "seccomp-profile",
        "selinux-enabled",
        "shutdown-timeout",
        "storage-driver",
        "storage-opts",
        "swarm-default-advertise-addr",
        "tls",
        "tlscacert",
        "tlscert",
        "tlskey",
        "tlsverify",
        "userland-proxy",
        "userland-proxy-path",
        "userns-remap",
        "validate",
    ]
)
_ROTATION: Final = PurePosixPath("/etc/logrotate.d")
# Where distributions put units. Source: systemd.unit(5), "Unit File Load Path".
_VENDOR_UNITS: Final = "/usr/local/lib/systemd/system:/usr/lib/systemd/system:/lib/systemd/system"


class CheckError(Ds01Error):
    """A tool refused a staged file; nothing was changed."""


def check_staged(
    actions: Sequence[Action], everything: Sequence[Action], run: Run, host: Path = Path("/")
) -> tuple[str, ...]:
    """Run the checks of the files that change.

    Args:
        actions: those that change.
        everything: the whole plan, since a unit is checked with all that belongs to it.
        host: the root they will lie below.

    Returns:
        Notices: tools that are not installed here, so that their check did not run.

    Raises:
        CheckError: a tool refused; says which file, what the tool said, and that nothing was changed.
    """
    with _scratch() as root:
        _lay_out(everything, root)
        _link_release(everything, root, host)
        notices: dict[str, None] = {}
        for argv, paths in _calls(actions, root):
            notices |= dict.fromkeys(_check(argv, paths, root, run))
    return tuple(notices)


@contextmanager
def _scratch() -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="ds01-check-")
    except OSError as error:
        raise _no_room(error) from error
    with folder as name:
        yield Path(name)


def _lay_out(actions: Sequence[Action], root: Path) -> None:
    try:
        for action in actions:
            if action.after is not None and (action.file is None or action.file.form is Form.FILE):
                target = root / str(action.path).lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                text = action.after
                if unit_of(action.path) is not None:
                    text = text.replace(f"{CURRENT}/", f"{root}{CURRENT}/")
                if action.path.parent == _ROTATION:
                    # logrotate judges the folder of the logs too, which the deploy itself is about to put right.
                    text = text.replace("/var/log/", f"{root}/var/log/")
                target.write_bytes(text.encode(errors="surrogateescape"))
    except OSError as error:
        raise _no_room(error) from error


def _link_release(actions: Sequence[Action], root: Path, host: Path) -> None:
    """Put the release that will be in force where laid out units look for their commands."""
    goal = next((action.after for action in actions if action.path == CURRENT), None)
    release = host / CURRENT.relative_to("/") if goal is None else host / CURRENT.parent.relative_to("/") / goal
    link = root / CURRENT.relative_to("/")
    try:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(release.absolute())
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> CheckError:
    return CheckError(
        "there is no place to lay the new files out for their checks; nothing was changed",
        error.strerror or str(error),
        "make room in /tmp (df -h, df -i), or name another folder: TMPDIR=/var/tmp",
    )


def _calls(actions: Sequence[Action], root: Path) -> list[tuple[tuple[str, ...], list[PurePosixPath]]]:
    """Return each call with the files it is for; what takes units takes all of them in one call."""
    units: dict[tuple[str, ...], list[PurePosixPath]] = {}
    calls: list[tuple[tuple[str, ...], list[PurePosixPath]]] = []
    for action in actions:
        if action.file is None or not action.file.check or action.after is None:
            continue
        check = action.file.check
        if check[-1] == "{unit}":
            units.setdefault(check[:-1], []).append(action.path)
        else:
            staged = str(root / str(action.path).lstrip("/"))
            filled = tuple(word.replace("{file}", staged).replace("{root}", str(root)) for word in check)
            calls.append((filled, [action.path]))
    for argv, paths in units.items():
        names = sorted({unit for path in paths if (unit := unit_of(path)) is not None})
        calls.append(((*argv, *names), paths))
    return calls


def _check(argv: tuple[str, ...], paths: Sequence[PurePosixPath], root: Path, run: Run) -> list[str]:
    # Not the host's own /etc/systemd/system: a mistake in what others put there is not ours to be refused for.
    environment = {"SYSTEMD_UNIT_PATH": f"{root}/etc/systemd/system:{_VENDOR_UNITS}"}
    done = run(argv, environment=environment)
    if done.missing:
        return [
            *_own_check(argv[0], paths, root),
            f"{argv[0]} is not installed here, so its check did not run",
        ]
    if argv[0] == "dockerd" and not done.ok and "unknown flag: --validate" in done.words:
        return _own_check("dockerd", paths, root)
    if not done.ok:
        what = str(paths[0]) if len(paths) == 1 else f"{len(paths)} files"
        words = done.words.replace(str(root), "")
        fix = "mend the policy or the template"
        if argv[0] == "dockerd":
            # Others write it too, and what the engine refuses is hardly ever of ours.
            fix = f"mend {what}, then deploy again; Docker runs on, but would not start with this file"
        raise CheckError(f"{argv[0]} refuses {what}; nothing was changed", words, fix)
    return []


def _own_check(tool: str, paths: Sequence[PurePosixPath], root: Path) -> list[str]:
    """Older engines cannot validate: look for keys that none of them knows, which would keep the daemon down."""
    if tool != "dockerd":
        return []
    for path in paths:
        keys = json.loads((root / str(path).lstrip("/")).read_text())
        unknown = sorted(set(keys) - _DAEMON_KEYS)
        if unknown:
            raise CheckError(
                f"{path} has the key {unknown[0]!r}, which keeps Docker from starting; nothing was changed",
                None,
                f"remove the key from {path}, then deploy again",
            )
    return []
