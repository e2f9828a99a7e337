"""The machine's kernel: Linux as a user process (user-mode Linux), from Debian's source package."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.lab.machine.artefact import Artefact, recipe_hash
from tests.lab.machine.errors import LabError
from tests.lab.machine.packages import PrivateApt, install_missing, newer_or_same
from tests.lab.machine.settings import Cache
from tests.lab.machine.steps import Steps, say

from ds01.core.process import run

OPTIONS_FILE: Final = Path(__file__).with_name("kernel.config")
RECIPE: Final = 1  # raise it when what this module does makes another kernel
# "seccomp=on", the fast way to run user space, is there from 6.16 on; ptrace mode of kernels before 6.13 dies with
# "ptrace set fp regs failed" on hosts with AMX. Several CPUs are there from 6.19 on.
OLDEST: Final = "6.19"
TRIED: Final = "7.2"  # looked for first
# Bookworm's own source is too old, and Debian's ready user-mode-linux lacks CONFIG_PSI.
SUITES: Final = ("forky", "trixie-backports", "sid")
PACKAGES: Final = ("gcc", "make", "libc6-dev", "flex", "bison", "bc", "xz-utils", "kmod", "debian-archive-keyring")
# olddefconfig drops an option without a word when something it depends on is off.
MUST_SURVIVE: Final = frozenset(
    {
        "CONFIG_BLK_CGROUP",
        "CONFIG_CFS_BANDWIDTH",
        "CONFIG_CGROUP_BPF",
        "CONFIG_CGROUP_PIDS",
        "CONFIG_CPUSETS",
        "CONFIG_EXT4_FS",
        "CONFIG_HOSTFS",
        "CONFIG_MEMCG",
        "CONFIG_OVERLAY_FS",
        "CONFIG_PSI",
        "CONFIG_VETH",
    }
)
_OPTION: Final = re.compile(r"^(?:(CONFIG_\w+)=(.*)|# (CONFIG_\w+) is not set)$")
_BUILD_BYTES: Final = 6 << 30


def kernel_artefact(cache: Cache) -> Artefact:
    """Return where the kernel of this checkout's recipe is, or will be."""
    stamp = recipe_hash(str(RECIPE), OPTIONS_FILE.read_text())
    return Artefact("kernel", cache.folder / f"kernel-{stamp}", _BUILD_BYTES)


def build_kernel(cache: Cache, artefact: Artefact) -> None:
    """Build the kernel; about a quarter of an hour on two cores.

    Raises:
        LabError: no source is new enough, an option did not survive, or a tool failed.
    """
    steps = Steps.begin(artefact.what, cache.log(artefact.what))
    with artefact.workshop(cache) as work:
        if _adopt(cache, work):
            artefact.publish(work / "linux", mode=0o555)
            return
        install_missing(steps, PACKAGES)
        source = _unpack(steps, work)
        _configure(steps, source)
        make = ["make", "ARCH=um", f"--jobs={len(os.sched_getaffinity(0))}", "linux"]
        steps.run("compiling", make, folder=source)
        steps.run("stripping", ["strip", "-o", work / "linux", source / "linux"])
        artefact.publish(work / "linux", mode=0o555)


def _adopt(cache: Cache, work: Path) -> bool:
    """Take a kernel that lies ready in the cache folder with its .config, when it has all that is asked for."""
    ready, config = cache.folder / "kernel/linux", cache.folder / "kernel/linux.config"
    if not (ready.exists() and config.exists()) or missing_options(_options(config.read_text()), everything=True):
        return False
    version = run([os.fspath(ready), "--version"]).stdout.strip()
    if not newer_or_same(version.partition("-")[0] or "0", OLDEST):
        return False
    say(f"kernel: {ready} ({version}) has all options and is taken")
    shutil.copyfile(ready, work / "linux")
    return True


def _unpack(steps: Steps, work: Path) -> Path:
    apt = PrivateApt.make(work / "apt", SUITES)
    # One of the suites may have gone from the archive: what counts is whether a source is found.
    steps.run("reading package lists of other suites", ["sh", "-c", 'apt-get "$@" || :', "sh", *apt.options, "update"])
    found = dict(_versions(apt.search(r"linux-source-[0-9]+\.[0-9]+")))
    if not found:
        raise LabError(
            f"the lab's kernel cannot be built: apt finds no Linux source of {OLDEST} or later",
            f"Looked for linux-source-* in {', '.join(SUITES)}. All that apt said is in {steps.log}.\n"
            f"Cause: {steps.cause()}",
            "see whether apt-get update works here, or name other suites in tests/lab/machine/kernel.py",
        )
    package = found[min(found, key=lambda version: (version != TRIED, *map(int, version.split("."))))]
    say(f"kernel: {package}")
    steps.run("fetching the source", ["apt-get", *apt.options, "--quiet", "download", package], folder=work)
    steps.run("unpacking", ["dpkg", "--extract", next(work.glob(f"{package}_*.deb")), work / "deb"])
    steps.run("unpacking the source", ["tar", "-xf", f"deb/usr/src/{package}.tar.xz"], folder=work)
    return work / package


def _versions(packages: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for package in packages:
        version = package.removeprefix("linux-source-")
        if newer_or_same(version, OLDEST):
            yield version, package


def _configure(steps: Steps, source: Path) -> None:
    steps.run("configuring", ["make", "ARCH=um", "x86_64_defconfig"], folder=source)
    merge = ["scripts/kconfig/merge_config.sh", "-m", ".config", os.fspath(OPTIONS_FILE)]
    steps.run("adding the lab's options", merge, folder=source)
    steps.run("settling the options", ["make", "ARCH=um", "olddefconfig"], folder=source)
    missing = missing_options(_options((source / ".config").read_text()), everything=False)
    if missing:
        raise LabError(
            f"the kernel would lack {', '.join(missing)}",
            f"These options of {OPTIONS_FILE} did not survive: what they depend on is off or gone in this version.",
            "find the option they depend on in the source's Kconfig files and add it",
        )


def _options(text: str) -> Mapping[str, str]:
    """Return the options of a .config; those said not to be set are `n`."""
    matches = filter(None, map(_OPTION.match, text.splitlines()))
    return {match[1] or match[3]: match[2] if match[1] else "n" for match in matches}


def missing_options(present: Mapping[str, str], *, everything: bool) -> tuple[str, ...]:
    """Return the options asked for that are not as asked; without everything only those nothing works without."""
    wanted = _options(OPTIONS_FILE.read_text())
    names = wanted if everything else MUST_SURVIVE
    return tuple(sorted(name for name in names if present.get(name, "n") != wanted[name]))
