"""What a schema cannot say about who may reach what: bind roots, ports, image names, schedules. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import Final

from ds01.core.cron import TimesError, parse_times
from ds01.generator.problems import Place, Problem
from ds01.generator.subject import Subject

_LAST_PORT: Final = 65535
# Folders of the system: never a bind root themselves, and what is below them only to be read.
_SYSTEM: Final = ("/bin", "/etc", "/lib", "/lib32", "/lib64", "/opt", "/sbin", "/snap", "/usr", "/var")
_ABOVE_SECRETS: Final = ("/", "/var/lib", "/var/log")
# Nothing below these, not even to read: devices, keys, sockets, mail, other people's containers.
_SECRET: Final = (
    "/boot",
    "/dev",
    "/opt/ds01",
    "/proc",
    "/root",
    "/run",
    "/sys",
    "/var/lib/containerd",
    "/var/lib/docker",
    "/var/lib/dpkg",
    "/var/lib/ds01",
    "/var/run",
    "/var/spool",
)


def _ports(subject: Subject) -> Iterator[Problem]:
    section = subject.section("access_control", "publish_ports")
    ports, address = section.get("range"), section.get("address")
    if isinstance(ports, str):
        first, last = (int(each) for each in ports.split("-"))
        if not 1 <= first <= last <= _LAST_PORT:
            text = f"publish_ports {ports!r} is no range of ports"
            place = subject.value("access_control", "publish_ports", "range")
            yield Problem(place, text, "write first-last, such as 20000-29999")
    if isinstance(address, str):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            place = subject.value("access_control", "publish_ports", "address")
            yield Problem(place, f"{address!r} is no IP address", "write it such as 127.0.0.1")


def _bind_roots(subject: Subject) -> Iterator[Problem]:
    roots = subject.section("access_control").get("bind_roots")
    for index, root in enumerate(roots if isinstance(roots, list) else ()):
        path = root.get("path") if isinstance(root, dict) else None
        if not isinstance(path, str):
            continue
        place = subject.value("access_control", "bind_roots", index, "path")
        if not _is_plain(path):
            yield Problem(place, f"bind root {path!r} is not a plain absolute path", "write it such as /home/{user}")
        elif path.rstrip("/") == "/home":
            text = f"bind root {path!r} would hand containers the homes of all accounts"
            yield Problem(place, text, "write /home/{user}")
        elif _is_system(path.rstrip("/") or "/", writable=root.get("mode") == "rw"):
            text = f"bind root {path!r} would hand containers a part of the system"
            yield Problem(place, text, "name a folder made for users, such as /data")
        elif root.get("mode") == "rw":
            yield from _unsafe_mount(subject, path, place)


def _is_plain(path: str) -> bool:
    parts = path.replace("{user}", "user").split("/")
    return (
        path.startswith("/")
        and "{user}" not in path.split("/")[1]
        and not {".", ".."} & set(parts)
        and "" not in parts[1:-1]
        and path.isprintable()
        and not set("{}%\\") & set("".join(parts))
    )


def _is_system(path: str, *, writable: bool) -> bool:
    within = (*_SECRET, *_SYSTEM) if writable else _SECRET
    return path in (*_SYSTEM, *_ABOVE_SECRETS) or any(f"{path}/".startswith(f"{each}/") for each in within)


def _unsafe_mount(subject: Subject, path: str, place: Place) -> Iterator[Problem]:
    disks = subject.host_section("disks")
    mounts = [each for each in disks if isinstance(each, dict) and isinstance(each.get("mount"), str)]
    above = [each for each in mounts if f"{path}/".startswith(f"{each['mount'].rstrip('/')}/")]
    if not above:
        return
    nearest = max(above, key=lambda each: len(each["mount"]))
    missing = sorted({"nosuid", "nodev"} - set(nearest.get("options") or ()))
    if missing:
        text = (
            f"bind root {path!r} is writable and {nearest['mount']} is not mounted {','.join(missing)}: a container's "
            "root can leave a setuid program there"
        )
        yield Problem(place, text, f"mount {nearest['mount']} with nosuid,nodev", notice=True)


def _schedules(subject: Subject) -> Iterator[Problem]:
    for job, times in subject.section("policies", "schedule").items():
        if not isinstance(times, str):
            continue
        try:
            parse_times(times)
        except TimesError as error:
            place = subject.value("policies", "schedule", job)
            text = f"policies.schedule.{job}: {error.brief}"
            yield Problem(place, text, "write minute hour day month weekday, such as 45 * * * *")


CHECKS: Final[tuple[Callable[[Subject], Iterator[Problem]], ...]] = (_ports, _bind_roots, _schedules)
