"""Which files are an older DS01's: by name, by what they say, by where they lead; and which never are."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from tests.older_host import CALLERS, DROP_IN, FILES, LINKS, OLDER, OTHERS, OURS, WRAPPER

from ds01.deployer.observed import Kind, Observed
from ds01.deployer.older import Older, calls_older, is_candidate, recognise, unit_behind

UNITS = "/etc/systemd/system"


def file(text: str) -> Observed:
    return Observed(Kind.FILE, text.encode(errors="surrogateescape"), 0o644, 0, 0)


def link(goal: str) -> Observed:
    return Observed(Kind.SYMLINK, goal.encode(), 0o777, 0, 0, f"it is a symbolic link to {goal}")


def look(path: str, there: Observed, *ours: str) -> str | None:
    """Return what it is said to do, None when it is not the older DS01's."""
    found = recognise(PurePosixPath(path), there, frozenset(map(PurePosixPath, ours)))
    return None if found is None else found.what


def test_a_whole_older_server_is_recognised_and_nothing_else() -> None:
    laid = {path: file(text) for path, text in (FILES | CALLERS | OTHERS).items()}
    laid |= {path: link(goal) for path, goal in LINKS.items()}
    assert sorted(path for path, there in laid.items() if look(path, there, *OURS) is not None) == list(OLDER)
    assert sorted(path for path, there in laid.items() if look(path, there) is not None) == sorted({*OLDER, *OURS})


def test_everything_recognised_is_a_candidate_and_so_is_looked_at() -> None:
    unseen = [path for path in OLDER if not is_candidate(PurePosixPath(path), is_link=path in LINKS)]
    assert unseen == []


GOES = "is a command of the older scripts"
SIGNS = {
    "a name alone": ("/etc/cron.d/ds01-x", file(""), "runs nothing"),
    "another name": ("/etc/cron.d/backup", file("/opt/ds01-infra/x.sh"), None),
    "a name alone, no text": ("/etc/profile.d/ds01-x.sh", file("\x7fELF\0"), "it is no text"),
    "a name alone, a link": ("/etc/cron.d/ds01-x", link("/srv/jobs"), "runs nothing, a link to /srv/jobs"),
    "a name alone, unreadable": (
        "/etc/sudoers.d/ds01-x",
        Observed(Kind.UNREADABLE, obstacle="it may not be read"),
        "it may not be read",
    ),
    "a folder": ("/etc/cron.d/ds01-x", Observed(Kind.FOLDER, obstacle="a folder"), None),
    "a pipe": ("/etc/cron.d/ds01-x", Observed(Kind.OTHER, obstacle="a pipe"), None),
    "gone meanwhile": ("/etc/cron.d/ds01-x", Observed(Kind.ABSENT), None),
    "the older wrapper": (
        "/usr/local/bin/docker",
        file(WRAPPER),
        "stands before docker for every account: puts containers into slices, labels them with their owner",
    ),
    "an admin's own docker": ("/usr/local/bin/docker", file('#!/bin/sh\nexec /usr/bin/docker "$@"\n'), None),
    "a static docker client": ("/usr/local/bin/docker", file("\x7fELF\0\udcff"), None),
    "the older wrapper by a link": (
        "/usr/local/bin/docker",
        link("/opt/ds01-infra/scripts/docker/docker-wrapper.sh"),
        "stands before docker for every account, a link to /opt/ds01-infra/scripts/docker/docker-wrapper.sh",
    ),
    "an admin's own link": ("/usr/local/bin/docker", link("/usr/bin/podman"), None),
    "any name that leads there": (
        "/usr/local/bin/.docker.deploy.123",
        link("/opt/ds01-infra/x"),
        f"{GOES}, a link to /opt/ds01-infra/x",
    ),
    "a relative link that leads there": (
        "/usr/local/sbin/x",
        link("../../../opt/ds01-infra/x"),
        f"{GOES}, a link to ../../../opt/ds01-infra/x",
    ),
    "a link that only begins alike": ("/usr/local/bin/x", link("/opt/ds01-infra-old/x"), None),
    "a link that turns away": ("/usr/local/bin/x", link("/opt/ds01-infra/../mine/x"), None),
    "a copied command": ("/usr/local/bin/container-create", file("# DS01 command\n"), GOES),
    "another's command of that name": ("/usr/local/bin/help", file("#!/bin/sh\necho ask\n"), None),
    "a word that only begins alike": ("/usr/local/bin/help", file("# DS017\n"), None),
    "devices": ("/etc/modprobe.d/nvidia-permissions.conf", file("options nvidia NVreg_DeviceFileMode=438\n"), None),
    "a slice it described": (
        f"{UNITS}/ds01-a-b.slice",
        file("[Unit]\nDescription=DS01 Student - b\n"),
        "describes ds01-a-b.slice",
    ),
    "a slice an admin described": (f"{UNITS}/ds01-a-b.slice", file("[Unit]\nDescription=Course\n"), None),
    "a masked slice": (f"{UNITS}/ds01-a-b.slice", link("/dev/null"), None),
    "a masked service": (f"{UNITS}/ds01-x.service", link("/dev/null"), None),
    "limits": (
        f"{UNITS}/ds01-a-b.slice.d/10-resource-limits.conf",
        file("[Slice]\nMemoryMax=1G\n"),
        "sets MemoryMax=1G for ds01-a-b.slice",
    ),
    "an admin's drop-in": (f"{UNITS}/ds01-a-b.slice.d/99-mine.conf", file(DROP_IN), None),
    "the socket": (
        f"{UNITS}/docker.service.d/ds01-socket.conf",
        file("[Service]\nExecStart=/usr/bin/dockerd\n"),
        "changes how docker.service starts: runs /usr/bin/dockerd",
    ),
    "an admin's way to start Docker": (f"{UNITS}/docker.service.d/proxy.conf", file("[Service]\n"), None),
    "enabled": (
        f"{UNITS}/multi-user.target.wants/ds01-x.service",
        link("/etc/systemd/system/ds01-x.service"),
        "starts ds01-x.service with multi-user.target",
    ),
    "another's enabled": (
        f"{UNITS}/multi-user.target.wants/ssh.service",
        link("/lib/systemd/system/ssh.service"),
        None,
    ),
    "the plugin": (
        f"{UNITS}/opa-docker-authz.service",
        file("[Unit]\nDescription=Plugin (DS01)\n\n[Service]\nExecStart=/usr/local/bin/opa-docker-authz\n"),
        "runs /usr/local/bin/opa-docker-authz",
    ),
    "another's plugin": (f"{UNITS}/opa-docker-authz.service", file("[Service]\nExecStart=/usr/local/bin/opa\n"), None),
    "before NVIDIA's maker": (
        "/usr/sbin/ub-device-create",
        file("#!/bin/bash\n# DS01 wrapper\n"),
        "stands before NVIDIA's maker of devices",
    ),
    "NVIDIA's own": ("/usr/sbin/ub-device-create", file("\x7fELF\0"), None),
}


@pytest.mark.parametrize(("path", "there", "what"), SIGNS.values(), ids=SIGNS)
def test_a_file_is_the_older_ds01s_when_its_name_and_what_it_says_show_it(
    path: str, there: Observed, what: str | None
) -> None:
    assert look(path, there) == what


def test_what_belongs_to_a_unit_of_ours_is_an_admins() -> None:
    ours = f"{UNITS}/ds01-recover.service"
    assert look(f"{UNITS}/ds01-recover.service.d/override.conf", file("[Service]\nNice=1\n"), ours) is None
    assert look(f"{UNITS}/reboot.target.wants/ds01-recover.service", link("../ds01-recover.service"), ours) is None
    assert look(f"{UNITS}/ds01-x.service.d/override.conf", file("[Service]\nNice=1\n"), ours) is not None


def test_older_limits_under_another_name_beside_ours_are_the_older_ds01s() -> None:
    ours = (f"{UNITS}/ds01-student.slice", f"{UNITS}/ds01-student.slice.d/10-resource-limits.conf")
    assert look(f"{UNITS}/ds01-student.slice.d/limits.conf", file("[Slice]\nMemoryMax=1G\n"), *ours) is not None


@pytest.mark.parametrize(
    ("path", "unit", "runs"),
    [
        (f"{UNITS}/ds01-x.service", "ds01-x.service", True),
        (f"{UNITS}/ds01-x.service.d/a.conf", "ds01-x.service", True),
        (f"{UNITS}/timers.target.wants/ds01-x.timer", "ds01-x.timer", True),
        (f"{UNITS}/ds01-a.slice", "ds01-a.slice", False),
        (f"{UNITS}/ds01-a.slice.d/limits.conf", "ds01-a.slice", False),
        (f"{UNITS}/docker.service.d/ds01-socket.conf", None, False),
        ("/etc/cron.d/ds01-x", None, False),
    ],
)
def test_a_service_goes_on_without_its_file_and_a_slice_does_not(path: str, unit: str | None, *, runs: bool) -> None:
    assert unit_behind(PurePosixPath(path)) == unit
    assert Older(PurePosixPath(path), file(""), "").runs == (unit if runs else None)


@pytest.mark.parametrize(
    ("there", "calls"),
    [
        (file("session optional pam_exec.so /opt/ds01-infra/scripts/x.sh\n"), True),
        (file("session optional pam_exec.so seteuid /usr/local/bin/pam-ensure-bashrc.sh\n"), True),
        (file("# DS01 was here\n"), False),
        (link("/opt/ds01-infra/x"), False),
        (Observed(Kind.UNREADABLE, obstacle="no"), False),
    ],
)
def test_what_calls_the_older_scripts_is_noticed(there: Observed, *, calls: bool) -> None:
    assert calls_older(there) is calls


def test_what_is_in_a_file_can_always_be_asked() -> None:
    path = PurePosixPath("/etc/cron.d/ds01-x")
    assert Older(path, file("gr\udcfcn"), "").text == "gr\udcfcn"
    assert Older(path, Observed(Kind.UNREADABLE, obstacle="no"), "").text == ""
