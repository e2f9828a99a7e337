"""What would break if an older file went, and what it does to DS01's own when it stays."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest
from tests.older_host import DROP_IN, FILES, WRAPPER

from ds01.core.tree import Tree, TreeFile
from ds01.deployer.clashes import Host, if_it_stays, some, why_not_go, why_not_stay
from ds01.deployer.observed import Kind, Observed
from ds01.deployer.older import Older, Remains

UNITS = "/etc/systemd/system"
MAKER = "/opt/ds01-infra/scripts/system/create-user-slice.sh"


def older(path: str, text: str = "") -> Older:
    return Older(PurePosixPath(path), Observed(Kind.FILE, text.encode(), 0o644, 0, 0), "")


def limits(account: str, path: str) -> TreeFile:
    return TreeFile(PurePosixPath(path), "[Slice]\nCPUWeight=10\nMemoryMax=8G\n", account=account)


EXPORTER = older(f"{UNITS}/ds01-exporter.service")
FILTER = older(f"{UNITS}/multi-user.target.wants/ds01-docker-filter.service")
PLUGIN = older(f"{UNITS}/opa-docker-authz.service")
SOCKET = older(f"{UNITS}/docker.service.d/ds01-socket.conf")
RULE = older("/etc/sudoers.d/ds01-user-slice", FILES["/etc/sudoers.d/ds01-user-slice"])
DEVICES = older("/usr/sbin/ub-device-create", "# DS01\n")
STOP = "To fix: systemctl disable --now ds01-exporter.service, or --keep it"

GOES = {
    "a service that is not running": (EXPORTER, Host(), None),
    "a service that runs": (
        EXPORTER,
        Host(frozenset({"ds01-exporter.service"})),
        f"belongs to ds01-exporter.service, which still runs and would go on without it\n{STOP}",
    ),
    "a service that may run": (
        EXPORTER,
        Host(None),
        (
            "belongs to ds01-exporter.service, which may still run (systemd gives no answer) and would go on without"
            f" it\n{STOP}"
        ),
    ),
    "a cron job needs no answer of systemd": (older("/etc/cron.d/ds01-x"), Host(None), None),
    "the filter before Docker's socket": (
        FILTER,
        Host(frozenset({"ds01-docker-filter.service"}), hosts=True),
        (
            "belongs to ds01-docker-filter.service, which still runs and would go on without it\n"
            "To fix: give /run/docker.sock back to Docker first (docs/migration.md, The socket filter), then"
            " systemctl disable --now ds01-docker-filter.service, or --keep it"
        ),
    ),
    "the drop-in without which hosts clashes": (
        SOCKET,
        Host(hosts=True),
        (
            "makes Docker listen where daemon.json says (hosts), and without it Docker does not start\n"
            "To fix: take hosts out of daemon.json and remove both in a restart window (docs/migration.md), or"
            " --keep it"
        ),
    ),
    "the drop-in when hosts is gone": (SOCKET, Host(), None),
    "the plugin that is asked": (
        PLUGIN,
        Host(plugin=True),
        (
            "starts the plugin that daemon.json asks about every request\n"
            "To fix: take opa-docker-authz out of authorization-plugins in daemon.json, systemctl reload"
            " docker.service, then systemctl disable --now opa-docker-authz.service, or --keep it"
        ),
    ),
    "the plugin that nobody asks": (PLUGIN, Host(), None),
    "the rule that the wrapper asks sudo for": (
        RULE,
        Host(asks_sudo=True),
        (
            "is what /usr/local/bin/docker asks sudo for, and without it docker run asks everybody for a password\n"
            f"To fix: mv {MAKER} {MAKER}.off (systemd makes slices by itself), let both go, or --keep both"
        ),
    ),
    "the rule when the wrapper goes too": (RULE, Host(), None),
    "another rule": (older("/etc/sudoers.d/ds01-docker-group", "add-user-to-docker.sh"), Host(asks_sudo=True), None),
    "what stands before NVIDIA's program": (
        DEVICES,
        Host(),
        (
            "has the original beside it\n"
            "To fix: mv /usr/sbin/ub-device-create.original /usr/sbin/ub-device-create, or --keep it"
        ),
    ),
}


@pytest.mark.parametrize(("file", "host", "words"), GOES.values(), ids=GOES)
def test_what_cannot_go_says_why_and_what_to_do_first(file: Older, host: Host, words: str | None) -> None:
    assert why_not_go(file, host) == words


@pytest.mark.parametrize(
    ("daemon", "hosts", "plugin"),
    [
        (None, False, False),
        ("", False, False),
        ("{", False, False),
        ("[]", False, False),
        ('{"dns": []}', False, False),
        ('{"hosts": ["unix:///var/run/docker-real.sock"]}', True, False),
        ('{"authorization-plugins": ["opa-docker-authz"]}', False, True),
        ('{"authorization-plugins": ["another"]}', False, False),
        ('{"authorization-plugins": "opa-docker-authz"}', False, False),
    ],
)
def test_daemon_json_is_read_for_what_it_asks_of_the_older_ds01(
    daemon: str | None, *, hosts: bool, plugin: bool
) -> None:
    assert Host.of(Remains(), daemon, wrapper_stays=True) == Host(frozenset(), hosts, plugin)


@pytest.mark.parametrize(("stays", "there"), [(True, True), (True, False), (False, True)])
def test_the_wrapper_asks_sudo_only_where_it_stays_and_the_script_is_there(*, stays: bool, there: bool) -> None:
    host = Host.of(Remains(makes_slices=there), json.dumps({}), wrapper_stays=stays)
    assert host.asks_sudo is (stays and there)


def test_limits_beside_ours_cannot_stay_since_systemd_takes_both() -> None:
    ours = limits("alice", f"{UNITS}/ds01-student-alice.slice.d/10-resource-limits.conf")
    tree = Tree.of("ds01", "", [ours])
    both = older(f"{UNITS}/ds01-student-alice.slice.d/limits.conf", "[Slice]\nMemoryMax=1T\nTasksMax=5\n")
    assert why_not_stay(both, tree) == (
        f"sets MemoryMax as {ours.path} does, so it cannot stay\nTo fix: let it go, or edit it"
    )
    other = older(f"{UNITS}/ds01-student-alice.slice.d/limits.conf", "[Slice]\nTasksMax=5\n")
    elsewhere = older(f"{UNITS}/ds01-student-gone.slice.d/10-resource-limits.conf", DROP_IN)
    assert [why_not_stay(each, tree) for each in (other, elsewhere, EXPORTER, SOCKET)] == [None] * 4


def test_what_stays_is_named_with_what_it_does_to_ours() -> None:
    staying = [older(path, FILES[path]) for path in ("/etc/cron.d/ds01-maintenance", "/etc/sudoers.d/ds01-user-slice")]
    link = Older(
        PurePosixPath("/usr/local/bin/ds01-generate-limits"),
        Observed(Kind.SYMLINK, b"/opt/ds01-infra/scripts/system/generate-user-slice-limits.py"),
        "",
    )
    assert if_it_stays([*staying, link, EXPORTER], Tree.of("ds01", "", [])) == (
        (
            "/etc/cron.d/ds01-maintenance stays and makes /var/lib/ds01 and /var/log/ds01 writable for a group time and"
            " again: deploy then refuses to write, logrotate to rotate"
        ),
        "/etc/sudoers.d/ds01-user-slice stays and lets others write slices and drop-ins beside DS01's",
        "/usr/local/bin/ds01-generate-limits stays and writes DS01's own drop-ins anew, which then are [drift]",
    )


def test_a_wrapper_that_stays_names_slices_in_its_own_way() -> None:
    names = ["alice", "j.doe", "j.doe@lab-x.org", "a--b", "_x_", "m.ü@lab-x.org"]
    tree = Tree.of("ds01", "", [limits(name, f"/etc/{number}") for number, name in enumerate(names)])
    wrapper = older("/usr/local/bin/docker", WRAPPER)
    assert if_it_stays([wrapper], tree) == (
        (
            "/usr/local/bin/docker stays and names slices in the older way: under it, the group's limits hold for"
            " containers of _x_, a--b, j.doe@lab-x.org and 1 more, not their own"
        ),
    )
    assert if_it_stays([wrapper], Tree.of("ds01", "", [limits("alice", "/etc/a"), limits("j.doe", "/etc/b")])) == ()


@pytest.mark.parametrize(
    ("names", "words"), [(["a"], "a"), (["a", "b", "c"], "a, b, c"), (["a", "b", "c", "d", "e"], "a, b, c and 2 more")]
)
def test_many_names_are_cut_short(names: list[str], words: str) -> None:
    assert some(names) == words
