"""Bind roots, ports and cron times: good ones pass in silence, bad ones are named."""

from __future__ import annotations

import json

import pytest

from ds01.generator.access_checks import CHECKS
from ds01.generator.inventory import Documents
from ds01.generator.subject import Subject
from ds01.generator.yamltext import read_yaml


def said(policy: str, host: str = "") -> list[str]:
    subject = Subject(Documents(read_yaml(policy, "p")[0], {}, {"box": read_yaml(host, "h")[0]}, ()), None, "box")
    return [problem.text for check in CHECKS for problem in check(subject)]


def bind(path: str, mode: str = "ro", host: str = "") -> list[str]:
    return said(f"access_control: {{bind_roots: [{{path: {json.dumps(path)}, mode: {mode}}}]}}", host)


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        ("/home/{user}", "rw"),
        ("/home/{user}/", "rw"),
        ("/data", "rw"),
        ("/data/{user}/x-{user}", "rw"),
        ("/etc/localtime", "ro"),
        ("/usr/share/zoneinfo", "ro"),
        ("/var/data", "ro"),
        ("/var/lib/data", "ro"),
        ("/opt/cuda", "ro"),
        ("/home/shared", "rw"),
        ("/etcetera", "rw"),
        ("/daten/übung", "rw"),
        ("/mnt/..data", "ro"),
    ],
)
def test_folder_made_for_users_may_be_bound(path: str, mode: str) -> None:
    assert bind(path, mode) == []


@pytest.mark.parametrize(
    "path",
    [
        *("", "data", "./data", "/a/../etc", "/a/./b", "//etc", "/a//b"),
        *("/home/{group}", "/{user}", "/x{user}/y", "/a{user", "/a%i", "/a\\b", "/a\nb", "/a\tb"),
    ],
)
def test_path_that_is_not_plain_is_refused(path: str) -> None:
    assert bind(path) == [f"bind root {path!r} is not a plain absolute path"]


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        *((path, "ro") for path in ("/", "/etc", "/etc/", "/usr", "/var", "/var/lib", "/var/log", "/lib64")),
        *((path, "ro") for path in ("/proc/1", "/sys/fs/cgroup", "/dev/shm", "/run/user", "/root/x", "/boot/grub")),
        *((path, "ro") for path in ("/var/run/docker.sock", "/var/lib/docker/volumes", "/var/lib/ds01/deploy")),
        *((path, "ro") for path in ("/var/lib/containerd", "/var/lib/dpkg/info", "/var/spool/cron", "/opt/ds01/bin")),
        *((path, "ro") for path in ("/opt", "/snap", "/var/spool/")),
        *((path, "rw") for path in ("/etc/localtime", "/usr/local", "/lib/x")),
        *((path, "rw") for path in ("/opt/{user}", "/snap/x", "/var/data", "/var/lib/x", "/var/tmp")),
    ],
)
def test_part_of_the_system_is_refused(path: str, mode: str) -> None:
    assert bind(path, mode) == [f"bind root {path!r} would hand containers a part of the system"]


@pytest.mark.parametrize("path", ["/home", "/home/"])
@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_homes_of_all_are_refused(path: str, mode: str) -> None:
    assert bind(path, mode) == [f"bind root {path!r} would hand containers the homes of all accounts"]


DISKS = """
disks:
  - {device: /dev/a, mount: /}
  - {device: /dev/b, mount: /home, options: [nosuid, nodev]}
  - {device: /dev/c, mount: /home/old, options: [nosuid]}
"""


@pytest.mark.parametrize(
    ("path", "mode", "mount", "missing"),
    [
        ("/home/{user}", "rw", None, None),
        ("/home/old/{user}", "rw", "/home/old", "nodev"),
        ("/homes", "rw", "/", "nodev,nosuid"),
        ("/homes", "ro", None, None),
    ],
)
def test_nearest_mount_decides_whether_setuid_programs_stay(
    path: str, mode: str, mount: str | None, missing: str | None
) -> None:
    expected = [] if mount is None else [
        (f"bind root {path!r} is writable and {mount} is not mounted {missing}: a container's root can leave a setuid "
        "program there")
    ]  # fmt: skip
    assert bind(path, mode, DISKS) == expected


@pytest.mark.parametrize(
    ("ports", "said_of_them"),
    [
        ("1-65535", []),
        ("20000-20000", []),
        *((bad, [f"publish_ports {bad!r} is no range of ports"]) for bad in ("0-100", "2-1", "1-65536", "99999-99999")),
    ],
)
def test_ports_are_a_range_from_low_to_high(ports: str, said_of_them: list[str]) -> None:
    assert said(f"access_control: {{publish_ports: {{range: {ports}}}}}") == said_of_them


@pytest.mark.parametrize(
    ("address", "said_of_it"),
    [
        ("127.0.0.1", []),
        ('"::1"', []),
        ("0.0.0.0", []),
        *((bad, [f"{bad!r} is no IP address"]) for bad in ("localhost", "127.0.0", "127.0.0.1/8", "127.0.0.01")),
    ],
)
def test_ports_are_published_on_an_address(address: str, said_of_it: list[str]) -> None:
    assert said(f"access_control: {{publish_ports: {{address: {address}}}}}") == said_of_it


@pytest.mark.parametrize(
    "times",
    [
        *("* * * * *", "*/30 * * * *", "0 0 1 1 0", "59 23 31 12 7", "05 * * * *"),
        *("0-30/10,45 * * * mon-FRI", "5 4 * jan,Feb sun"),
    ],
)
def test_cron_time_that_cron_takes_passes(times: str) -> None:
    assert said(f'policies: {{schedule: {{idle: "{times}"}}}}') == []


@pytest.mark.parametrize(
    ("times", "fault"),
    [
        ("60 * * * *", "'60' is no minute"),
        ("* 24 * * *", "'24' is no hour"),
        ("* * 0 * *", "'0' is no day"),
        ("* * * 13 *", "'13' is no month"),
        ("* * * * 8", "'8' is no weekday"),
        ("* * * * jan", "'jan' is no weekday"),
        ("mon * * * *", "'mon' is no minute"),
        ("5/10 * * * *", "'5/10' is no minute"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("1-2-3 * * * *", "'1-2-3' is no minute"),
        ("1,,2 * * * *", "'' is no minute"),
        ("*/ * * * *", "'*/' is no minute"),
        ("1- * * * *", "'1-' is no minute"),
        ("0000000001 * * * *", "'0000000001' is no minute"),
    ],
)
def test_cron_time_that_would_silence_the_whole_file_is_refused(times: str, fault: str) -> None:
    expected = f"policies.schedule.idle: {fault}, for which cron would ignore its whole file"
    assert said(f'policies: {{schedule: {{idle: "{times}"}}}}') == [expected]


@pytest.mark.parametrize(
    ("times", "fault"),
    [
        ("10-5 * * * *", "'10-5' ends before it begins, so that nothing would ever be done"),
        ("0 0 30 2 *", "'0 0 30 2 *' names a day that never comes, so that nothing would ever be done"),
    ],
)
def test_cron_time_that_never_comes_is_refused(times: str, fault: str) -> None:
    assert said(f'policies: {{schedule: {{unmanaged: "{times}"}}}}') == [f"policies.schedule.unmanaged: {fault}"]
