"""The machine's disk image: Debian with systemd and Docker, made ready to boot in seconds.

Two artefacts: the bare tree of packages, which takes the network, and the image made from it, which does not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from tests.lab.machine.artefact import Artefact, recipe_hash
from tests.lab.machine.errors import LabError
from tests.lab.machine.machine import Machine
from tests.lab.machine.packages import PrivateApt, install_missing, own_sources
from tests.lab.machine.settings import Bootable, Cache, Hardware, Suite
from tests.lab.machine.steps import Steps, say

GUEST: Final = Path(__file__).with_name("guest")
RECIPE: Final = 1  # raise it when what this module does makes another tree or image
BUILD_PACKAGES: Final = ("mmdebstrap", "e2fsprogs", "debian-archive-keyring")
# What a server of this kind has, and what the tests need inside.
GUEST_PACKAGES: Final = (
    "acl",
    "busybox-static",
    "ca-certificates",
    "cron",
    "curl",
    "dbus",
    "docker.io",
    "e2fsprogs",
    "gcc",
    "iproute2",
    "iptables",
    "kmod",
    "less",
    "libc6-dev",
    "libnss-systemd",
    "libpam-systemd",
    "login",
    "logrotate",
    "passwd",
    "procps",
    "psmisc",
    "python3",
    "python3-venv",
    "sudo",
    "systemd",
    "systemd-sysv",
    "util-linux",
)
# Packages of their own since trixie; bookworm's docker.io holds the client, and has neither compose nor buildx.
TRIXIE_PACKAGES: Final = ("docker-cli", "docker-compose", "docker-buildx")
MMDEBSTRAP_OPTIONS: Final = (
    "--mode=root",
    "--variant=minbase",
    '--aptopt=APT::Install-Recommends "false"',
    '--aptopt=Acquire::Languages "none"',
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)
# cgroup v2 is what the kernel has; the bridge and iptables are left on, as on a server.
DAEMON_JSON: Final = '{"exec-opts": ["native.cgroupdriver=systemd"], "storage-driver": "overlay2"}\n'
DISK: Final = "6G"  # sparse: takes what is in it
HOST_NAME: Final = "lab"
_TREE_BYTES: Final = 2 << 30
_IMAGE_BYTES: Final = 4 << 30
_FIRST_BOOT_SECONDS: Final = 300


def _packages(suite: Suite) -> tuple[str, ...]:
    return GUEST_PACKAGES + (() if suite is Suite.BOOKWORM else TRIXIE_PACKAGES)


def tree_artefact(cache: Cache, suite: Suite) -> Artefact:
    """Return where the tree of packages is, or will be."""
    stamp = recipe_hash(str(RECIPE), suite, *_packages(suite), *MMDEBSTRAP_OPTIONS)
    return Artefact(f"packages-{suite}", cache.folder / f"root-{suite}-{stamp}.tar", _TREE_BYTES)


def image_artefact(cache: Cache, suite: Suite) -> Artefact:
    """Return where the image is, or will be."""
    files = [(GUEST / name).read_text() for name in ("lab-agent.service", "masked-units", "first-boot.sh")]
    stamp = recipe_hash(str(RECIPE), tree_artefact(cache, suite).path.name, *files, DAEMON_JSON, DISK, HOST_NAME)
    return Artefact(f"image-{suite}", cache.folder / f"image-{suite}-{stamp}.ext4", _IMAGE_BYTES)


def build_tree(cache: Cache, suite: Suite, artefact: Artefact) -> None:
    """Gather the packages; about a minute.

    Raises:
        LabError: apt or mmdebstrap failed.
    """
    steps = Steps.begin(artefact.what, cache.log(artefact.what))
    with artefact.workshop(cache) as work:
        install_missing(steps, BUILD_PACKAGES)
        sources = own_sources(suite) or PrivateApt.make(work / "apt", [suite]).sources
        # Package scripts run in a chroot where no service can be started. What is mounted there goes with the
        # mount namespace, so that no clean-up of ours ever reaches into this machine's /dev.
        alone = ["unshare", "--mount", "--propagation", "private", "env", f"TMPDIR={work}"]
        include = f"--include={','.join(_packages(suite))}"
        make = [
            "mmdebstrap",
            *MMDEBSTRAP_OPTIONS,
            '--aptopt=Acquire::Retries "3"',
            include,
            suite,
            os.fspath(work / "root.tar"),
            os.fspath(sources),
        ]
        steps.run("fetching and unpacking packages", [*alone, *make])
        artefact.publish(work / "root.tar", mode=0o444)


def build_image(cache: Cache, artefact: Artefact, tree: Path, kernel: Path) -> None:
    """Make the image from the tree and boot it once; under a minute.

    Raises:
        LabError: a tool failed, or the first boot did.
    """
    steps = Steps.begin(artefact.what, cache.log(artefact.what))
    with artefact.workshop(cache) as work:
        root, image = work / "root", work / "image.ext4"
        root.mkdir()
        steps.run("unpacking the tree", ["tar", "-xpf", tree, "-C", root])
        furnish(root)
        # With a journal, as servers have: what a power cut leaves is what it would leave there.
        steps.run("making the file system", ["mke2fs", "-q", "-t", "ext4", "-d", root, image, DISK])
        _boot_once(steps, Cache(work), Bootable(kernel, image))
        artefact.publish(image, mode=0o444)


def furnish(root: Path) -> None:
    """Make a tree of packages into a machine that boots by itself and listens to the host."""
    (root / "etc/hostname").write_text(f"{HOST_NAME}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {HOST_NAME}\n::1 localhost\n")
    (root / "etc/fstab").write_text("")
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").write_text("")
    (root / "etc/docker").mkdir(exist_ok=True)
    (root / "etc/docker/daemon.json").write_text(DAEMON_JSON)
    (root / "lab").mkdir()
    units = root / "etc/systemd/system"
    _link(units / "default.target", "/lib/systemd/system/multi-user.target")
    for unit in (GUEST / "masked-units").read_text().splitlines():
        if not unit.startswith("#"):
            _link(units / unit, "/dev/null")
    (units / "lab-agent.service").write_bytes((GUEST / "lab-agent.service").read_bytes())
    (units / "multi-user.target.wants").mkdir(exist_ok=True)
    _link(units / "multi-user.target.wants/lab-agent.service", "../lab-agent.service")


def _link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _boot_once(steps: Steps, cache: Cache, bootable: Bootable) -> None:
    say(f"{steps.what}: first boot ...")
    machine = Machine("first", bootable, Hardware(writes_image=True), cache=cache)
    try:
        with machine:
            script = (GUEST / "first-boot.sh").read_bytes()
            done = machine.run(["bash", "-s"], stdin=script, timeout_seconds=_FIRST_BOOT_SECONDS)
    finally:
        if machine.folder.console.exists():
            with steps.log.open("ab") as log:
                log.write(b"\nThe console of the first boot:\n" + machine.folder.console.read_bytes())
    if not done.ok:
        raise LabError(f"the lab's {steps.what} cannot be built: its first boot failed", f"Cause: {done.words}")
